"""The tiled product of f32: matrix products, convolutions of long windows and their gradients are calls of this kernel.

It computes C = A B where A is never built: row r of A at position k is the input at `rows[r] + segments[s] + j * a_k`,
with k running over segments s and, inside, over j. So a matrix has one segment; a convolution has one segment for each
kernel row and reads its windows in place (the indirect convolution algorithm, Dukhan 2019, arXiv:1907.02129, section 3,
with offsets in place of pointers); its weight gradient has one segment for each row of pixels. B is read in panels of
PANEL columns, C is written in tiles of `simd.HEIGHTS` rows, row r at `out_rows[r]`, so that it may lie inside a border
that the next layer pads with. For 2 x 2 max pooling the rows of A are ordered so that each four of them are one window,
of which only the largest leaves.

Every element of C is accumulated in one register, in the order of k, whatever the tile height and the number of
threads, so the result does not depend on either. With several blocks each block's sum is added to C in turn, which also
keeps rounding errors of long sums small.

Left out: what rows, segments and panels are for a given op (`matmul.py`, `conv.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from kernels import cpu, simd
from kernels.machine import CONTRACT, Floats, Ints, kernel

PANEL, LANES = simd.PANEL, simd.LANES
TALL, SHORT, _ = simd.HEIGHTS
TALLEST = cpu.TALLEST
POOLED = TALL if TALL % 4 == 0 else SHORT  # the tallest tile that holds whole windows
ZEROS, BIAS, SUM = range(3)  # start at zero, start at the bias, add to what C holds
# Bundles that keep the calls readable: `reading` = (rows, segments, n_segments, length, a_k), how A is found;
# `leaving` = (bias, start, relu, c, out_rows), how a tile begins and where it goes.


def unchanged(acc: Any) -> Any:
    """What pooling is where there is none."""
    return acc


def _tile_product(height: int, vectors: int, pool: bool) -> Any:
    """One tile, from column `first` on; with `pool` what leaves is the largest of each four rows."""
    masked, window = vectors == 1, 4 if pool else 1
    zeros, repeat, _, row_pointers, multiply_add, *_ = made = simd.tile(height, vectors, masked)
    largest = made.pool if pool else njit(fastmath=CONTRACT)(unchanged)
    exits = simd.tile(height // window, vectors, masked)
    add, floor, store, fetch = exits.add, exits.floor, exits.store, exits.fetch

    @njit(fastmath=CONTRACT, error_model="numpy", forceinline=True)
    def product(a, r, reading, b, k, b_k, first, columns, leaving, target):
        rows, segments, n_segments, length, a_k = reading
        bias, start, relu, c, out_rows = leaving
        acc = repeat(bias, first, columns) if start == BIAS else zeros()
        a_rows = row_pointers(a, rows, r)
        # Else a tile waits for the lines it is to fill. Measured with and without: products of 512 104 and 100 GFLOP/s,
        # of 1024 107 and 104, convolution 64-128 of 64 images 16 x 16 110 and 104.
        fetch(c, out_rows, r // window, target + first)
        for s in range(n_segments):
            j = segments[s]
            for _ in range(length):
                simd.rolled()
                acc = multiply_add(acc, a_rows, j, b, k, columns)
                j += a_k
                k += b_k
        y = largest(acc)
        if start == SUM:
            y = add(y, c, out_rows, r // window, target + first, columns)
        if relu:
            y = floor(y)
        store(y, c, out_rows, r // window, target + first, columns)

    return product


def panel_product(make: Callable[..., Any], height: int, pool: bool, depth: int, fastmath: set[str]) -> Any:
    """`height` rows times one panel: full width, or vector by vector where fewer columns are left.

    `make(height, vectors, pool)` gives the product of one tile; a column of B holds `depth` numbers side by side.
    """
    wide, thin = make(height, 2, pool), make(height, 1, pool)

    @njit(fastmath=fastmath, error_model="numpy", forceinline=True)
    def product(a, r, reading, b, k, how, first, columns, leaving, target):
        if columns >= PANEL:
            wide(a, r, reading, b, k, how, first, columns, leaving, target)
        else:
            for v in range(0, columns, LANES):
                thin(a, r, reading, b, k + v * depth, how, first + v, columns - v, leaving, target)

    return product


def _panel_product(height: int, pool: bool) -> Any:
    return panel_product(_tile_product, height, pool, 1, CONTRACT)


def rows_product(tiles: tuple[Any, Any, Any], heights: tuple[int, int], fastmath: set[str]) -> Any:
    """Any number of rows times one panel: by the products of tall tiles, then of short ones, then of single rows."""
    tall, short, one = tiles
    tall_rows, short_rows = heights

    @njit(fastmath=fastmath, error_model="numpy")
    def product(a, r, end, reading, b, k, how, first, columns, leaving, target):
        while end - r >= tall_rows:
            tall(a, r, reading, b, k, how, first, columns, leaving, target)
            r += tall_rows
        while end - r >= short_rows:
            short(a, r, reading, b, k, how, first, columns, leaving, target)
            r += short_rows
        while r < end:
            one(a, r, reading, b, k, how, first, columns, leaving, target)
            r += 1

    return product


def pooled_or_not(plain: Any, pooled: Any, fastmath: set[str]) -> Any:
    """One of two products of rows, as a flag says."""

    @njit(fastmath=fastmath, error_model="numpy")
    def product(a, r, end, reading, b, k, how, first, columns, leaving, target, pool):
        if pool:
            pooled(a, r, end, reading, b, k, how, first, columns, leaving, target)
        else:
            plain(a, r, end, reading, b, k, how, first, columns, leaving, target)

    return product


tall, short, one = (_panel_product(height, False) for height in simd.HEIGHTS)
tallest = _panel_product(TALLEST, False)
tall_pool, short_pool = (_panel_product(height, True) for height in (POOLED, SHORT))
plain_rows = rows_product((tall, short, one), (TALL, SHORT), CONTRACT)
pooled_rows = rows_product((tall_pool, short_pool, short_pool), (POOLED, SHORT), CONTRACT)  # no single rows are left
all_rows = pooled_or_not(plain_rows, pooled_rows, CONTRACT)


@kernel(writes="c", fastmath=CONTRACT)
def product(
    a: Floats, b: Floats, bias: Floats, rows: Ints, segments: Ints, out_rows: Ints, c: Floats,
    images: int, a_image: int, c_image: int, m: int, last_m: int, row_block: int, n: int,
    n_segments: int, length: int, last_length: int, a_k: int, b_k: int, b_panel: int,
    blocks: int, a_block: int, b_block: int, has_bias: int, relu: int, pool: int, taller: int, lo: int,
    hi: int,
) -> None:  # fmt: skip
    """C[image, r, :n] = bias + sum over k of A[image, r, k] B[k, :n], clamped below at 0 if relu.

    Items: images x panels x row blocks; an image has m rows, the last one last_m. k runs over `blocks` blocks of
    `n_segments` segments of `length` (in the last block `last_length`) positions; A moves on by `a_block` and B by
    `b_block` from block to block. Row r leaves to `out_rows[r]`; with `pool`, rows r to r + 3 to `out_rows[r // 4]`.
    `taller`: tiles of TALLEST rows where there are as many.
    """
    row_blocks, panels = (m + row_block - 1) // row_block, (n + PANEL - 1) // PANEL
    for block in range(blocks):
        last = block == blocks - 1
        reading = (rows, segments, n_segments, last_length if last else length, a_k)
        start = SUM if block > 0 else (BIAS if has_bias else ZEROS)
        leaving = (bias, start, relu if last else 0, c, out_rows)
        for item in range(lo, hi):
            image, rest = item // (panels * row_blocks), item % (panels * row_blocks)
            panel, r = rest // row_blocks, rest % row_blocks * row_block
            end = min(r + row_block, last_m if image == images - 1 else m)
            source, target = simd.shift(a, image * a_image + block * a_block), image * c_image
            k, first = panel * b_panel + block * b_block, panel * PANEL
            columns = n - first
            if taller:
                while end - r >= TALLEST:
                    tallest(source, r, reading, b, k, b_k, first, columns, leaving, target)
                    r += TALLEST
            all_rows(source, r, end, reading, b, k, b_k, first, columns, leaving, target, pool)
