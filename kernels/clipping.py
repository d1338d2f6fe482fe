"""Gradients kept small: the sum of squares of many arrays, scaling to a norm, and limits for single values.

Squares are summed in float64, block by block in logical order, so that the same gradients give the same bits on any
number of threads and in any layout.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.elementwise import BLOCK
from kernels.machine import CONTRACT, EXACT, REDUCE, Doubles, Floats, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

SQUARES_BLOCK = 4096  # elements for one partial sum
SQUARE_NS, ELEMENT_NS = 0.2, 0.3


@kernel(writes="partial", fastmath=REDUCE)
def square_blocks(x: Floats, partial: Doubles, n: int, lo: int, hi: int) -> None:
    """partial[i] = sum of squares of block i, SQUARES_BLOCK elements of x. Items: blocks."""
    for block in range(lo, hi):
        total = 0.0
        for i in range(block * SQUARES_BLOCK, min((block + 1) * SQUARES_BLOCK, n)):
            total += np.float64(x[i]) * np.float64(x[i])
        partial[block] = total


@kernel(writes="total", fastmath=EXACT)
def add_squares(partial: Doubles, before: Doubles, total: Doubles, n: int, has_before: int, lo: int, hi: int) -> None:
    """total[0] = before[0], if there is one, + the n partial sums in their order. Items: 1."""
    found = before[0] if has_before else 0.0
    for i in range(n):
        found += partial[i]
    total[0] = found


@kernel(writes="y", fastmath=CONTRACT)
def scale_to_norm(x: Floats, squares: Doubles, y: Floats, n: int, max_norm: float, lo: int, hi: int) -> None:
    """y = x max_norm / sqrt(squares) where that is smaller, else x. Items: blocks of BLOCK."""
    norm = math.sqrt(squares[0])
    factor = np.float32(max_norm / norm if norm > max_norm else 1.0)
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        y[i] = x[i] * factor


@kernel(writes="y", fastmath=EXACT)
def clip(x: Floats, y: Floats, n: int, low: float, high: float, lo: int, hi: int) -> None:
    """y = x limited to [low, high]; nan stays nan. Items: blocks of BLOCK."""
    least, most = np.float32(low), np.float32(high)
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        v = x[i]
        v = least if v < least else v
        y[i] = most if v > most else v


@lowers("sum_of_squares", dtypes=(np.float32, np.float64))
def lower_sum_of_squares(build: Builder, x: Ref, before: Ref | None) -> Ref | None:
    """x float32, before float64 () or None -> float64 ()."""
    blocks = -(-x.size // SQUARES_BLOCK)
    partial, total = build.empty((blocks,), dtype=np.float64), build.empty((), dtype=np.float64)
    build.step(square_blocks, build.contiguous(x), partial, x.size, items=blocks, cost_ns=SQUARE_NS * x.size)
    has_before = before is not None
    build.step(add_squares, partial, before or build.null, total, blocks, int(has_before), items=1, cost_ns=blocks)
    return total


@lowers("scale_to_norm", dtypes=(np.float32, np.float64))
def lower_scale_to_norm(build: Builder, x: Ref, squares: Ref, *, max_norm: float) -> Ref | None:
    """x float32 of any shape, squares float64 () -> float32."""
    x = x if x.dense else build.contiguous(x)
    y = build.empty_like(x)
    build.step(
        scale_to_norm, x, squares, y, x.size, float(max_norm),
        items=-(-x.size // BLOCK), cost_ns=ELEMENT_NS * x.size,
    )  # fmt: skip
    return y


@lowers("clip")
def lower_clip(build: Builder, x: Ref, *, low: float | None, high: float | None) -> Ref | None:
    """x limited to [low, high]; None is no limit."""
    limits = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    if any(map(math.isnan, limits)):
        return None
    x = x if x.dense else build.contiguous(x)
    y = build.empty_like(x)
    build.step(clip, x, y, x.size, *limits, items=-(-x.size // BLOCK), cost_ns=ELEMENT_NS * x.size)
    return y
