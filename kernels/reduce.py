"""Sums, maxima and minima over any axes of an array, in the order of its memory.

Axes are reduced from the innermost run outwards. A run is either rows, one after another in memory, or the rows of
matrices whose columns are kept; a long run is cut into blocks, whose results are reduced again in their order, so that
several threads have work, rounding errors stay small, and the result does not depend on the number of threads.

Left out: means and variances, which the engine composes; integers (declined).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numba import njit

from kernels import layout
from kernels.columns import BLOCK_ELEMENTS, block_sums, blockwise, down_columns, element, rows_per_block, sum_columns
from kernels.machine import REDUCE, Floats, Kernel, kernel
from kernels.program import Builder, Ref, contiguous_strides
from kernels.registry import lowers
from kernels.rows import row_max, row_min
from kernels.simd import vector_max, vector_min

READ_NS = 0.1  # one element, for one thread


@njit(fastmath=REDUCE, error_model="numpy")
def _row_sum(x, first, n):
    total = np.float32(0)
    for i in range(first, first + n):
        total += x[i]
    return total


def _rowwise(name: str, row: Any) -> Kernel:
    def loop(x: Floats, y: Floats, m: int, block: int, lo: int, hi: int) -> None:
        """y (rows, blocks): `block` elements each of x (rows, m) reduced. Items: rows x blocks."""
        blocks = (m + block - 1) // block
        for item in range(lo, hi):
            first = item % blocks * block
            y[item] = row(x, item // blocks * m + first, min(block, m - first))

    loop.__name__ = name
    return kernel(writes="y", fastmath=REDUCE)(loop)


# op -> its kernel for rows and its kernel for columns
KERNELS = {
    "sum": (_rowwise("sum_rows", _row_sum), sum_columns),
    "max": (_rowwise("max_rows", row_max), blockwise("max_columns", down_columns(vector_max, element))),
    "min": (_rowwise("min_rows", row_min), blockwise("min_columns", down_columns(vector_min, element))),
}


def reduce(build: Builder, op: str, x: Ref, axes: set[int]) -> Ref:
    """x reduced over `axes`, each of which becomes 1; the others keep their order in memory."""
    order = sorted((i for i, n in enumerate(x.shape) if n != 1), key=lambda i: (-abs(x.strides[i]), i))
    data, sizes = build.contiguous(x.permute(order)), [x.shape[i] for i in order]
    if not axes & set(order):
        data = layout.copy(build, data, build.empty(sizes))
    while axes & set(order):
        end = max(at for at, i in enumerate(order) if i in axes) + 1
        start = end - 1
        while start > 0 and order[start - 1] in axes:
            start -= 1
        data = _run(build, op, data, prod(sizes[:start]), prod(sizes[start:end]), prod(sizes[end:]))
        del order[start:end], sizes[start:end]
    strides = dict(zip(order, contiguous_strides(sizes)))
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return replace(data, shape=shape, strides=tuple(strides.get(i, 0) for i in range(len(shape))))


def _run(build: Builder, op: str, x: Ref, outer: int, m: int, c: int) -> Ref:
    """x (outer, m, c) -> (outer, c)."""
    rows, columns = KERNELS[op]
    block = BLOCK_ELEMENTS if c == 1 else rows_per_block(c)
    done = build.derived(x, block_sums(replace(x, shape=(m, c)))) if op == "sum" and outer == 1 < c else None
    if done is not None:
        x, m = done, done.shape[0]
    while m > 1:
        blocks = -(-m // block)
        y = build.empty((outer, blocks, c))
        made, sizes = (rows, (m, block)) if c == 1 else (columns, (m, c, block))
        build.step(made, x, y, *sizes, items=outer * blocks, cost_ns=READ_NS * outer * m * c)
        x, m = y, blocks
    return x


def _over_axes(op: str) -> None:
    def lower(build: Builder, x: Ref, *, axis: Sequence[int] | None, keepdims: bool) -> Ref | None:
        """x reduced over `axis`, None meaning all."""
        rank = len(x.shape)
        axes = set(range(rank)) if axis is None else {a % rank for a in axis}
        y = reduce(build, op, x, axes)
        left = range(rank) if keepdims else [i for i in range(rank) if i not in axes]
        return y.permute(left)

    lowers(op)(lower)


for op in KERNELS:
    _over_axes(op)


@lowers("sum_to")
def sum_to(build: Builder, x: Ref, *, shape: Sequence[int]) -> Ref | None:
    """x summed over the axes along which `shape` was broadcast to it."""
    extra = len(x.shape) - len(shape)
    axes = {i for i, n in enumerate(x.shape) if i < extra or (shape[i - extra] == 1 and n != 1)}
    return reduce(build, "sum", x, axes).permute(range(extra, len(x.shape)))
