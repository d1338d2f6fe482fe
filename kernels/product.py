"""The one tiled product of f32: matrix products, convolutions and all their gradients are calls of this kernel.

It computes C = A B where A is never built: row r of A at position k is the input at `rows[r] + segments[s] + j * a_k`,
with k running over segments s and, inside, over j. So a matrix has one segment; a convolution has one segment for each
kernel row and reads its windows in place (the indirect convolution algorithm, Dukhan 2019, arXiv:1907.02129, section 3,
with offsets in place of pointers); its weight gradient has one segment for each row of pixels. B is read in panels of
PANEL columns, C is written in tiles of `simd.HEIGHTS` rows.

Every element of C is accumulated in one register, in the order of k, whatever the tile height and the number of
threads, so the result does not depend on either. With several blocks each block's sum is added to C in turn, which also
keeps rounding errors of long sums small.

Left out: what rows, segments and panels are for a given op (`matmul.py`, `conv.py`).
"""

from __future__ import annotations

from typing import Any

from numba import njit

from kernels import simd
from kernels.machine import CONTRACT, Floats, Ints, kernel

PANEL, LANES = simd.PANEL, simd.LANES
TALL, SHORT, _ = simd.HEIGHTS
ZEROS, BIAS, SUM = range(3)  # start at zero, start at the bias, add to what C holds


def _tile_product(height: int, vectors: int) -> Any:
    """C[r : r + height, first : first + tile.width] for one tile; a tile of one vector has `columns` valid columns."""
    zeros, repeat, add, row_pointers, multiply_add, floor, store, *_ = simd.tile(height, vectors, masked=vectors == 1)

    @njit(fastmath=CONTRACT, error_model="numpy")
    def product(
        a, rows, r, segments, n_segments, length, a_k, b, b_first, b_k, bias, first, c, at, c_row, start, relu, columns
    ):
        acc = repeat(bias, first, columns) if start == BIAS else zeros()
        a_rows = row_pointers(a, rows, r)
        k = b_first
        for s in range(n_segments):
            j = segments[s]
            for _ in range(length):
                acc = multiply_add(acc, a_rows, j, b, k, columns)
                j += a_k
                k += b_k
        if start == SUM:
            acc = add(acc, c, at, c_row, columns)
        if relu:
            acc = floor(acc)
        store(acc, c, at, c_row, columns)

    return product


wide_tall, wide_short, wide_one = (_tile_product(height, 2) for height in simd.HEIGHTS)
thin_tall, thin_short, thin_one = (_tile_product(height, 1) for height in simd.HEIGHTS)


@kernel(writes="c", fastmath=CONTRACT)
def product(
    a: Floats, b: Floats, bias: Floats, rows: Ints, segments: Ints, c: Floats,
    images: int, a_image: int, c_image: int,
    m: int, row_block: int, n: int, c_row: int,
    n_segments: int, length: int, last_length: int, a_k: int, b_k: int, b_panel: int,
    blocks: int, a_block: int, b_block: int, has_bias: int, relu: int,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """C[image, r, :n] = bias + sum over k of A[image, r, k] B[k, :n], clamped below at 0 if relu.

    Items: images x panels x row blocks. k runs over `blocks` blocks of `n_segments` segments of `length` (in the last
    block `last_length`) positions; A moves on by `a_block` and B by `b_block` from block to block.
    """
    row_blocks = (m + row_block - 1) // row_block
    panels = (n + PANEL - 1) // PANEL
    for block in range(blocks):
        count = last_length if block == blocks - 1 else length
        clamp = relu if block == blocks - 1 else 0
        start = SUM if block > 0 else (BIAS if has_bias else ZEROS)
        for item in range(lo, hi):
            image, rest = item // (panels * row_blocks), item % (panels * row_blocks)
            panel, first_row = rest // row_blocks, rest % row_blocks * row_block
            end = min(first_row + row_block, m)
            source = simd.shift(a, image * a_image + block * a_block)
            b_first = panel * b_panel + block * b_block
            column = panel * PANEL
            columns = n - column
            out = image * c_image + column
            r = first_row
            if columns >= PANEL:
                while r < end:
                    at = out + r * c_row
                    if end - r >= TALL:
                        wide_tall(source, rows, r, segments, n_segments, count, a_k, b, b_first, b_k,
                                  bias, column, c, at, c_row, start, clamp, PANEL)  # fmt: skip
                        r += TALL
                    elif end - r >= SHORT:
                        wide_short(source, rows, r, segments, n_segments, count, a_k, b, b_first, b_k,
                                   bias, column, c, at, c_row, start, clamp, PANEL)  # fmt: skip
                        r += SHORT
                    else:
                        wide_one(source, rows, r, segments, n_segments, count, a_k, b, b_first, b_k,
                                 bias, column, c, at, c_row, start, clamp, PANEL)  # fmt: skip
                        r += 1
            while r < end:
                at = out + r * c_row
                height = TALL if end - r >= TALL else (SHORT if end - r >= SHORT else 1)
                for v in range(0, columns, LANES):
                    if height == TALL:
                        thin_tall(source, rows, r, segments, n_segments, count, a_k, b, b_first + v, b_k,
                                  bias, column + v, c, at + v, c_row, start, clamp, columns - v)  # fmt: skip
                    elif height == SHORT:
                        thin_short(source, rows, r, segments, n_segments, count, a_k, b, b_first + v, b_k,
                                   bias, column + v, c, at + v, c_row, start, clamp, columns - v)  # fmt: skip
                    else:
                        thin_one(source, rows, r, segments, n_segments, count, a_k, b, b_first + v, b_k,
                                 bias, column + v, c, at + v, c_row, start, clamp, columns - v)  # fmt: skip
                r += height
