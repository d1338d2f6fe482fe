"""Kernels that only move data: strided copies, padded images, and panels for the tiled product.

A lowering calls these where a kernel wants another order in memory than it was given. In a plan, what is done to
constants is done once, when the plan is built. Left out: views without a copy (`views.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numba import njit

from kernels import simd
from kernels.machine import EXACT, Floats, kernel
from kernels.program import Builder, Declined, Ref
from kernels.symbols import FLOAT32

PANEL, LANES = simd.PANEL, simd.LANES
# Measured for one thread: a copied element costs this much, gathering or not, as long as it comes from the L2 cache.
COPY_NS = 0.5
MAX_AXES = 4  # of one step, after neighbouring axes that can be walked as one are merged
MAX_STEPS = 64  # of a copy with more axes
CLEARED = 16  # lines of an image that are zeroed at once; 8 x 8 to 10 x 10: 50 ns in place of 100

Geometry = tuple[int, int]  # (vertical, horizontal)


@kernel(writes="y", fastmath=EXACT)
def copy_strided(
    x: Floats, y: Floats, n0: int, n1: int, n2: int, n3: int, x0: int, x1: int, x2: int, x3: int,
    y0: int, y1: int, y2: int, y3: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y[i, j, k, l] = x[i, j, k, l] for given strides. Items: n0 x n1."""
    for item in range(lo, hi):
        i, j = item // n1, item % n1
        for k in range(n2):
            source = i * x0 + j * x1 + k * x2
            target = i * y0 + j * y1 + k * y2
            if x3 == 1 and y3 == 1:
                for e in range(n3):
                    y[target + e] = x[source + e]
            else:
                for e in range(n3):
                    y[target + e * y3] = x[source + e * x3]


@njit(fastmath=EXACT, forceinline=True)
def _zeros(y, at, end):
    while at + LANES <= end:
        simd.vector_store(simd.vector_zero(), y, at, LANES)
        at += LANES
    if at < end:
        simd.vector_store(simd.vector_zero(), y, at, end - at)


@njit(fastmath=EXACT, forceinline=True)
def _line(x, source, y, target, count):
    while count >= LANES:
        simd.vector_store(simd.vector_load(x, source, LANES), y, target, LANES)
        source, target, count = source + LANES, target + LANES, count - LANES
    if count > 0:
        simd.vector_store(simd.vector_load(x, source, count), y, target, count)


