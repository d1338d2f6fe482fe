"""2-D convolution of f32 and its gradients by tiled products, without an im2col buffer.

Images lie channels-last in memory, so that one kernel row of a window is contiguous. Padding, another layout and the
gaps of a strided gradient are made by one copy (`layout.spread`).

- forward: rows of A are output pixels of one image, k runs over (kernel row, kernel column, channel).
- input gradient: the forward product on the output gradient, set `stride` apart, with flipped and transposed weights.
- weight gradient: rows are (kernel row, kernel column, channel), k runs over the pixels of one image after the other,
  so that its activations and output gradient stay in the cache.

Where 3 x 3 windows have enough channels, all three go by way of fast transforms (`winograd.py`), and where windows
hold few numbers, by kernels of their own (`narrow.py`, `narrow_grad.py`). Left out: groups (`grouped.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kernels import cpu, grouped, layout, narrow, narrow_grad, simd, winograd, winograd_grad
from kernels.layout import Geometry
from kernels.matmul import FLOPS_PER_NS, K_BLOCK, Walk, row_block_for
from kernels.product import product
from kernels.program import Builder, Ref
from kernels.registry import lowers

# Weight gradients with as many tiles use tall ones; with fewer, the rows that are left over would cost more.
MANY_TALLEST = 8


@lowers("conv2d")
def conv2d(
    build: Builder, x: Ref, w: Ref, bias: Ref | None = None, *, stride: Geometry, padding: Geometry, dilation: Geometry,
    groups: int, activation: str | None = None, pool: bool = False, margin: Geometry = (0, 0),
) -> Ref | None:  # fmt: skip
    """x (N,C,H,W), w (O,C,kh,kw), bias (O) -> (N,O,OH,OW), channels-last in memory; see `correlate`."""
    if groups != 1:
        return grouped.forward(
            build, conv2d, x, w, bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
            activation=activation,
        )  # fmt: skip
    kernel = w.permute((2, 3, 1, 0))
    out = (x.shape[2] + 2 * padding[0] - 2, x.shape[3] + 2 * padding[1] - 2)
    if winograd.worthwhile(w.shape, stride, dilation, out):
        whole = build.with_border(x, padding)
        source, start = (x, padding) if whole is None else (whole, (0, 0))
        return winograd.convolve(build, source, kernel, bias, start, out, activation, pool, margin)
    return correlate(build, padded(build, x, padding), kernel, bias, stride, dilation, activation, pool, margin)


@lowers("conv2d_input_grad")
def conv2d_input_grad(
    build: Builder, g: Ref, w: Ref, *, shape: Sequence[int], stride: Geometry, padding: Geometry, dilation: Geometry,
    groups: int,
) -> Ref | None:  # fmt: skip
    """g (N,O,OH,OW), w (O,C,kh,kw) -> gradient of the input, of the given shape (N,C,H,W)."""
    if groups != 1:
        return grouped.input_grad(
            build, conv2d_input_grad, g, w, shape=shape, stride=stride, padding=padding, dilation=dilation,
            groups=groups,
        )  # fmt: skip
    (kh, kw), (h, wd) = w.shape[2:], shape[2:]
    reach = (dilation[0] * (kh - 1), dilation[1] * (kw - 1))
    start = (reach[0] - padding[0], reach[1] - padding[1])
    so, sc, sy, sx = w.strides
    flipped = replace(w, shape=(kh, kw, w.shape[0], w.shape[1]), strides=(-sy, -sx, so, sc),
                      offset=w.offset + (kh - 1) * sy + (kw - 1) * sx)  # fmt: skip
    if winograd.worthwhile((w.shape[1], w.shape[0], kh, kw), stride, dilation, (h, wd)):
        return winograd.convolve(build, g, flipped, None, start, (h, wd))
    image = layout.spread(build, g, (h + reach[0], wd + reach[1]), start, stride)
    return correlate(build, image, flipped, None, (1, 1), dilation, None)


@lowers("conv2d_weight_grad")
def conv2d_weight_grad(
    build: Builder, x: Ref, g: Ref, *, shape: Sequence[int], stride: Geometry, padding: Geometry, dilation: Geometry,
    groups: int,
) -> Ref | None:  # fmt: skip
    """x (N,C,H,W), g (N,O,OH,OW) -> gradient of the weights, of the given shape (O,C,kh,kw)."""
    if groups != 1:
        return grouped.weight_grad(
            build, conv2d_weight_grad, x, g, shape=shape, stride=stride, padding=padding, dilation=dilation,
            groups=groups,
        )  # fmt: skip
    if winograd.worthwhile(shape, stride, dilation, g.shape[2:], winograd.MANY_SUMS):
        return build.contiguous(winograd_grad.weight_grad(build, x, g, padding).permute((3, 2, 0, 1)))
    image, g = padded(build, x, padding), build.channels_last(g)
    n, c, h, wd = image.shape
    o, out_h, out_w = g.shape[1:]
    kh, kw = shape[2:]
    m = kh * kw * c
    taps = offsets((kh, kw, c), (dilation[0] * wd * c, dilation[1] * c, 1))
    if narrow_grad.is_narrow(out_h * out_w, m):
        pixels = offsets((out_h, out_w), (stride[0] * wd * c, stride[1] * c))
        result = build.reshaped(narrow_grad.weight_grad(build, image, g, taps, pixels), (kh, kw, c, o))
        return build.contiguous(result.permute((3, 2, 0, 1)))
    taller = m >= MANY_TALLEST * cpu.TALLEST
    row_block = row_block_for(m, o, tall=cpu.TALLEST if taller else simd.HEIGHTS[0])
    rows = build.constant(taps)
    out_rows = build.constant(np.arange(m, dtype=np.int64) * o)
    segments = build.constant(offsets((out_h,), (stride[0] * wd * c,)))
    result, operations = build.empty((kh, kw, c, o)), 2 * m * o * n * out_h * out_w
    build.step(
        product, image, g, build.null, rows, segments, out_rows, result,
        1, 0, 0, m, m, row_block, o,  # one matrix, to which every image adds
        out_h, out_w, out_w, stride[1] * c, o, simd.PANEL,
        n, h * wd * c, out_h * out_w * o, False, False, False, taller,
        items=-(-m // row_block) * -(-o // simd.PANEL), cost_ns=operations / FLOPS_PER_NS, operations=operations,
    )  # fmt: skip
    return build.contiguous(result.permute((3, 2, 0, 1)))


def correlate(
    build: Builder, image: Ref, w: Ref, bias: Ref | None, stride: Geometry, dilation: Geometry, activation: str | None,
    pool: bool = False, margin: Geometry = (0, 0),
) -> Ref:  # fmt: skip
    """image (N,C,H,W) channels-last and already padded, w (kh,kw,C,O) with any strides -> (N,O,OH,OW), channels-last.

    With `pool` only the largest of each 2 x 2 results. `margin`: how wide a border of zeros the result is laid into.
    """
    (n, c, _, wd), (kh, kw, _, o) = image.shape, w.shape
    line = dilation[0] * wd * c  # from one kernel row to the next
    if dilation[1] == 1:
        within, length = np.zeros(1, np.int64), kw * c
    else:
        within, length = offsets((kw,), (dilation[1] * c,)), c
    # A long sum goes one kernel row at a time, so that the panel of weights it needs stays in the cache.
    blocks = kh if kh * kw * c > K_BLOCK and not pool else 1
    segments = within if blocks > 1 else (offsets((kh,), (line,))[:, None] + within).ravel()
    table = row_table(image, (kh, kw), stride, dilation, pool)
    y = build.bordered((n, o, *table.out), margin)
    if narrow.is_narrow(len(table.rows), kh * kw * c):
        taps, out_rows = (segments[:, None] + np.arange(length)).ravel(), offsets(table.out, y.strides[2:])
        narrow.correlate(build, image, w, bias, table.rows, taps, out_rows, y, activation == "relu", pool)
        return y
    walk = along_images(image, y, table.rows)
    row_block, operations = row_block_for(walk.m, o, walk.images), 2 * walk.total * o * kh * kw * c
    build.step(
        product, image, layout.panels(build, w), build.null if bias is None else build.contiguous(bias),
        build.constant(walk.rows), build.constant(segments), build.constant(walk.out_rows), y,
        walk.images, walk.a_image, walk.c_image, walk.m, walk.last_m, row_block, o,
        len(segments), length, length, 1, simd.PANEL, kh * kw * c * simd.PANEL,
        blocks, line, kw * c * simd.PANEL, bias is not None, activation == "relu", pool, False,
        items=walk.items(row_block, o), cost_ns=operations / FLOPS_PER_NS, operations=operations,
    )  # fmt: skip
    return y


class RowTable(NamedTuple):
    """Where in an image the window of each output pixel begins, and the size of the result."""

    rows: np.ndarray
    out: Geometry


def row_table(image: Ref, kernel: Geometry, stride: Geometry, dilation: Geometry, pool: bool) -> RowTable:
    """Output pixels in order; with `pool` four by four, as 2 x 2 windows (an odd last row or column is left out)."""
    out = [(image.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    row, pixel = stride[0] * image.strides[2], stride[1] * image.strides[3]
    if not pool:
        return RowTable(offsets(out, (row, pixel)), (out[0], out[1]))
    half = (out[0] // 2, out[1] // 2)
    return RowTable(offsets((*half, 2, 2), (2 * row, 2 * pixel, row, pixel)), half)


def along_images(image: Ref, y: Ref, rows: np.ndarray) -> Walk:
    """From windows that begin at `rows` of each image (N,C,H,W) to the pixels of y (N,O,OH,OW), in the same order."""
    n, out_rows = image.shape[0], offsets(y.shape[2:], y.strides[2:])
    a_image, c_image = image.strides[0], y.strides[0]
    if len(rows) == 1:  # one row an image: all of them are one matrix
        return Walk(offsets((n,), (a_image,)), offsets((n,), (c_image,)), 1, 0, 0, n)
    return Walk(rows, out_rows, n, a_image, c_image, len(rows))


class Segments(NamedTuple):
    """The runs of a window: where each begins, all of the same length."""

    starts: np.ndarray
    length: int


def longest_segments(kernel: Geometry, channels: int, width: int, dilation: Geometry) -> Segments:
    """A window of an image so wide, channels-last, in as few runs as lie in one piece."""
    (kh, kw), line = kernel, dilation[0] * width * channels
    if dilation == (1, 1) and kw == width:  # whole lines
        return Segments(offsets((1,), (0,)), kh * kw * channels)
    if dilation[1] == 1:
        return Segments(offsets((kh,), (line,)), kw * channels)
    return Segments(offsets((kh, kw), (line, dilation[1] * channels)), channels)


def padded(build: Builder, x: Ref, padding: Geometry) -> Ref:
    """x (N,C,H,W) with zeros around, channels-last; what x lies in if that is it already."""
    if padding == (0, 0):
        return build.channels_last(x)
    whole = build.with_border(x, padding)
    if whole is not None:
        return whole
    return layout.spread(build, x, (x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1]), padding)


def offsets(shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """Offsets of all elements of an array of this shape and strides, in row-major order."""
    total = np.zeros(shape, np.int64)
    for axis, stride in enumerate(strides):
        total += np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))]) * stride
    return total.ravel()
