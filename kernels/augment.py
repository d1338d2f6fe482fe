"""Batches of training images straight from a data set of bytes: gathered, moved, cut and normalised in one pass.

Images may lie in memory with any strides, so a data set is never copied. Every value is one multiplication and one
addition in IEEE order, so that NumPy gives the same bits. Left out: drawing the random numbers (the framework).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels.machine import EXACT, Bytes, Floats, Ints, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers
from kernels.simd import (
    LANES,
    vector_add,
    vector_mul,
    vector_of_bytes,
    vector_of_bytes_backwards,
    vector_splat,
    vector_store,
)

ELEMENT_NS = 0.3
DOWN, RIGHT, MIRRORED, ROW, COLUMN, DRAWS = range(6)  # columns of draws, and their number
ZERO = np.float32(0)


@njit(fastmath=EXACT)
def reflected(i, n):
    """Where 0 <= i < n is i; beyond, what a mirror on the first and last of n shows."""
    if n == 1:
        return 0
    i = abs(i) % (2 * (n - 1))
    return min(i, 2 * (n - 1) - i)


@njit(fastmath=EXACT)
def normalise(images, first, step, y, at, n, scale, shift):
    """y[at + j] = scale images[first + j step] + shift for j < n."""
    if n >= LANES and (step == 1 or step == -1):
        scales, shifts = vector_splat(scale), vector_splat(shift)
        for j in range(0, n, LANES):
            j = min(j, n - LANES)  # the last vector may overlap the one before
            if step == 1:
                x = vector_of_bytes(images, first + j)
            else:
                x = vector_of_bytes_backwards(images, first - j)
            vector_store(vector_add(vector_mul(scales, x), shifts), y, at + j, LANES)
    else:
        for j in range(n):
            y[at + j] = scale * np.float32(images[first + j * step]) + shift


@kernel(writes="y", fastmath=EXACT)
def augment(
    images: Bytes, indices: Ints, draws: Ints, affine: Floats, y: Floats, c: int, h: int, w: int,
    image_step: int, channel_step: int, row_step: int, column_step: int, index_step: int,
    reflect: int, cutout: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (n, c, h, w) = affine[0] images[indices] + affine[1], moved as `draws` (n, 5) say. Items: planes (h, w) of y.

    What comes from outside an image is its reflection, or 0 before it is normalised; what is cut out is 0 after.
    """
    for item in range(lo, hi):
        n, channel = item // c, item % c
        down, right, mirrored = draws[n * DRAWS + DOWN], draws[n * DRAWS + RIGHT], draws[n * DRAWS + MIRRORED]
        scale, shift = affine[channel], affine[c + channel]
        plane = indices[n * index_step] * image_step + channel * channel_step
        begin = min(max(-right, 0), w)  # columns begin..end of the window lie inside the image
        end = max(begin, min(w - right, w))
        for i in range(h):
            at, row = (item * h + i) * w, i + down
            if reflect:
                row = reflected(row, h)
            elif row < 0 or row >= h:
                for j in range(w):
                    y[at + j] = shift
                continue
            source = plane + row * row_step
            for k in range(w - end + begin):  # the columns outside
                j = k if k < begin else k - begin + end
                value = shift
                if reflect:
                    value = np.float32(images[source + reflected(j + right, w) * column_step]) * scale + shift
                y[at + (w - 1 - j if mirrored else j)] = value
            if mirrored:
                last = source + (end - 1 + right) * column_step
                normalise(images, last, -column_step, y, at + w - end, end - begin, scale, shift)
            else:
                first = source + (begin + right) * column_step
                normalise(images, first, column_step, y, at + begin, end - begin, scale, shift)
        if cutout:
            top, left = draws[n * DRAWS + ROW] - cutout // 2, draws[n * DRAWS + COLUMN] - cutout // 2
            for i in range(max(top, 0), min(top + cutout, h)):
                for j in range(max(left, 0), min(left + cutout, w)):
                    y[(item * h + i) * w + j] = ZERO


@lowers("augment", dtypes=(np.uint8, np.int64, np.int64, np.float32))
def lower_augment(
    build: Builder, images: Ref, indices: Ref, draws: Ref, affine: Ref, *, mode: str, cutout: int
) -> Ref | None:
    """images (N, C, H, W), indices (n,), draws (n, 5), affine (2, C) -> (n, C, H, W)."""
    c, h, w = images.shape[1:]
    y = build.empty((indices.size, c, h, w))
    build.step(
        augment, images, indices, build.contiguous(draws), build.contiguous(affine), y, c, h, w,
        *images.strides, *indices.strides, int(mode == "reflect"), cutout,
        items=indices.size * c, cost_ns=ELEMENT_NS * y.size,
    )  # fmt: skip
    return y
