"""Dropout whose mask is computed from a key and the place of an element, so that it need not be stored for backward.

The words come from Philox 4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3",
section 3.3). In each block of BLOCK elements, element w * BLOCK / 4 + k uses word w of counter (block, k), so that four
runs of neighbours are written at once. Left out: other distributions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.elementwise import BLOCK
from kernels.machine import EXACT, Floats, Ints, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

ELEMENT_NS = 1.0
COUNTERS = BLOCK // 4  # of one block
U64 = np.uint64
LOW = U64(0xFFFFFFFF)
HALF = U64(32)
MULTIPLIER_0, MULTIPLIER_1 = U64(0xD2511F53), U64(0xCD9E8D57)
WEYL_0, WEYL_1 = U64(0x9E3779B9), U64(0xBB67AE85)
ROUNDS = 10


@njit(fastmath=False)
def philox(counter, key):
    """Four words of 32 bits, each in a uint64."""
    a, b, c, d = counter & LOW, counter >> HALF, U64(0), U64(0)
    k, m = key & LOW, key >> HALF
    for _ in range(ROUNDS):
        p, q = MULTIPLIER_0 * a, MULTIPLIER_1 * c
        a, b, c, d = (q >> HALF) ^ b ^ k, q & LOW, (p >> HALF) ^ d ^ m, p & LOW
        k, m = (k + WEYL_0) & LOW, (m + WEYL_1) & LOW
    return a, b, c, d


@kernel(writes="y", fastmath=EXACT)
def dropout(x: Floats, key: Ints, y: Floats, n: int, threshold: int, scale: float, lo: int, hi: int) -> None:
    """y = x scale where the word of an element is at least `threshold`, else x 0. Items: blocks of BLOCK."""
    kept, dropped, limit, seed = np.float32(scale), np.float32(0), U64(threshold), U64(key[0])
    for item in range(lo, hi):
        first = item * BLOCK
        whole = first + BLOCK <= n
        for k in range(COUNTERS):
            a, b, c, d = philox(U64(item * COUNTERS + k), seed)
            i = first + k
            if whole:
                y[i] = x[i] * (kept if a >= limit else dropped)
                y[i + COUNTERS] = x[i + COUNTERS] * (kept if b >= limit else dropped)
                y[i + 2 * COUNTERS] = x[i + 2 * COUNTERS] * (kept if c >= limit else dropped)
                y[i + 3 * COUNTERS] = x[i + 3 * COUNTERS] * (kept if d >= limit else dropped)
            else:
                if i < n:
                    y[i] = x[i] * (kept if a >= limit else dropped)
                if i + COUNTERS < n:
                    y[i + COUNTERS] = x[i + COUNTERS] * (kept if b >= limit else dropped)
                if i + 2 * COUNTERS < n:
                    y[i + 2 * COUNTERS] = x[i + 2 * COUNTERS] * (kept if c >= limit else dropped)
                if i + 3 * COUNTERS < n:
                    y[i + 3 * COUNTERS] = x[i + 3 * COUNTERS] * (kept if d >= limit else dropped)


@lowers("dropout", dtypes=(np.float32, np.int64))
def lower_dropout(build: Builder, x: Ref, key: Ref, *, p: float) -> Ref | None:
    """x, any shape; key () int64 -> the same shape, row-major, for the mask goes by row-major position."""
    y = build.empty(x.shape)
    scale = 1 / (1 - p) if p < 1 else 0.0
    build.step(
        dropout, build.contiguous(x), key, y, x.size, int(p * 2**32), scale,
        items=-(-x.size // BLOCK), cost_ns=ELEMENT_NS * x.size,
    )  # fmt: skip
    return y
