"""Compiling on all cores: every kernel once, whatever becomes of the helping process."""

from __future__ import annotations

import pytest

from kernels import ahead
from tests.kernels.test_cache import in_new_process

NAMES = ["relu", "add", "sub", "mul", "neg", "abs", "exp", "sqrt"]
COMPILE = f"""
from kernels import ahead
ahead.cores = lambda: 2
ahead.SERVE = {{serve!r}}
told = []
ahead.compile_kernels({NAMES}, lambda name, seconds: told.append(name))
print(*sorted(told))
print(ahead.is_cached({NAMES}))
"""


@pytest.mark.parametrize("serve", [
    ahead.SERVE,
    "raise SystemExit(1)",  # it cannot start
    "input(); raise SystemExit(1)",  # it takes a kernel and dies
])  # fmt: skip
def test_every_kernel_is_compiled_and_told_once(tmp_path, serve):
    told, cached = in_new_process(COMPILE.format(serve=serve), NUMBA_CACHE_DIR=str(tmp_path))
    assert told.split() == sorted([*NAMES, "execute"])
    assert cached == "True"


def test_a_helper_says_what_it_compiled(monkeypatch, capsys):
    monkeypatch.setattr(ahead.sys, "stdin", iter(["relu\n", "add\n"]))
    ahead.serve()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["relu", "add"]
