"""Peak memory: what was allocated is what is reported."""

from __future__ import annotations

import mmap
import tracemalloc

import numba
import numpy as np
import psutil
import pytest

import profiler
from kernels import registry

MIB = 1 << 20


def test_8_mb_are_8_mb_within_a_percent():
    with profiler.peak_memory() as memory:
        x = np.ones(8_000_000, np.uint8)
    assert memory.peak_bytes == pytest.approx(8_000_000, rel=0.01) and x.size


def test_the_peak_counts_and_not_the_end():
    with profiler.peak_memory() as memory:
        for _ in range(5):
            np.ones(MIB)  # one at a time
        a = np.ones(2 * MIB)
        del a
    assert memory.peak_bytes == pytest.approx(16 * MIB, rel=0.01)


def test_what_was_there_before_does_not_count():
    tracemalloc.start()
    try:
        kept = np.ones(MIB)
        with profiler.peak_memory() as memory:
            more = np.ones(MIB)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert memory.peak_bytes == pytest.approx(8 * MIB, rel=0.01) and kept.size == more.size


def test_windows_inside_each_other():
    with profiler.peak_memory() as outer:
        a = np.ones(2 * MIB)
        del a
        with profiler.peak_memory() as inner:
            b = np.ones(MIB)
            del b
        c = np.ones(MIB // 2)
    assert inner.peak_bytes == pytest.approx(8 * MIB, rel=0.01)
    assert outer.peak_bytes == pytest.approx(16 * MIB, rel=0.01) and c.size


def test_an_inner_peak_is_also_the_outers():
    with profiler.peak_memory() as outer:
        a = np.ones(MIB)
        with profiler.peak_memory() as inner:
            b = np.ones(MIB)
    assert inner.peak_bytes == pytest.approx(8 * MIB, rel=0.01) and a.size == b.size
    assert outer.peak_bytes == pytest.approx(16 * MIB, rel=0.01)


def test_tracing_ends_with_the_outermost_window_even_after_an_error():
    with pytest.raises(ZeroDivisionError), profiler.peak_memory() as memory:
        x = np.ones(MIB)
        assert x.size / 0
    assert not tracemalloc.is_tracing()
    assert memory.peak_bytes > 8 * MIB


def test_the_resident_set_is_that_of_the_process():
    with profiler.peak_memory() as memory:
        pass
    assert memory.resident_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert memory.peak_bytes < MIB

def test_the_highest_resident_set_is_seen_after_it_is_gone():
    """Where Linux tells. Pages count once they are touched; some are counted late, by thread."""
    with profiler.peak_memory() as before:
        pass
    if before.peak_resident_bytes is None:
        pytest.skip("the system does not tell")
    assert before.peak_resident_bytes == pytest.approx(before.resident_bytes, rel=0.05)
    with profiler.peak_memory() as outer:
        with mmap.mmap(-1, 64 * MIB) as block:
            block.write(bytes([1]) * (64 * MIB))
        with profiler.peak_memory() as inner:
            pass
    assert outer.peak_resident_bytes > before.peak_resident_bytes + 60 * MIB
    assert inner.peak_resident_bytes < outer.peak_resident_bytes - 60 * MIB


def test_without_the_kernels_word_no_peak_is_made_up(monkeypatch, tmp_path):
    monkeypatch.setattr("profiler.memory.PROCESS", tmp_path / "nowhere")
    with profiler.peak_memory() as memory:
        np.ones(MIB)
    assert memory.peak_resident_bytes is None and memory.peak_bytes > 8 * MIB


def test_the_scratch_of_a_kernel_is_seen():
    """A large product packs one of its factors, in memory that is gone when it returns."""
    a = np.ones((1024, 1024), np.float32)
    program = registry.program("matmul", (a, a), {})
    scratch_bytes = program.program.arena_bytes
    program(a, a)
    with profiler.peak_memory() as memory:
        y = program(a, a)
    assert scratch_bytes >= a.nbytes
    assert memory.peak_bytes == pytest.approx(y.nbytes + scratch_bytes, rel=0.01)


def test_what_compiled_code_allocates_for_itself_is_seen():
    @numba.njit
    def total(n):
        return np.ones(n).sum()

    total(1)
    with profiler.peak_memory() as memory:
        total(MIB)
    assert memory.peak_bytes == pytest.approx(8 * MIB, rel=0.01)
