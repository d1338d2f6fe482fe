"""The compiled loop that runs the rows of a program: no Python between steps.

Importing this file compiles it, or loads it from the disk cache, so `machine.loop` imports it when the first step is to
run. `launch` is the only parallel function of the project.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import njit, prange, types

from kernels import cache, simd
from kernels.machine import (
    ITEMS,
    KERNEL,
    OBJECT_DATA,
    OBJECT_DTYPE,
    OBJECT_FLAGS,
    OBJECT_NDIM,
    OBJECT_SHAPE,
    PARTS,
    WORDS,
)

I64 = types.int64
READABLE = 0x101  # NumPy's flags for row-major and aligned
ROWS, COUNT, WIDTH, INPUT, INPUT_WORDS, OUTPUT, OUTPUT_WORDS, DTYPE, NDIM, SHAPE = range(10)  # of a question


def question(rows: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What `answer` has to know: linked rows, the float32 arrays of their input and output, and what x looks like."""
    places = x.ctypes.data, x.size, y.ctypes.data, y.size
    return np.array([rows.ctypes.data, *rows.shape, *places, id(x.dtype), x.ndim, *x.shape], np.int64)

# Loading a cached parallel function before Numba's threads exist ends the process ("Symbol not found: allocate_sched").
numba.get_num_threads()

with cache.compiled_here():

    @njit([types.void(I64, I64, I64, I64)], parallel=True, nogil=True, fastmath=False, cache=True)
    def launch(kernel, step, items, parts):
        """Give each of `parts` threads a contiguous share of the items."""
        for part in prange(parts):
            simd.call_kernel(kernel, simd.ints_at(step), items * part // parts, items * (part + 1) // parts)

    @njit(fastmath=False, forceinline=True)
    def one_row(at, threads):
        """Run the row at an address."""
        row = simd.ints_at(at)
        items = row[ITEMS]
        parts = min(threads, row[PARTS], items)
        if parts > 1:
            launch(row[KERNEL], at + 8 * WORDS, items, parts)
        else:
            simd.call_kernel(row[KERNEL], simd.ints_at(at + 8 * WORDS), 0, items)

    @njit([types.void(I64, I64, I64, I64)], nogil=True, fastmath=False, cache=True)
    def execute(rows, count, width, threads):
        """Run `count` rows of `width` words each, which begin at the address `rows`."""
        for i in range(count):
            one_row(rows + 8 * i * width, threads)

    @njit([types.void(*[I64] * 9)], nogil=True, fastmath=False, cache=True)
    def call(program, threads, a, b, c, d, e, f, g):
        """Run a packed program (`Program.packed`) on the data of the array objects at addresses a..g.

        The last object that the program refers to may be scratch, whose start is rounded up to 64 bytes. The rows are
        copied before the addresses are put in, so that one program can be run by many threads at once.
        """
        head = simd.ints_at(program)
        count, width, relocations, scratch = head[0], head[1], head[2], head[3]
        objects = (a, b, c, d, e, f, g)
        rows = np.empty(count * width, np.int64)
        for i in range(rows.size):
            rows[i] = head[4 + i]
        table = simd.shift_ints(head, 4 + rows.size)
        for i in range(relocations):
            base = table[3 * i + 1]
            address = simd.ints_at(objects[base] + OBJECT_DATA)[0]
            if base == scratch:
                address = (address + 63) & ~63
            rows[table[3 * i]] = address + table[3 * i + 2]
        execute(rows.ctypes.data, count, width, threads)

    @njit([I64(I64, I64, I64)], fastmath=False, cache=True)
    def answer(question, x, y):
        """Copy the array object at x in, run the rows on one thread, copy the result to the array object at y.

        Returns 0, having done nothing, where x is not what the question says; y has to be right. Python's lock is kept,
        so one thread is here at a time.
        """
        asked = simd.ints_at(question)
        if (
            simd.ints_at(x + OBJECT_DTYPE)[0] != asked[DTYPE]
            or simd.ints_at(x + OBJECT_NDIM)[0] & 0xFFFFFFFF != asked[NDIM]
            or simd.ints_at(x + OBJECT_FLAGS)[0] & READABLE != READABLE
        ):
            return 0
        shape = simd.ints_at(simd.ints_at(x + OBJECT_SHAPE)[0])
        for i in range(asked[NDIM]):
            if shape[i] != asked[SHAPE + i]:
                return 0
        given, taken = simd.words_at(simd.ints_at(x + OBJECT_DATA)[0]), simd.words_at(asked[INPUT])
        for i in range(asked[INPUT_WORDS]):
            taken[i] = given[i]
        execute(asked[ROWS], asked[COUNT], asked[WIDTH], 1)
        made, wanted = simd.words_at(asked[OUTPUT]), simd.words_at(simd.ints_at(y + OBJECT_DATA)[0])
        for i in range(asked[OUTPUT_WORDS]):
            wanted[i] = made[i]
        return 1
