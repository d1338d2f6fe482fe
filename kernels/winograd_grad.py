"""The gradient of a 3 x 3 convolution's weights by fast transforms, as `winograd.py` does the convolution itself.

For a tile of 4 x 4 output gradients the gradient of the weights is a convolution too: 3 x 3 results of 4 x 4 weights
on the 6 x 6 pixels that the tile sees. So both are transformed, multiplied at each of the 36 positions, channels x
tiles times tiles x filters, and summed over all tiles before they are transformed back (Lavin and Gray 2016,
arXiv:1509.09308, section 4, of F(3x3, 4x4)).

An item owns some channels and one panel of filters, whose 36 sums stay in the L2 cache while blocks of tiles pass;
where that gives few items, runs of tiles have sums of their own, added up in order. Sums that are not finite are formed
again plainly, since fast transforms would give nan for infinity.
"""

from __future__ import annotations

import numpy as np

from kernels import simd
from kernels.layout import Geometry
from kernels.machine import CONTRACT, Floats, Ints, kernel
from kernels.matmul import FLOPS_PER_NS
from kernels.patches import DATA_IN, GRADIENT_IN, given_to, seen_by, six
from kernels.product import SUM, ZEROS, plain_rows
from kernels.program import Builder, Ref
from kernels.simd import LANES, PANEL, all_finite, vector_load, vector_store, vector_zero
from kernels.toom_cook import DATA, POSITIONS, RESULTS, THREE_RESULTS, WEIGHTS, compiled, three_results
from kernels.winograd import NOTHING, WEIGHTS_NS, block_of, rooms, slot_floats

C_BLOCK = 64  # channels of one item: its sums then take 300 KB with AVX-512; 32 are 1.2 times slower
FEW = 4  # items below which tiles are divided too


