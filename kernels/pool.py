"""Max and average pooling of channels-last images, and their gradients.

A vector holds neighbouring channels of one pixel; a window is reduced in registers. Work items of the forward kernels
are rows of output pixels; those of the gradients are whole images, whose windows may overlap. Left out: dilation, ceil
mode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels import simd
from kernels.layout import Geometry
from kernels.machine import CONTRACT, EXACT, Floats, Kernel, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers
from kernels.simd import LANES, vector_load, vector_store

# Reading one element of a window, for one thread.
READ_NS = 0.15


@kernel(writes="y", fastmath=EXACT)
def max_pool2d(
    x: Floats, y: Floats, h: int, w: int, c: int, out_h: int, out_w: int, kh: int, kw: int, sh: int, sw: int,
    ph: int, pw: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (N,OH,OW,C) = maximum over the part of each window inside x (N,H,W,C); nan wins. Items: N x OH."""
    for item in range(lo, hi):
        image, top = item // out_h * h, item % out_h * sh - ph
        first_row, end_row = max(top, 0), min(top + kh, h)
        for ox in range(out_w):
            left = ox * sw - pw
            first, end = max(left, 0), min(left + kw, w)
            for channel in range(0, c, LANES):
                columns = c - channel
                best = vector_load(x, ((image + first_row) * w + first) * c + channel, columns)
                for row in range(first_row, end_row):
                    for col in range(first, end):
                        here = vector_load(x, ((image + row) * w + col) * c + channel, columns)
                        best = simd.vector_max(best, here)
                vector_store(best, y, (item * out_w + ox) * c + channel, columns)


