"""Weight gradients of convolutions whose windows hold few numbers: for each of them a sum over all pixels.

The general product adds each image to the result, in memory, which costs as much as the sum over a small image; and it
has as many items as there are tiles, which are one or two here. This kernel keeps the sums of several images in
registers and gives blocks of images to different threads; the blocks are added in their order, so the result does not
depend on the number of threads.

Left out: long windows and large images (`product.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kernels import cpu, simd
from kernels.columns import sum_columns
from kernels.machine import CONTRACT, Floats, Ints, kernel
from kernels.matmul import FLOPS_PER_NS
from kernels.program import Builder, Ref

LANES = simd.LANES
HEIGHT = 9  # taps of a tile: kernels of 3 x 3 leave none over
# Vectors of columns of the two wider tiles: sums, columns and a broadcast have to fit. Measured on 3-64 32x32, where
# each tap's pass reads the lines that it needs and their neighbours: 3 and 1 vectors 89 GFLOP/s, 2 and 2 only 73.
WIDE, MIDDLE = (3, 2) if HEIGHT * 3 + 4 <= cpu.REGISTERS else (1, 1)
WIDTH = WIDE * LANES
AHEAD = 8  # pixels by which the output gradient is fetched before it is used: 100 GFLOP/s against 87 at 128 images
BLOCK_PIXELS = 2048  # that one sum runs over: its rounding errors stay small, and 32 images of 8 x 8 fill it
# Numbers in a window, as for the forward product. Measured beside it: 9 numbers 75 to 85 against 42, 27: 110 against
# 95, 72: 105 against 92, 144: 107 against 88 on images of 4 x 4 and equal on 8 x 8 and 16 x 16, 576: 103 against 106.
LONGEST = 256
MOST_PIXELS = 1 << 14  # of an image: their table has to stay in the L2 cache


def _tile(vectors: int, masked: bool) -> Any:
    """The sums of all taps over images `begin` to `end`, in the columns from `first` on."""
    made = simd.tile(HEIGHT, vectors, masked)
    zeros, row_pointers, multiply_add, store = made.zeros, made.rows, made.step, made.store

    @njit(fastmath=CONTRACT, error_model="numpy", forceinline=True)
    def sums(x, x_image, taps, m, g, o, pixels, depth, begin, end, first, columns, y, out_rows, target):
        for tap in range(0, m, HEIGHT):
            acc = zeros()
            for image in range(begin, end):
                rows, at = row_pointers(simd.shift(x, image * x_image), taps, tap), image * depth * o + first
                for pixel in range(depth):
                    simd.rolled()
                    for v in range(vectors):
                        simd.prefetch(g, at + AHEAD * o + v * LANES)
                    acc = multiply_add(acc, rows, pixels[pixel], g, at, columns)
                    at += o
            store(acc, y, out_rows, tap, target + first, columns)

    return sums


wide, middle, thin = (_tile(vectors, False) for vectors in (WIDE, MIDDLE, 1))
part = _tile(1, True)


@kernel(writes="y", fastmath=CONTRACT)
def narrow_weight_grad(
    x: Floats, g: Floats, taps: Ints, pixels: Ints, out_rows: Ints, y: Floats,
    images: int, block: int, x_image: int, depth: int, m: int, o: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y[b, k, :o] = sum over images of block b and pixels p < depth of x[image, taps[k] + pixels[p]] g[image, p, :o].

    Items: blocks x groups of WIDTH columns. The tables of taps and of where in y[b] they go, `out_rows`, are filled up
    to whole tiles.
    """
    groups = (o + WIDTH - 1) // WIDTH
    for item in range(lo, hi):
        begin, first, target = item // groups * block, item % groups * WIDTH, item // groups * m * o
        end, columns = min(begin + block, images), o - first
        if columns >= WIDTH:
            wide(x, x_image, taps, m, g, o, pixels, depth, begin, end, first, columns, y, out_rows, target)
            continue
        if columns >= MIDDLE * LANES:
            middle(x, x_image, taps, m, g, o, pixels, depth, begin, end, first, columns, y, out_rows, target)
            first, columns = first + MIDDLE * LANES, columns - MIDDLE * LANES
        if columns >= LANES:
            thin(x, x_image, taps, m, g, o, pixels, depth, begin, end, first, columns, y, out_rows, target)
            first, columns = first + LANES, columns - LANES
        if columns > 0:
            part(x, x_image, taps, m, g, o, pixels, depth, begin, end, first, columns, y, out_rows, target)


def is_narrow(pixels: int, depth: int) -> bool:
    """Whether this kernel does convolutions with so many pixels in an image's result and numbers in a window."""
    return depth <= LONGEST and pixels <= MOST_PIXELS


def weight_grad(build: Builder, image: Ref, g: Ref, taps: np.ndarray, pixels: np.ndarray) -> Ref:
    """image (N,C,H,W) and g (N,O,OH,OW), both channels-last -> (taps, O).

    `taps` and `pixels` hold the places of a window's numbers and of all windows in an image.
    """
    n, o, m, depth = image.shape[0], g.shape[1], len(taps), len(pixels)
    block = min(n, -(-BLOCK_PIXELS // depth))
    blocks = -(-n // block)
    beyond = (0, -m % HEIGHT)  # the last tap once more, whose sum goes where it is already
    y, operations = build.empty((blocks, m, o)), 2 * n * depth * m * o
    build.step(
        narrow_weight_grad, image, g, build.constant(np.pad(taps, beyond, mode="edge")), build.constant(pixels),
        build.constant(np.pad(np.arange(m) * o, beyond, mode="edge")), y,
        n, block, image.strides[0], depth, m, o,
        items=blocks * -(-o // WIDTH), cost_ns=operations / FLOPS_PER_NS, operations=operations,
    )  # fmt: skip
    if blocks == 1:
        return y
    total = build.empty((1, m, o))
    build.step(sum_columns, y, total, blocks, m * o, blocks, items=1, cost_ns=blocks * m * o / LANES)
    return total
