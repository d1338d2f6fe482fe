"""Compiled code on disk: found again by another process, never used for other sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kernels
from kernels import cache, cpu

ROOT = Path(kernels.__file__).parent.parent
COMPILE = """
from kernels import ahead, cache, elementwise
before = ahead.is_cached(["relu", "sigmoid"])
ahead.compile_kernels(["relu", "sigmoid"])
print(before, elementwise.relu.cache_hit, elementwise.sigmoid.cache_hit, ahead.is_cached(["relu", "sigmoid"]))
print(cache.directory())
"""


def in_new_process(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_second_process_finds_the_code(tmp_path):
    first = in_new_process(COMPILE, NUMBA_CACHE_DIR=str(tmp_path))
    second = in_new_process(COMPILE, NUMBA_CACHE_DIR=str(tmp_path))
    assert first[0] == "False False False True"
    assert second[0] == "True True True True"
    assert first[1] == second[1] and first[1].startswith(str(tmp_path))


def test_the_key_changes_with_any_source_and_with_the_path(tmp_path):
    (tmp_path / "a.py").write_text("one = 1\n")
    (tmp_path / "b.py").write_text("two = 2\n")
    before = cache.source_key(tmp_path)
    assert cache.source_key(tmp_path) == before
    assert cache.source_key(tmp_path, path="another") != before
    (tmp_path / "b.py").write_text("two = 3\n")
    changed = cache.source_key(tmp_path)
    assert changed != before
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    assert cache.source_key(tmp_path) not in (before, changed)


def test_moving_text_between_files_changes_the_key(tmp_path):
    (tmp_path / "a.py").write_text("xy")
    (tmp_path / "b.py").write_text("z")
    before = cache.source_key(tmp_path)
    (tmp_path / "a.py").write_text("x")
    (tmp_path / "b.py").write_text("yz")
    assert cache.source_key(tmp_path) != before


def test_where_code_is_kept(tmp_path):
    show = "from kernels import cache; print(cache.directory())"
    key = cache.source_key(Path(kernels.__file__).parent, path=cpu.PATH)
    user = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path)}
    assert in_new_process(show, **user) == [str(tmp_path / "xdg" / "tinytorch-kernels" / key)]
    user["XDG_CACHE_HOME"] = ""
    assert in_new_process(show, **user) == [str(tmp_path / ".cache" / "tinytorch-kernels" / key)]


def test_a_directory_that_cannot_be_written_is_passed_over(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setattr(cache, "_parents", lambda: iter([blocked, tmp_path / "good"]))
    assert cache.directory.__wrapped__().parent.parent == tmp_path / "good"
    monkeypatch.setattr(cache, "_parents", lambda: iter([blocked]))
    with pytest.raises(OSError, match=r"no directory for compiled code can be written .*set NUMBA_CACHE_DIR"):
        cache.directory.__wrapped__()


def test_the_setting_of_numba_is_put_back():
    before = cache.config.CACHE_DIR
    with cache.compiled_here():
        assert str(cache.directory()) == cache.config.CACHE_DIR
    assert before == cache.config.CACHE_DIR


def test_code_compiled_by_different_processes_can_be_loaded_together(tmp_path):
    """Two kernels made by one factory: their inner functions once had one symbol, and exp computed tanh."""
    use = (
        "import numpy as np; from kernels import registry; x = np.full(200_000, 0.5, np.float32)\n"
        "for name, f in ((n, getattr(np, n)) for n in {names}):\n"
        "    np.testing.assert_allclose(registry.program(name, [x], {{}})(x), f(x), rtol=1e-5)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for names in (["exp"], ["tanh"], ["log"], ["tanh", "exp", "log"], ["log", "tanh", "exp"]):
        done = subprocess.run(
            [sys.executable, "-c", use.format(names=names)], env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{names}: {done.stderr[-1500:]}"


def test_code_just_compiled_and_code_loaded_give_the_same_bits(tmp_path):
    """A kernel once took what it calls from whichever kernel was loaded first: the same seed, and other last bits."""
    use = (
        "import hashlib, numpy as np; from tinytorch.engine import ops\n"
        "rng = np.random.default_rng(0)\n"
        "q, k, v = rng.standard_normal((3, 4, 2, 70, 32)).astype(np.float32)\n"
        "x, g = rng.standard_normal((2, 600, 64)).astype(np.float32)\n"
        "run = {{'attention': lambda: ops.attention(q, k, v, causal=True, scale=0.2),\n"
        "       'norm': lambda: ops.layer_norm_input_grad(g, x, g[0], eps=1e-5),\n"
        "       'softmax': lambda: ops.softmax(x, axis=1),\n"
        "       'gelu': lambda: ops.gelu_grad(g, x, approximate='none')}}\n"
        "found = {{name: hashlib.sha256(run[name]().tobytes()).hexdigest() for name in {names}}}\n"
        "print(sorted(found.items()))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    answers = []
    for names in (["gelu", "softmax", "norm", "attention"],) * 2 + (["attention", "norm", "softmax", "gelu"],):
        done = subprocess.run(
            [sys.executable, "-c", use.format(names=names)], env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-1500:]
        answers.append(done.stdout)
    assert answers[0] == answers[1] == answers[2]