@kernel(writes="sums scratch", fastmath=CONTRACT)
def winograd_sums(
    x: Floats, g: Floats, rows: Ints, sums: Floats, scratch: Floats,
    h: int, width: int, c: int, x_image: int, x_row: int, x_pixel: int, top: int, left: int,
    images: int, down: int, across: int, out_h: int, out_w: int, g_image: int, g_row: int, g_pixel: int, n: int,
    block: int, slot: int, chunks: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """sums (chunks, panels, 36, c, PANEL): products of x (images, h, width, c) and g (images, out_h, out_w, n).

    Items: chunks x panels x blocks of channels. rows (2, C_BLOCK): where channels begin before and after the product.
    """
    panels, c_blocks = (n + PANEL - 1) // PANEL, (c + C_BLOCK - 1) // C_BLOCK
    tiles, grid = images * down * across, (down, across)
    seeing, giving = (h, width, top, left, x_image, x_row, x_pixel), (out_h, out_w, g_image, g_row, g_pixel)
    wide = (min(c, C_BLOCK) + LANES - 1) // LANES * LANES
    v, v_position, w, w_position, half, patch = rooms(simd.shift(scratch, lo * slot), block, wide)
    segments, out_rows = simd.shift_ints(rows, 2 * C_BLOCK), simd.shift_ints(rows, C_BLOCK)
    for item in range(lo, hi):
        chunk, rest = item // (panels * c_blocks), item % (panels * c_blocks)
        panel, channel = rest // c_blocks, rest % c_blocks * C_BLOCK
        channels, columns = min(C_BLOCK, c - channel), min(PANEL, n - panel * PANEL)
        filled = (columns + LANES - 1) // LANES * LANES
        begin, end = tiles * chunk // chunks, tiles * (chunk + 1) // chunks
        for first in range(begin, end, block):
            count = min(block, end - first)
            for t in range(count):
                for e in range(0, channels, LANES):
                    at, to = channel + e, t * wide + e
                    seen_by(first + t, grid, x, seeing, at, c - at, half, patch, v, to, v_position)
                for e in range(0, columns, LANES):
                    at, to = panel * PANEL + e, t * PANEL + e
                    given_to(first + t, grid, g, giving, at, n - at, half, patch, w, to, w_position)
            reading = (rows, segments, 1, count, wide)
            leaving = (x, ZEROS if first == begin else SUM, 0, sums, out_rows)
            for p in range(POSITIONS):
                source, k = simd.shift(v, p * v_position), p * w_position
                target = (((chunk * panels + panel) * POSITIONS + p) * c + channel) * PANEL
                plain_rows(source, 0, channels, reading, w, k, PANEL, 0, filled, leaving, target)


@compiled
def plain_sum(x, g, seeing, giving, images, tap, channel, filters, columns):
    """What one tap of one channel has to be, as a sum over all pixels; slow."""
    h, width, top, left, x_image, x_row, x_pixel = seeing
    out_h, out_w, g_image, g_row, g_pixel = giving
    acc = vector_zero()
    for pixel in range(images * out_h * out_w):
        image, i, j = pixel // (out_h * out_w), pixel // out_w % out_h, pixel % out_w
        y, z = i + tap // WEIGHTS - top, j + tap % WEIGHTS - left
        inside = 0 <= y < h and 0 <= z < width
        value = x[image * x_image + y * x_row + z * x_pixel + channel] if inside else NOTHING
        acc = acc + vector_load(g, image * g_image + i * g_row + j * g_pixel + filters, columns) * value
    return acc


@kernel(writes="dw", updates="sums", fastmath=CONTRACT)
def winograd_weight_grad(
    sums: Floats, x: Floats, g: Floats, dw: Floats,
    h: int, width: int, c: int, x_image: int, x_row: int, x_pixel: int, top: int, left: int,
    images: int, out_h: int, out_w: int, g_image: int, g_row: int, g_pixel: int, n: int, chunks: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """dw (3, 3, c, n) = A' sums A, sums over all chunks; see `winograd_sums`. Items: panels x c."""
    seeing, giving = (h, width, top, left, x_image, x_row, x_pixel), (out_h, out_w, g_image, g_row, g_pixel)
    position, chunk_size = c * PANEL, (n + PANEL - 1) // PANEL * POSITIONS * c * PANEL
    for item in range(lo, hi):
        panel, channel = item // c, item % c
        for e in range(0, min(PANEL, n - panel * PANEL), LANES):
            at, filters = (panel * POSITIONS * c + channel) * PANEL + e, panel * PANEL + e
            for chunk in range(1, chunks):
                for p in range(POSITIONS):
                    here = at + p * position
                    total = vector_load(sums, here, LANES) + vector_load(sums, here + chunk * chunk_size, LANES)
                    vector_store(total, sums, here, LANES)
            for j in range(DATA):  # each column's three results over the six sums they are made from
                a, b, d = three_results(*six(sums, at + j * position, DATA * position))
                vector_store(a, sums, at + j * position, LANES)
                vector_store(b, sums, at + (DATA + j) * position, LANES)
                vector_store(d, sums, at + (2 * DATA + j) * position, LANES)
            total = vector_zero()
            for i in range(WEIGHTS):
                a, b, d = three_results(*six(sums, at + i * DATA * position, position))
                total = total + (a + b + d)
                to = (i * WEIGHTS * c + channel) * n + filters
                vector_store(a, dw, to, n - filters)
                vector_store(b, dw, to + c * n, n - filters)
                vector_store(d, dw, to + 2 * c * n, n - filters)
            if not all_finite(total):
                for tap in range(WEIGHTS * WEIGHTS):
                    value = plain_sum(x, g, seeing, giving, images, tap, channel, filters, n - filters)
                    vector_store(value, dw, (tap * c + channel) * n + filters, n - filters)


def weight_grad(build: Builder, x: Ref, g: Ref, padding: Geometry) -> Ref:
    """x (N,C,H,W), g (N,O,OH,OW) -> gradient of weights (3,3,C,O)."""
    x, g = (ref if ref.strides[1] == 1 else build.channels_last(ref) for ref in (x, g))
    (images, c, h, width), (n, out_h, out_w) = x.shape, g.shape[1:]
    down, across = -(-out_h // RESULTS), -(-out_w // RESULTS)
    tiles, panels, c_blocks = images * down * across, -(-n // PANEL), -(-c // C_BLOCK)
    wide = -(-min(c, C_BLOCK) // LANES) * LANES
    block = block_of(tiles, wide + PANEL)
    chunks = max(1, min(FEW // (panels * c_blocks), tiles // block))
    items, slot = chunks * panels * c_blocks, slot_floats(block, wide)
    order = np.arange(C_BLOCK, dtype=np.int64)
    tables = build.constant(np.concatenate([order, order * PANEL, np.zeros(1, np.int64)]))
    sums, dw = build.empty((chunks, panels, POSITIONS, c, PANEL)), build.empty((WEIGHTS, WEIGHTS, c, n))
    x_lies, g_lies = (x.strides[0], *x.strides[2:]), (g.strides[0], *g.strides[2:])
    products = 2 * POSITIONS * tiles * c * n
    build.step(
        winograd_sums, x, g, tables, sums, build.empty((items, slot)),
        h, width, c, *x_lies, *padding, images, down, across, out_h, out_w, *g_lies, n, block, slot, chunks,
        items=items, cost_ns=products / FLOPS_PER_NS,
        operations=products + tiles * (panels * c * DATA_IN + c_blocks * n * GRADIENT_IN),
    )  # fmt: skip
    build.step(
        winograd_weight_grad, sums, x, g, dw,
        h, width, c, *x_lies, *padding, images, out_h, out_w, *g_lies, n, chunks,
        items=panels * c, cost_ns=panels * c * chunks * WEIGHTS_NS,
        operations=c * n * ((DATA + WEIGHTS) * THREE_RESULTS + (chunks - 1) * POSITIONS),
    )  # fmt: skip
    return dw
