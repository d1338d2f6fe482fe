"""Depthwise 2-D convolution, one filter for each channel, and its gradients: vectors of neighbouring channels.

Images lie channels-last and padding is never stored: a window is cut off at the border of the image. There is nothing
to be gained from tiles, for no input is used by more than one channel.

Left out: several filters for each channel (`grouped.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numba import njit

from kernels.columns import BLOCK_ELEMENTS, sum_columns
from kernels.layout import Geometry
from kernels.machine import CONTRACT, Floats, kernel
from kernels.program import Builder, Ref
from kernels.simd import (
    LANES,
    rolled,
    shift,
    vector_add,
    vector_load,
    vector_max,
    vector_multiply_add,
    vector_store,
    vector_zero,
)

TAP_NS = 0.06  # one multiply-add, for one thread


@njit(fastmath=False)
def _inside(first, step, count, size):
    """The range of i in [0, count) for which 0 <= first + i step < size; it never ends before it begins."""
    if step == 1:  # without the divisions, which take as long as a short window
        begin, end = max(0, -first), min(count, size - first)
        return begin, max(begin, end)
    begin = max(0, (-first + step - 1) // step)
    end = min(count, (size - first + step - 1) // step)
    return begin, max(begin, end)


@njit(fastmath=False)
def _whole(out_w, width, kw, sw, pw, dw, least):
    """The first of the pixels whose windows lie between left and right, and their number; 0 if fewer than `least`."""
    begin, end = _inside(-pw, sw, out_w, width - (kw - 1) * dw)
    return (begin, end - begin) if end - begin >= least else (0, 0)


@njit(fastmath=CONTRACT, forceinline=True)
def product(a, i, b, j, columns, total):
    """total + a[i:] b[j:]"""
    return vector_multiply_add(vector_load(a, i, columns), vector_load(b, j, columns), total)


@njit(fastmath=CONTRACT, forceinline=True)
def _one(x, w, start, line, p, p_end, q, q_end, row, col, kw, c, columns):
    """One pixel's sum over rows p and columns q of its window, which begins at `line` in x."""
    total = start
    for i in range(p, p_end):
        for k in range(q, q_end):
            total = product(x, line + i * row + k * col, w, (i * kw + k) * c, columns, total)
    return total


@njit(fastmath=CONTRACT, forceinline=True)
def _tap(x, at, step, tap, columns, sums):
    """One tap's products added to the sums of four pixels, `step` apart in x."""
    t0, t1, t2, t3 = sums
    return (
        vector_multiply_add(vector_load(x, at, columns), tap, t0),
        vector_multiply_add(vector_load(x, at + step, columns), tap, t1),
        vector_multiply_add(vector_load(x, at + 2 * step, columns), tap, t2),
        vector_multiply_add(vector_load(x, at + 3 * step, columns), tap, t3),
    )


@njit(fastmath=CONTRACT, forceinline=True)
def _four(x, w, start, line, p, p_end, kw, row, col, step, c, columns):
    """Likewise of four pixels, with all columns of their windows inside."""
    sums = (start, start, start, start)
    for i in range(p, p_end):
        for k in range(kw):
            rolled()
            sums = _tap(x, line + i * row + k * col, step, vector_load(w, (i * kw + k) * c, columns), columns, sums)
    return sums


@njit(fastmath=CONTRACT, forceinline=True)
def _three_taps(w, at, c):
    """One row of a 3 x 3 filter."""
    return vector_load(w, at, LANES), vector_load(w, at + c, LANES), vector_load(w, at + 2 * c, LANES)


@njit(fastmath=CONTRACT, forceinline=True)
def _row_of_three(x, at, col, step, taps, sums):
    for k in range(3):
        sums = _tap(x, at + k * col, step, taps[k], LANES, sums)
    return sums


@njit(fastmath=CONTRACT, forceinline=True)
def _put_four(sums, relu, y, at, c, columns):
    t0, t1, t2, t3 = sums
    if relu:
        zero = vector_zero()
        t0, t1, t2, t3 = vector_max(zero, t0), vector_max(zero, t1), vector_max(zero, t2), vector_max(zero, t3)
    vector_store(t0, y, at, columns)
    vector_store(t1, y, at + c, columns)
    vector_store(t2, y, at + 2 * c, columns)
    vector_store(t3, y, at + 3 * c, columns)