@kernel(writes="dx", fastmath=EXACT)
def max_pool2d_grad(
    g: Floats, x: Floats, y: Floats, dx: Floats, h: int, w: int, c: int, out_h: int, out_w: int, kh: int, kw: int,
    sh: int, sw: int, ph: int, pw: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """dx (N,H,W,C): each output's gradient goes to the first maximum of its window, in row-major order. Items: N."""
    for image in range(lo, hi):
        for i in range(image * h * w * c, (image + 1) * h * w * c):
            dx[i] = np.float32(0)
        for out in range(out_h * out_w):
            top, left = out // out_w * sh - ph, out % out_w * sw - pw
            for channel in range(0, c, LANES):
                columns = c - channel
                at = (image * out_h * out_w + out) * c + channel
                best, rest = vector_load(y, at, columns), vector_load(g, at, columns)  # rest: not handed out yet
                for row in range(max(top, 0), min(top + kh, h)):
                    for col in range(max(left, 0), min(left + kw, w)):
                        i = ((image * h + row) * w + col) * c + channel
                        here = vector_load(x, i, columns)
                        taken = simd.where_same(here, best, rest)
                        vector_store(simd.vector_add(vector_load(dx, i, columns), taken), dx, i, columns)
                        rest = simd.where_differ(here, best, rest)


@kernel(writes="y", fastmath=CONTRACT)
def avg_pool2d(
    x: Floats, y: Floats, h: int, w: int, c: int, out_h: int, out_w: int, kh: int, kw: int, sh: int, sw: int,
    ph: int, pw: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (N,OH,OW,C) = sum over each window of x (N,H,W,C) / the window's size, padding counted. Items: N x OH."""
    share = np.float32(1) / np.float32(kh * kw)
    for item in range(lo, hi):
        image, top = item // out_h * h, item % out_h * sh - ph
        for ox in range(out_w):
            left = ox * sw - pw
            for channel in range(0, c, LANES):
                columns = c - channel
                total = simd.vector_zero()
                for row in range(max(top, 0), min(top + kh, h)):
                    for col in range(max(left, 0), min(left + kw, w)):
                        here = vector_load(x, ((image + row) * w + col) * c + channel, columns)
                        total = simd.vector_add(total, here)
                vector_store(simd.vector_scale(total, share), y, (item * out_w + ox) * c + channel, columns)


@kernel(writes="dx", fastmath=CONTRACT)
def avg_pool2d_grad(
    g: Floats, dx: Floats, h: int, w: int, c: int, out_h: int, out_w: int, kh: int, kw: int, sh: int, sw: int,
    ph: int, pw: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """dx (N,H,W,C): each output's gradient, divided by the window's size, goes to all of its window. Items: N."""
    share = np.float32(1) / np.float32(kh * kw)
    for image in range(lo, hi):
        for i in range(image * h * w * c, (image + 1) * h * w * c):
            dx[i] = np.float32(0)
        for out in range(out_h * out_w):
            top, left = out // out_w * sh - ph, out % out_w * sw - pw
            for channel in range(0, c, LANES):
                columns = c - channel
                at = (image * out_h * out_w + out) * c + channel
                part = simd.vector_scale(vector_load(g, at, columns), share)
                for row in range(max(top, 0), min(top + kh, h)):
                    for col in range(max(left, 0), min(left + kw, w)):
                        i = ((image * h + row) * w + col) * c + channel
                        vector_store(simd.vector_add(vector_load(dx, i, columns), part), dx, i, columns)


def _windows(shape: Sequence[int], kernel: Geometry, stride: Geometry, padding: Geometry) -> tuple[int, ...] | None:
    """(h, w, c, out_h, out_w, ...) as the kernels take them; None where a window could lie in the padding alone."""
    if any(2 * p > k for p, k in zip(padding, kernel)):
        return None
    _, c, h, w = shape
    out_h, out_w = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((h, w), kernel, stride, padding))
    return (h, w, c, out_h, out_w, *kernel, *stride, *padding)


def _forward(
    build: Builder, made: Kernel, x: Ref, kernel: Geometry, stride: Geometry, padding: Geometry
) -> Ref | None:
    windows = _windows(x.shape, kernel, stride, padding)
    if windows is None:
        return None
    y = build.empty((*x.shape[:2], *windows[3:5]), channels_last=True)
    cost_ns = READ_NS * y.size * kernel[0] * kernel[1]
    build.step(made, build.channels_last(x), y, *windows, items=x.shape[0] * windows[3], cost_ns=cost_ns)
    return y


def _backward(
    build: Builder, made: Kernel, saved: Sequence[Ref], shape: Sequence[int], kernel: Geometry, stride: Geometry,
    padding: Geometry,
) -> Ref | None:  # fmt: skip
    windows = _windows(shape, kernel, stride, padding)
    if windows is None:
        return None
    dx = build.empty(shape, channels_last=True)
    cost_ns = 2 * READ_NS * saved[0].size * kernel[0] * kernel[1]
    build.step(made, *map(build.channels_last, saved), dx, *windows, items=shape[0], cost_ns=cost_ns)
    return dx


@lowers("max_pool2d")
def lower_max_pool2d(build: Builder, x: Ref, *, kernel: Geometry, stride: Geometry, padding: Geometry) -> Ref | None:
    """x (N,C,H,W) -> (N,C,OH,OW)."""
    return _forward(build, max_pool2d, x, kernel, stride, padding)


@lowers("avg_pool2d")
def lower_avg_pool2d(build: Builder, x: Ref, *, kernel: Geometry, stride: Geometry, padding: Geometry) -> Ref | None:
    """x (N,C,H,W) -> (N,C,OH,OW); padding counts in the divisor."""
    return _forward(build, avg_pool2d, x, kernel, stride, padding)


@lowers("max_pool2d_grad")
def lower_max_pool2d_grad(
    build: Builder, g: Ref, x: Ref, y: Ref, *, kernel: Geometry, stride: Geometry, padding: Geometry
) -> Ref | None:
    """g, y (N,C,OH,OW), x (N,C,H,W) -> (N,C,H,W)."""
    return _backward(build, max_pool2d_grad, (g, x, y), x.shape, kernel, stride, padding)


@lowers("avg_pool2d_grad")
def lower_avg_pool2d_grad(
    build: Builder, g: Ref, *, shape: Sequence[int], kernel: Geometry, stride: Geometry, padding: Geometry
) -> Ref | None:
    """g (N,C,OH,OW) -> (N,C,H,W), the given shape."""
    return _backward(build, avg_pool2d_grad, (g,), shape, kernel, stride, padding)
