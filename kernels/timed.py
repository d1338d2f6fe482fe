"""The compiled loop of `loop.py` with a clock read between the rows: how long each step of a program takes.

Importing this file compiles it, so `machine.timed_loop` imports it when a program is first profiled. Left out: what the
rows belong to, and who looks at the times (the engine).
"""

from __future__ import annotations

from functools import cache as once

import numpy as np
from numba import njit, types

from kernels import cache, simd
from kernels.loop import one_row

I64 = types.int64
PAIRS = 1001  # of marks with nothing between, for the median of what one costs

with cache.compiled_here():

    @njit([types.void(*[I64] * 5)], nogil=True, fastmath=False, cache=True)
    def execute(rows, count, width, threads, marks):
        """As `loop.execute`; the int64 values at `marks` become the clock before the first row and after each."""
        times = simd.ints_at(marks)
        times[0] = simd.clock()
        for i in range(count):
            one_row(rows + 8 * i * width, threads)
            times[i + 1] = simd.clock()

    @njit([types.void(I64, I64)], nogil=True, fastmath=False, cache=True)
    def only_marks(count, marks):
        """`count` marks with nothing between them."""
        times = simd.ints_at(marks)
        for i in range(count):
            times[i] = simd.clock()


@once
def mark_ns() -> float:
    """What a mark costs: the mean of the middle half of times between two with nothing between them."""
    marks = np.zeros(PAIRS + 1, np.int64)
    only_marks(len(marks), marks.ctypes.data)
    gaps = np.sort(in_ns(marks[1:] - marks[:-1]))
    return float(gaps[PAIRS // 4 : -PAIRS // 4].mean())


def in_ns(ticks: np.ndarray) -> np.ndarray:
    """Marks as nanoseconds on the clock of `time.perf_counter_ns`."""
    return ticks if simd.TICKS_PER_S == 10**9 else ticks * 10**9 // simd.TICKS_PER_S