@kernel(writes="y", fastmath=CONTRACT)
def depthwise(
    x: Floats, w: Floats, bias: Floats, y: Floats, h: int, width: int, c: int, out_h: int, out_w: int, kh: int, kw: int,
    sh: int, sw: int, ph: int, pw: int, dh: int, dw: int, has_bias: int, relu: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (N,OH,OW,C) = bias (C) + sum over the window of x (N,H,W,C) w (kh,kw,C), clamped at 0. Items: N x OH.

    Four pixels go together where their windows lie between left and right; the last four of a line begin early and
    compute some pixels a second time.
    """
    whole, count = _whole(out_w, width, kw, sw, pw, dw, 4)
    row, col, step = dh * width * c, dw * c, sw * c
    for item in range(lo, hi):
        image, top = item // out_h * h, item % out_h * sh - ph
        p, p_end = _inside(top, dh, kh, h)
        for j in range(0, c, LANES):
            columns, taps, target = c - j, shift(w, j), item * out_w * c + j
            start = vector_load(bias, j, columns) if has_bias else vector_zero()
            above = (image + top) * width * c + j  # where the window's first row lies
            for edge in range(out_w - count):
                ox = edge if edge < whole else edge + count
                left = ox * sw - pw
                q, q_end = _inside(left, dw, kw, width)
                total = _one(x, taps, start, above + left * c, p, p_end, q, q_end, row, col, kw, c, columns)
                vector_store(vector_max(vector_zero(), total) if relu else total, y, target + ox * c, columns)
            done = 0
            if columns >= LANES and kh == 3 and kw == 3 and p == 0 and p_end == 3:  # the common case: taps stay loaded
                first, second = _three_taps(taps, 0, c), _three_taps(taps, 3 * c, c)
                third = _three_taps(taps, 6 * c, c)
                while done < count:
                    rolled()
                    ox = whole + min(done, count - 4)
                    line = above + (ox * sw - pw) * c
                    sums = _row_of_three(x, line, col, step, first, (start, start, start, start))
                    sums = _row_of_three(x, line + row, col, step, second, sums)
                    sums = _row_of_three(x, line + 2 * row, col, step, third, sums)
                    _put_four(sums, relu, y, target + ox * c, c, LANES)
                    done += 4
            while done < count:
                ox = whole + min(done, count - 4)
                line = above + (ox * sw - pw) * c
                if columns >= LANES:
                    sums = _four(x, taps, start, line, p, p_end, kw, row, col, step, c, LANES)
                else:
                    sums = _four(x, taps, start, line, p, p_end, kw, row, col, step, c, columns)
                _put_four(sums, relu, y, target + ox * c, c, columns)
                done += 4


@kernel(writes="dx", fastmath=CONTRACT)
def depthwise_input_grad(
    g: Floats, w: Floats, dx: Floats, h: int, width: int, c: int, out_h: int, out_w: int, kh: int, kw: int,
    sh: int, sw: int, ph: int, pw: int, dh: int, dw: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """dx (N,H,W,C) = sum of g (N,OH,OW,C) w (kh,kw,C) over the windows that saw a pixel. Items: N x H."""
    for item in range(lo, hi):
        image, row = item // h * out_h, item % h + ph
        for col in range(width):
            for j in range(0, c, LANES):
                columns = c - j
                total = vector_zero()
                for p in range(kh):
                    oy = (row - p * dh) // sh
                    if oy * sh != row - p * dh or oy < 0 or oy >= out_h:
                        continue
                    for q in range(kw):
                        ox = (col + pw - q * dw) // sw
                        if ox * sw != col + pw - q * dw or ox < 0 or ox >= out_w:
                            continue
                        here = vector_load(g, ((image + oy) * out_w + ox) * c + j, columns)
                        total = vector_multiply_add(here, vector_load(w, (p * kw + q) * c + j, columns), total)
                vector_store(total, dx, (item * width + col) * c + j, columns)


@njit(fastmath=CONTRACT, forceinline=True)
def _line(x, i, step, g, k, c, count, columns):
    """Sum of x[i + s * step :] g[k + s * c :] for s < count."""
    t0 = t1 = t2 = t3 = vector_zero()
    for _ in range(count // 4):
        t0 = product(x, i, g, k, columns, t0)
        t1 = product(x, i + step, g, k + c, columns, t1)
        t2 = product(x, i + 2 * step, g, k + 2 * c, columns, t2)
        t3 = product(x, i + 3 * step, g, k + 3 * c, columns, t3)
        i += 4 * step
        k += 4 * c
    for _ in range(count % 4):
        t0 = product(x, i, g, k, columns, t0)
        i += step
        k += c
    return vector_add(vector_add(t0, t1), vector_add(t2, t3))


@kernel(writes="partial", fastmath=CONTRACT)
def depthwise_weight_grad(
    x: Floats, g: Floats, partial: Floats, n: int, block: int, h: int, width: int, c: int, out_h: int, out_w: int,
    kh: int, kw: int, sh: int, sw: int, ph: int, pw: int, dh: int, dw: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """partial (blocks,kh,kw,C): products of g (N,OH,OW,C) and what it saw of x (N,H,W,C), summed over `block` images.

    Items: blocks x kh x kw.
    """
    taps = kh * kw
    for item in range(lo, hi):
        p, q = item % taps // kw, item % kw
        top, left = p * dh - ph, q * dw - pw
        first_row, end_row = _inside(top, sh, out_h, h)
        first, end = _inside(left, sw, out_w, width)
        begin = item // taps * block
        for j in range(0, c, LANES):
            columns, total = c - j, vector_zero()
            for image in range(begin, min(begin + block, n)):
                for oy in range(first_row, end_row):
                    seen = ((image * h + top + oy * sh) * width + left + first * sw) * c + j
                    given = ((image * out_h + oy) * out_w + first) * c + j
                    if columns >= LANES:
                        line = _line(x, seen, sw * c, g, given, c, end - first, LANES)
                    else:
                        line = _line(x, seen, sw * c, g, given, c, end - first, columns)
                    total = vector_add(total, line)
            vector_store(total, partial, item * c + j, columns)


def operations(
    n: int, c: int, seen: Sequence[int], out: Sequence[int], kernel: Sequence[int], stride: Geometry, padding: Geometry,
    dilation: Geometry,
) -> int:  # fmt: skip
    """Those of a convolution and of its gradients alike: taps on the padding around what is seen are left out."""
    taps = 1
    for size, count, k, s, p, d in zip(seen, out, kernel, stride, padding, dilation):
        places = np.arange(count)[:, None] * s - p + np.arange(k) * d
        taps *= int(((places >= 0) & (places < size)).sum())
    return 2 * n * c * taps


def filters(build: Builder, w: Ref) -> Ref:
    """w (C,1,kh,kw), any strides -> (kh,kw,C)."""
    return build.contiguous(w.permute((2, 3, 0, 1)))


def forward(
    build: Builder, x: Ref, w: Ref, bias: Ref | None, stride: Geometry, padding: Geometry, dilation: Geometry,
    out: Geometry, activation: str | None,
) -> Ref:  # fmt: skip
    """x (N,C,H,W), w (C,1,kh,kw), bias (C) -> (N,C,*out), channels-last in memory."""
    n, c, h, width = x.shape
    y = build.empty((n, c, *out), channels_last=True)
    build.step(
        depthwise, build.channels_last(x), filters(build, w), build.null if bias is None else build.contiguous(bias), y,
        h, width, c, *out, *w.shape[2:], *stride, *padding, *dilation, bias is not None, activation == "relu",
        items=n * out[0], cost_ns=TAP_NS * y.size * w.shape[2] * w.shape[3],
        operations=operations(n, c, (h, width), out, w.shape[2:], stride, padding, dilation),
    )  # fmt: skip
    return y


def input_grad(
    build: Builder, g: Ref, w: Ref, shape: Sequence[int], stride: Geometry, padding: Geometry, dilation: Geometry
) -> Ref:
    """g (N,C,OH,OW), w (C,1,kh,kw) -> (N,C,H,W), the given shape."""
    n, c, h, width = shape
    if stride == (1, 1):  # the forward kernel with the filter turned round
        kh, kw = w.shape[2:]
        sc, s1, sy, sx = w.strides
        turned = replace(w, strides=(sc, s1, -sy, -sx), offset=w.offset + (kh - 1) * sy + (kw - 1) * sx)
        around = dilation[0] * (kh - 1) - padding[0], dilation[1] * (kw - 1) - padding[1]
        return forward(build, g, turned, None, stride, around, dilation, (h, width), None)
    dx = build.empty(shape, channels_last=True)
    build.step(
        depthwise_input_grad, build.channels_last(g), filters(build, w), dx,
        h, width, c, *g.shape[2:], *w.shape[2:], *stride, *padding, *dilation,
        items=n * h, cost_ns=TAP_NS * g.size * w.shape[2] * w.shape[3],
        operations=operations(n, c, (h, width), g.shape[2:], w.shape[2:], stride, padding, dilation),
    )  # fmt: skip
    return dx


def weight_grad(
    build: Builder, x: Ref, g: Ref, shape: Sequence[int], stride: Geometry, padding: Geometry, dilation: Geometry
) -> Ref:
    """x (N,C,H,W), g (N,C,OH,OW) -> (C,1,kh,kw), the given shape."""
    (n, c, h, width), (kh, kw) = x.shape, shape[2:]
    block = max(1, BLOCK_ELEMENTS // (h * width * c))
    blocks = -(-n // block)
    partial, dw = build.empty((blocks, kh, kw, c)), build.empty((kh, kw, c, 1))
    build.step(
        depthwise_weight_grad, build.channels_last(x), build.channels_last(g), partial, n, block,
        h, width, c, *g.shape[2:], kh, kw, *stride, *padding, *dilation,
        items=blocks * kh * kw, cost_ns=TAP_NS * g.size * kh * kw,
        operations=operations(n, c, (h, width), g.shape[2:], (kh, kw), stride, padding, dilation),
    )  # fmt: skip
    build.step(sum_columns, partial, dw, blocks, dw.size, blocks, items=1, cost_ns=np.log2(blocks + 1) * dw.size)
    return build.contiguous(dw.permute((2, 3, 0, 1)))