@kernel(writes="y", fastmath=EXACT)
def spread_image(
    x: Floats, y: Floats, h: int, w: int, c: int, x_image: int, x_row: int, x_pixel: int, x_channel: int,
    out_h: int, out_w: int, top: int, left: int, every_h: int, every_w: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (N, out_h, out_w, C), zero but for y[n, top + every_h * i, left + every_w * j] = x[n, i, j]. Items: N x out_h.

    So it pads, sets a convolution's output gradient `stride` apart, and brings any strides into channels-last order. A
    negative top or left crops.
    """
    first = max(0, -(left // every_w))  # the first column of x that lands in y
    last = min(w, (out_w - 1 - left) // every_w + 1)
    straight, line = every_w == 1 and x_channel == 1 and x_pixel == c, out_w * c
    image, row = lo // out_h, lo % out_h  # counted on below: a division takes as long as a short line
    cleared = lo
    for item in range(lo, hi):
        if item == cleared:  # several lines at once, as short ones are quicker so, but still near when written again
            cleared = min(hi, item + CLEARED)
            _zeros(y, item * line, cleared * line)
        from_row, source = row - top, image * x_image
        row += 1
        if row == out_h:
            image, row = image + 1, 0
        if every_h > 1:
            from_row = from_row // every_h if from_row % every_h == 0 else -1
        if from_row < 0 or from_row >= h:
            continue
        source += from_row * x_row
        begin = item * line + left * c
        if straight:
            _line(x, source + first * c, y, begin + first * c, (last - first) * c)
        elif x_pixel == 1 and every_w == 1:
            for channel in range(c):  # a plane at a time, so that it is read in order
                for j in range(first, last):
                    y[begin + channel + j * c] = x[source + channel * x_channel + j]
        else:
            for j in range(first, last):
                for channel in range(c):
                    y[begin + every_w * j * c + channel] = x[source + j * x_pixel + channel * x_channel]


@kernel(writes="y", fastmath=EXACT)
def pack_panels(
    x: Floats, y: Floats, k0: int, k1: int, k2: int, x0: int, x1: int, x2: int, n: int, x_column: int,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """y (panels, k0 k1 k2, PANEL): the columns of x in panels, zero beyond n columns. Items: panels x k0."""
    zero = np.float32(0)
    for item in range(lo, hi):
        panel, i = item // k0, item % k0
        column = panel * PANEL
        columns = min(PANEL, n - column)
        target = item * k1 * k2 * PANEL
        for j in range(k1):
            begin = 0
            if x2 == 1 and columns == PANEL:  # a transposed matrix, in squares
                source = i * x0 + j * x1 + column * x_column
                while begin + LANES <= k2:
                    for v in range(0, PANEL, LANES):
                        simd.transpose(x, source + begin + v * x_column, x_column, y, target + v, PANEL)
                    begin += LANES
                    target += LANES * PANEL
            for k in range(begin, k2):
                source = i * x0 + j * x1 + k * x2 + column * x_column
                if x_column == 1 and columns == PANEL:
                    for e in range(0, PANEL, LANES):
                        simd.vector_store(simd.vector_load(x, source + e, LANES), y, target + e, LANES)
                elif x_column == 1:
                    for e in range(columns):
                        y[target + e] = x[source + e]
                else:
                    for e in range(columns):
                        y[target + e] = x[source + e * x_column]
                for e in range(columns, PANEL):
                    y[target + e] = zero
                target += PANEL


def copy(build: Builder, x: Ref, y: Ref) -> Ref:
    """Copy x to y, of the same shape and any strides; returns y. Declined where that would take too many steps."""
    if x.dtype != FLOAT32:
        raise Declined(f"copy: x is {x.dtype}; only float32 is copied, make it contiguous before the call")
    axes = merge_axes(x.shape, x.strides, y.strides)
    beyond = sorted(axes[:-1])[: max(0, len(axes) - MAX_AXES)]  # the shortest, but for the innermost
    if prod(n for n, _, _ in beyond) > MAX_STEPS:
        raise Declined(
            f"copy: x is {x.shape}, strides {x.strides}: {len(axes)} separate axes > {MAX_AXES}, in > {MAX_STEPS} steps"
        )
    for axis in beyond:
        axes.remove(axis)
    sizes, x_strides, y_strides = zip(*([(1, 0, 0)] * (MAX_AXES - len(axes)) + axes))
    for place in np.ndindex(*(n for n, _, _ in beyond)):
        source, target = (
            replace(ref, offset=ref.offset + sum(i * axis[which] for i, axis in zip(place, beyond)))
            for ref, which in ((x, 1), (y, 2))
        )
        build.step(
            copy_strided, source, target, *sizes, *x_strides, *y_strides,
            items=sizes[0] * sizes[1], cost_ns=COPY_NS * prod(sizes),
        )  # fmt: skip
    return y


def merge_axes(shape: Sequence[int], xs: Sequence[int], ys: Sequence[int]) -> list[tuple[int, int, int]]:
    """The fewest axes (size, x stride, y stride) that visit the same pairs of elements, in the order of y's memory."""
    axes = sorted(((n, a, b) for n, a, b in zip(shape, xs, ys) if n != 1), key=lambda axis: -abs(axis[2]))
    merged: list[tuple[int, int, int]] = []
    for n, a, b in axes:
        if merged and merged[-1][1] == n * a and merged[-1][2] == n * b:
            merged[-1] = (merged[-1][0] * n, a, b)
        else:
            merged.append((n, a, b))
    return merged


def spread(
    build: Builder, x: Ref, out: Geometry, start: Geometry = (0, 0), every: Geometry = (1, 1)
) -> Ref:
    """x (N,C,H,W), any strides -> (N,C,*out), channels-last: zeros, with x from `start` on, `every` pixels apart."""
    (n, c, h, w), (out_h, out_w) = x.shape, out
    y = build.empty((n, c, out_h, out_w), channels_last=True)
    sn, sc, sh, sw = x.strides
    # An axis of size 1 may have any stride; give it the one that lets a row be copied in one go.
    sc = 1 if c == 1 else sc
    sw = c if w == 1 else sw
    build.step(
        spread_image, x, y, h, w, c, sn, sh, sw, sc, out_h, out_w, *start, *every,
        items=n * out_h, cost_ns=COPY_NS * y.size,
    )  # fmt: skip
    return y


def panels(build: Builder, x: Ref) -> Ref:
    """x (k0, k1, k2, n), any strides -> (panels, k0 k1 k2, PANEL)."""
    k0, k1, k2, n = x.shape
    count = -(-n // PANEL)
    y = build.empty((count, k0 * k1 * k2, PANEL))
    s0, s1, s2, column = x.strides
    build.step(pack_panels, x, y, k0, k1, k2, s0, s1, s2, n, column, items=count * k0, cost_ns=COPY_NS * y.size)
    return y
