"""Peak memory: what was allocated is what is reported."""

from __future__ import annotations

import tracemalloc

import numpy as np
import psutil
import pytest

import profiler

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
