"""Down the columns of a matrix: the common part of normalisation, reductions and depthwise gradients.

Rows are combined four at a time in vectors of neighbouring columns, so that memory is read once and in order. A long
matrix is cut into blocks of rows, each with a result of its own, and those are combined in their order: how many blocks
there are depends on the shape alone, so the result does not depend on the number of threads. Left out: what the terms
are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from numba import njit

from kernels.machine import CONTRACT, Floats, Kernel, kernel
from kernels.program import Builder, Ref
from kernels.simd import LANES, vector_add, vector_load, vector_store

# Elements of one block: 128 KB, so that a second pass over it finds it in the L2 cache.
BLOCK_ELEMENTS = 32768


def down_columns(combine: Any, term: Callable[..., Any]) -> Any:
    """Compiled `(a, b, centre, first, rows, c, y, at)`: y[at + j] = the terms of all rows combined, for j < c.

    A term is `term(a, b, centre, i, j, columns)`, the vector of `columns` valid columns that begins at
    i = first + row * c + j in a and b, and at j in centre. There has to be a row.
    """
    value = njit(fastmath=CONTRACT, error_model="numpy")(term)

    @njit(fastmath=CONTRACT, error_model="numpy")
    def combined(a, b, centre, first, rows, c, y, at):
        for j in range(0, c, LANES):
            vector_store(value(a, b, centre, first + j, j, c - j), y, at + j, c - j)
        fours = (rows - 1) // 4 * 4 + 1
        for row in range(1, fours, 4):
            i = first + row * c
            for j in range(0, c, LANES):
                columns = c - j
                upper = combine(value(a, b, centre, i + j, j, columns), value(a, b, centre, i + c + j, j, columns))
                i2 = i + 2 * c + j
                lower = combine(value(a, b, centre, i2, j, columns), value(a, b, centre, i2 + c, j, columns))
                so_far = vector_load(y, at + j, columns)
                vector_store(combine(so_far, combine(upper, lower)), y, at + j, columns)
        for row in range(fours, rows):
            i = first + row * c
            for j in range(0, c, LANES):
                here = value(a, b, centre, i + j, j, c - j)
                vector_store(combine(vector_load(y, at + j, c - j), here), y, at + j, c - j)

    return combined


def element(a, b, centre, i, j, columns):  # type: ignore[no-untyped-def]
    """The term that is a itself."""
    return vector_load(a, i, columns)


plain_sums = down_columns(vector_add, element)


def blockwise(name: str, combined: Any) -> Kernel:
    """Kernel that combines blocks of rows by a `down_columns` of one operand."""

    def loop(x: Floats, y: Floats, m: int, c: int, block: int, lo: int, hi: int) -> None:
        """y (matrices, blocks, c): `block` rows each of x (matrices, m, c) combined. Items: matrices x blocks."""
        blocks = (m + block - 1) // block
        for item in range(lo, hi):
            matrix, first = item // blocks, item % blocks * block
            combined(x, x, x, (matrix * m + first) * c, min(block, m - first), c, y, item * c)

    loop.__name__ = name
    return kernel(writes="y", fastmath=CONTRACT)(loop)


sum_columns = blockwise("sum_columns", plain_sums)


def rows_per_block(c: int) -> int:
    """Rows of one block of a matrix with c columns: several, so that there are fewer blocks than rows, but not so many
    that rounding errors of a sum in float32 gather.
    """
    return min(max(16, BLOCK_ELEMENTS // c), 512)


def as_columns(build: Builder, x: Ref) -> tuple[Ref, list[int]]:
    """x (N, C, ...) as (N, ..., C) without gaps, copied only if it is not that, and the axes that turn it back."""
    rank = len(x.shape)
    last = build.contiguous(x.permute([0, *range(2, rank), 1]))
    return last, [0, rank - 1, *range(1, rank - 1)]


def block_sums(x: Ref) -> tuple[str, Ref]:
    """What a step leaves beside x (..., C) that sums each of its blocks of `rows_per_block(C)` rows as it is made:
    (blocks, C), the same bits as `sum_columns` gives. A name for `Builder.derive`.
    """
    return "sums of blocks", replace(x, shape=(x.size // x.shape[-1], x.shape[-1]), strides=(x.shape[-1], 1))
