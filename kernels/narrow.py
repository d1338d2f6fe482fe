"""Convolutions whose windows hold few numbers, such as those of images with one or three channels.

The general product walks along segments of a window. With 9 or 27 numbers in all, setting out on each of them costs as
much as the multiply-adds. Here a window is one list of offsets, `taps`: a tile is one loop over it. Rows go in tiles of
one height only, as many in a register as the general product has; the last tile of an image begins early and computes
some rows a second time.

Left out: weight gradients (`narrow_grad.py`), images of fewer pixels than a tile has rows and long windows
(`product.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kernels import layout, simd
from kernels.machine import CONTRACT, Floats, Ints, kernel
from kernels.matmul import FLOPS_PER_NS, row_block_for
from kernels.product import POOLED, unchanged
from kernels.program import Builder, Ref

PANEL, LANES, TALL = simd.PANEL, simd.LANES, simd.HEIGHTS[0]
# Numbers in a window. Measured beside the general product, GFLOP/s of 117: 9 numbers 78 against 35, 27: 105 against 90,
# 72: 105 against 94, 144: 105 against 104, 288 and 576: equal, from where on its packed segments are as good.
LONGEST = 256


def _tile(height: int, vectors: int, masked: bool, pool: bool) -> Any:
    """Rows r to `end`, of which there are at least `height`, in the columns from `first` on."""
    window = 4 if pool else 1
    made, exits = simd.tile(height, vectors, masked), simd.tile(height // window, vectors, masked)
    zeros, repeat, row_pointers, multiply_add = made.zeros, made.repeat, made.rows, made.step
    largest = made.pool if pool else njit(fastmath=CONTRACT)(unchanged)
    floor, store, fetch = exits.floor, exits.store, exits.fetch

    @njit(fastmath=CONTRACT, error_model="numpy", forceinline=True)
    def product(a, rows, r, end, taps, depth, b, at, first, columns, leaving, target):
        bias, has_bias, relu, c, out_rows = leaving
        start = repeat(bias, first, columns) if has_bias else zeros()
        while r < end:
            r = min(r, end - height)
            acc, k, a_rows = start, at, row_pointers(a, rows, r)
            fetch(c, out_rows, r // window, target + first)
            for tap in range(depth):
                simd.rolled()
                acc = multiply_add(acc, a_rows, taps[tap], b, k, columns)
                k += PANEL
            y = largest(acc)
            if relu:
                y = floor(y)
            store(y, c, out_rows, r // window, target + first, columns)
            r += height

    return product


def _panel(height: int, pool: bool) -> Any:
    """The same in a whole panel of columns, or in as many as are left."""
    wide, thin, part = (_tile(height, vectors, masked, pool) for vectors, masked in ((2, False), (1, False), (1, True)))

    @njit(fastmath=CONTRACT, error_model="numpy", forceinline=True)
    def product(a, rows, r, end, taps, depth, b, at, first, columns, leaving, target):
        if columns >= PANEL:
            wide(a, rows, r, end, taps, depth, b, at, first, columns, leaving, target)
            return
        if columns >= LANES:
            thin(a, rows, r, end, taps, depth, b, at, first, columns, leaving, target)
            first, at, columns = first + LANES, at + LANES, columns - LANES
        if columns > 0:
            part(a, rows, r, end, taps, depth, b, at, first, columns, leaving, target)

    return product


plain, pooled = _panel(TALL, False), _panel(POOLED, True)


@kernel(writes="c", fastmath=CONTRACT)
def narrow(
    a: Floats, b: Floats, bias: Floats, rows: Ints, taps: Ints, out_rows: Ints, c: Floats,
    a_image: int, c_image: int, m: int, row_block: int, n: int, depth: int, has_bias: int, relu: int, pool: int,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """c[image, r, :n] = bias + sum over k of a[image, rows[r] + taps[k]] b[k, :n], clamped below at 0 if relu.

    Items: images x panels x row blocks; an image has m rows, and its last block the rows that make no whole one. Row r
    leaves to `out_rows[r]`; with `pool` the largest of rows r to r + 3 to `out_rows[r // 4]`. b (panels, depth, PANEL).
    """
    row_blocks, panels = max(1, m // row_block), (n + PANEL - 1) // PANEL
    leaving = (bias, has_bias, relu, c, out_rows)
    for item in range(lo, hi):
        image, rest = item // (panels * row_blocks), item % (panels * row_blocks)
        panel, block = rest // row_blocks, rest % row_blocks
        r, first = block * row_block, panel * PANEL
        end = m if block == row_blocks - 1 else r + row_block
        source, target, at = simd.shift(a, image * a_image), image * c_image, first * depth
        if pool:
            pooled(source, rows, r, end, taps, depth, b, at, first, n - first, leaving, target)
        else:
            plain(source, rows, r, end, taps, depth, b, at, first, n - first, leaving, target)


def is_narrow(pixels: int, depth: int) -> bool:
    """Whether this kernel does convolutions with so many pixels in an image's result and numbers in a window."""
    return depth <= LONGEST and pixels >= TALL


def correlate(
    build: Builder, image: Ref, w: Ref, bias: Ref | None, rows: np.ndarray, taps: np.ndarray, out_rows: np.ndarray,
    y: Ref, relu: bool, pool: bool,
) -> None:  # fmt: skip
    """image (N,C,H,W) channels-last, w (kh,kw,C,O) -> y (N,O,OH,OW); tables as the kernel has them."""
    n, o, m, depth = image.shape[0], y.shape[1], len(rows), len(taps)
    row_block, operations = row_block_for(m, o, n), 2 * n * m * o * depth
    build.step(
        narrow, image, layout.panels(build, w), build.null if bias is None else build.contiguous(bias),
        build.constant(rows), build.constant(taps), build.constant(out_rows), y,
        image.strides[0], y.strides[0], m, row_block, o, depth, bias is not None, relu, pool,
        items=n * max(1, m // row_block) * -(-o // PANEL), cost_ns=operations / FLOPS_PER_NS, operations=operations,
    )  # fmt: skip
