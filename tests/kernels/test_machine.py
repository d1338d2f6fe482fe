"""Kernels as such: what each has to state, compiling, and the loop that runs them."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels import ahead, machine, program, registry
from kernels.machine import CONTRACT, EXACT, REDUCE, Floats, kernel
from tests.kernels.running import normal

registry.known()  # defines all kernels
SOURCES = sorted(Path(kernels.__file__).parent.rglob("*.py"))


def call_name(node):
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_compiled_function_states_its_fastmath(source):
    tree = ast.parse(source.read_text(encoding="utf-8"))
    decorators = [d for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for d in f.decorator_list]
    bare = [d.lineno for d in decorators if isinstance(d, ast.Name) and d.id in ("njit", "kernel")]
    assert not bare, f"lines {bare}: say which fastmath flags"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if call_name(call) in ("njit", "kernel"):
            stated = {keyword.arg for keyword in call.keywords}
            assert "fastmath" in stated, f"line {call.lineno}: say which fastmath flags"


def test_fastmath_never_assumes_that_numbers_are_finite():
    for made in machine.KERNELS.values():
        assert made.fastmath in (EXACT, CONTRACT, REDUCE), made
        assert not made.fastmath & {"nnan", "ninf", "fast"}, made


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_only_simd_contains_llvm_and_only_the_loop_is_parallel(source):
    text = source.read_text(encoding="utf-8")
    assert ("import ir" in text or "from llvmlite import ir" in text) <= (source.parent.name == "simd")
    assert ("parallel=True" in text) <= (source.stem == "loop")


def test_a_kernel_checks_its_declaration():
    def wrong(x: Floats, n: complex, lo: int, hi: int) -> None: ...

    with pytest.raises(TypeError, match=r"kernel wrong: unknown annotations \['complex'\]; known: Floats, Doubles"):
        kernel(fastmath=EXACT)(wrong)

    def stray(x: Floats, n: int, lo: int, hi: int) -> None: ...

    with pytest.raises(TypeError, match=r"kernel stray: it writes \['n'\], not among its pointer parameters"):
        kernel(writes="n", fastmath=EXACT)(stray)

    def relu(x: Floats, lo: int, hi: int) -> None: ...

    with pytest.raises(TypeError, match="kernel relu: defined twice"):
        kernel(fastmath=EXACT)(relu)


def test_compile_reports_each_kernel():
    seen = []
    seconds = ahead.compile_kernels(["relu", "add"], lambda name, s: seen.append((name, s)))
    assert [name for name, _ in seen] == ["execute", "relu", "add"]
    assert 0 <= sum(s for _, s in seen) <= seconds
    with pytest.raises(KeyError, match=r"unknown kernels \['fft'\]; known: .*product"):
        ahead.compile_kernels(["fft"])


@pytest.mark.parametrize("threads", (1, 2, 3))
def test_each_item_is_done_once_whatever_the_split(threads):
    """`neg` in place, twice over the same memory, would undo itself."""
    n = 10_000
    build = program.Builder()
    x = build.input((n,))
    out = registry.lowering("neg")(build, x)
    made = build.finish([out])
    values, result = normal(n), np.full(n + 2, 7, np.float32)
    rows = made.link([values.ctypes.data, result.ctypes.data + 4])
    items = rows[0, machine.ITEMS]
    for parts in (1, 2, items - 1, items, items + 5):
        result[1:-1] = 7
        rows[0, machine.PARTS] = parts
        program.execute(rows, threads)
        np.testing.assert_array_equal(result, np.r_[np.float32(7), -values, np.float32(7)])


def test_an_empty_program_does_nothing():
    empty = program.Builder().finish()
    empty.run([])
    assert (len(empty.rows), empty.bases, empty.arena_bytes) == (0, [], 0)


def test_a_notice_comes_only_at_a_terminal_and_after_a_while(monkeypatch, capsys):
    monkeypatch.setattr(machine, "NOTICE_SECONDS", 0.01)
    monkeypatch.setattr(machine.sys.stderr, "isatty", lambda: True, raising=False)
    import time

    with machine._notice("slow"):
        time.sleep(0.2)
    with machine._notice("quick"):
        pass
    with machine.quiet(), machine._notice("shown by the caller"):
        time.sleep(0.05)
    time.sleep(0.05)
    assert capsys.readouterr().err == "kernels: compiling slow (first use on this machine, kept on disk)\n"
