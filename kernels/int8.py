"""Products on integers: linear layers and convolutions with uint8 codes as input and int8 codes as weights.

As in `product.py` row r of A is read in place, at `rows[r] + segments[s] + j`, here in bytes and four at a time; tiles
of several rows are given a segment for each four. A panel of B holds four consecutive k of a column side by side, with
zeros where a segment of the input is no multiple of four. Sums are exact in int32. They begin at -zero_point times the
sum of their column of B, which takes the input's zero point out again, and leave by one of two ways: as float32, sum x
rescale + bias, or rounded to the grid of the next layer's input, so that activations stay bytes from layer to layer.
ReLU and 2 x 2 max pooling are done on the way out; for pooling, the rows of A are ordered so that each four of them are
one window.

Every step rounds as the NumPy reference does, so both give the same bits. Left out: groups (declined), sums of more
than LONGEST products, for which int32 could overflow (declined).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit

from kernels import simd
from kernels.conv import along_images, longest_segments, row_table
from kernels.cpu import PATH
from kernels.layout import Geometry
from kernels.machine import EXACT, Bytes, Floats, Ints, Words, kernel
from kernels.matmul import Walk, along_matrix, as_rows, row_block_for
from kernels.product import panel_product, pooled_or_not, rows_product, unchanged
from kernels.program import Builder, Ref, contiguous_strides
from kernels.registry import lowers
from kernels.symbols import FLOAT32

PANEL, LANES = simd.PANEL, simd.LANES
TALL = 8 if PATH == "avx512" else 4  # rows of a tile, a multiple of the 4 of a pooling window
SHORT = 4
GROUP = 4  # bytes of one dot product
LONGEST = (2**31 - 1) // (255 * 127)
OPS_PER_NS = 300.0  # what one core does, roughly; decides only how many threads are of use
ELEMENT_NS = 0.5  # quantising one number, roughly
UINT8 = np.dtype(np.uint8)
INPUTS = (FLOAT32, UINT8)


class Weight(Protocol):
    """What is asked of a quantised weight.

    `codes` int8; `rescale` float32 (channels,): the value of one unit of a sum; `grid`: scale and zero point of the
    input's codes.
    """

    @property
    def codes(self) -> np.ndarray: ...
    @property
    def rescale(self) -> np.ndarray: ...
    @property
    def grid(self) -> Any: ...


# -- tiles -------------------------------------------------------------------------------------------------------------
# Two bundles keep the calls readable: `reading` = (rows, segments, n_segments, length), how A is found, and `leaving` =
# (rescale, bias, relu, as_codes, inverse, zero_point, c, q, out_rows), how results leave.


def _sums(height: int, vectors: int) -> Any:
    """The int32 sums of one tile; segments are single groups."""
    start, row_pointers, dot, *_ = simd.int_tile(height, vectors, masked=vectors == 1)

    @njit(fastmath=EXACT, error_model="numpy")
    def sums(a, r, reading, b, k, first, column, columns):
        rows, segments, n_segments, _ = reading
        acc = start(first, column, columns)
        a_rows = row_pointers(a, rows, r)
        for s in range(n_segments):
            acc = dot(acc, a_rows, segments[s], b, k)
            k += GROUP * PANEL
        return acc

    return sums


def _sums_of_one_row(vectors: int) -> Any:
    """The same for a single row and segments of any length, as four sums, which hide the latency of the dot product."""
    start, row_pointers, dot, add, zeros, *_ = simd.int_tile(1, vectors, masked=vectors == 1)

    @njit(fastmath=EXACT, error_model="numpy")
    def sums(a, r, reading, b, k, first, column, columns):
        rows, segments, n_segments, length = reading
        acc, acc1, acc2, acc3 = start(first, column, columns), zeros(), zeros(), zeros()
        a_row = row_pointers(a, rows, r)
        s = 0
        if length == GROUP:
            while s + 4 <= n_segments:
                acc = dot(acc, a_row, segments[s], b, k)
                acc1 = dot(acc1, a_row, segments[s + 1], b, k + GROUP * PANEL)
                acc2 = dot(acc2, a_row, segments[s + 2], b, k + 2 * GROUP * PANEL)
                acc3 = dot(acc3, a_row, segments[s + 3], b, k + 3 * GROUP * PANEL)
                s += 4
                k += 4 * GROUP * PANEL
        while s < n_segments:
            at = segments[s]
            end = at + length
            s += 1
            while at + 4 * GROUP <= end:
                acc = dot(acc, a_row, at, b, k)
                acc1 = dot(acc1, a_row, at + GROUP, b, k + GROUP * PANEL)
                acc2 = dot(acc2, a_row, at + 2 * GROUP, b, k + 2 * GROUP * PANEL)
                acc3 = dot(acc3, a_row, at + 3 * GROUP, b, k + 3 * GROUP * PANEL)
                at += 4 * GROUP
                k += 4 * GROUP * PANEL
            while at < end:
                acc = dot(acc, a_row, at, b, k)
                at += GROUP
                k += GROUP * PANEL
        return add(add(acc, acc1), add(acc2, acc3))

    return sums


def _tile_product(height: int, vectors: int, pool: bool) -> Any:
    """One tile from its sums to memory; with `pool` what leaves is the largest of each four rows."""
    masked, window = vectors == 1, 4 if pool else 1
    sums = _sums_of_one_row(vectors) if height == 1 else _sums(height, vectors)
    largest = simd.int_tile(height, vectors, masked).pool if pool else njit(fastmath=EXACT)(unchanged)
    scaled = simd.int_tile(height // window, vectors, masked).scaled
    exits = simd.tile(height // window, vectors, masked)
    floor, store, store_codes = exits.floor, exits.store, exits.store_codes

    @njit(fastmath=EXACT, error_model="numpy")
    def product(a, r, reading, b, k, first, column, columns, leaving, target):
        rescale, bias, relu, as_codes, inverse, zero_point, c, q, out_rows = leaving
        y = scaled(largest(sums(a, r, reading, b, k, first, column, columns)), rescale, bias, column, columns)
        if relu:
            y = floor(y)
        if as_codes:
            store_codes(y, q, out_rows, r // window, target + column, columns, inverse, zero_point)
        else:
            store(y, c, out_rows, r // window, target + column, columns)

    return product


def _panel_product(height: int, pool: bool) -> Any:
    return panel_product(_tile_product, height, pool, GROUP, EXACT)


tall, short, one = (_panel_product(height, False) for height in (TALL, SHORT, 1))
tall_pool, short_pool = (_panel_product(height, True) for height in (TALL, SHORT))
all_rows = pooled_or_not(
    rows_product((tall, short, one), (TALL, SHORT), EXACT),
    rows_product((tall_pool, short_pool, short_pool), (TALL, SHORT), EXACT),
    EXACT,
)


@kernel(writes="c q", fastmath=EXACT)
def product_int8(
    a: Bytes, b: Bytes, first: Words, rescale: Floats, bias: Floats, rows: Ints, segments: Ints, out_rows: Ints,
    c: Floats, q: Bytes,
    images: int, a_image: int, c_image: int, m: int, last_m: int, row_block: int, n: int, n_segments: int, length: int,
    relu: int, pool: int, as_codes: int, inverse: float, zero_point: float, lo: int, hi: int,
) -> None:  # fmt: skip
    """c or q[image, r, :n] = exit(first + sum over k of A[image, r, k] B[k, :n]). Items: images x panels x row blocks.

    An image has m rows, the last one last_m; a segment is `length` bytes, and GROUP where m >= SHORT. Row r leaves to
    `out_rows[r]`; with `pool`, rows r to r + 3 to `out_rows[r // 4]`.
    """
    row_blocks, panels = (m + row_block - 1) // row_block, (n + PANEL - 1) // PANEL
    b_panel = n_segments * ((length + GROUP - 1) // GROUP) * GROUP * PANEL
    reading = (rows, segments, n_segments, length)
    leaving = (rescale, bias, relu, as_codes, inverse, zero_point, c, q, out_rows)
    for item in range(lo, hi):
        image, rest = item // (panels * row_blocks), item % (panels * row_blocks)
        panel, r = rest // row_blocks, rest % row_blocks * row_block
        end = min(r + row_block, last_m if image == images - 1 else m)
        source, target = simd.shift_bytes(a, image * a_image), image * c_image
        k, column = panel * b_panel, panel * PANEL
        columns = n - column
        all_rows(source, r, end, reading, b, k, first, column, columns, leaving, target, pool)


@njit(fastmath=EXACT, error_model="numpy")
def _quantize(x, source, stride, q, target, count, step, zero):
    """q[target + i] = code of x[source + i stride]; nan gets the lowest."""
    low, high = -zero, np.float32(255) - zero
    for i in range(count):
        v = x[source + i * stride] * step
        v = v if v > low else low
        v = v if v < high else high
        q[target + i] = np.int32(np.rint(v) + zero)


@kernel(writes="q planes", fastmath=EXACT)
def quantize_image(
    x: Floats, q: Bytes, planes: Bytes, h: int, w: int, c: int, x_image: int, x_row: int, x_pixel: int, x_channel: int,
    out_h: int, out_w: int, top: int, left: int, inverse: float, zero_point: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """q (N, out_h, out_w, C) = codes of x (N, C, H, W) of any strides, `top` and `left` pixels in; 0's code around.

    `planes` (N, out_h, C, W) is scratch for a row that is not channels-last yet. Items: N x out_h.
    """
    step, zero = np.float32(inverse), np.float32(zero_point)
    for item in range(lo, hi):
        image, row, target = item // out_h, item % out_h - top, item * out_w * c
        if row < 0 or row >= h:
            for e in range(out_w * c):
                q[target + e] = zero_point
            continue
        for e in range(left * c):
            q[target + e] = zero_point
        for e in range((left + w) * c, out_w * c):
            q[target + e] = zero_point
        source, target = image * x_image + row * x_row, target + left * c
        if x_channel == 1 and x_pixel == c:
            _quantize(x, source, 1, q, target, w * c, step, zero)
            continue
        plane = item * c * w
        for channel in range(c):
            if x_pixel == 1:
                _quantize(x, source + channel * x_channel, 1, planes, plane + channel * w, w, step, zero)
            else:
                _quantize(x, source + channel * x_channel, x_pixel, planes, plane + channel * w, w, step, zero)
        for channel in range(c):
            for j in range(w):
                q[target + j * c + channel] = planes[plane + channel * w + j]


@kernel(writes="y", fastmath=EXACT)
def pad_codes(
    x: Bytes, y: Bytes, h: int, w: int, c: int, top: int, left: int, out_h: int, out_w: int, zero_point: int,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """y (N, out_h, out_w, C) = x (N, H, W, C) with the code of 0 around. Items: N x out_h."""
    for item in range(lo, hi):
        image, row, target = item // out_h, item % out_h - top, item * out_w * c
        inside = 0 <= row < h
        source = (image * h + row) * w * c - left * c
        for e in range(out_w * c):
            here = inside and left * c <= e < (left + w) * c
            y[target + e] = x[source + e] if here else zero_point


# -- lowerings ---------------------------------------------------------------------------------------------------------


def empty_codes(build: Builder, shape: tuple[int, ...], margin: Geometry = (0, 0), zero_point: int = 0) -> Ref:
    """A channels-last temporary of bytes for (N,C,H,W) in a border of zeros.

    A group may be read up to GROUP - 1 bytes behind its end.
    """
    return build.bordered(shape, margin, UINT8, zero_point, slack=GROUP - 1)


def codes_of(build: Builder, x: Ref, padding: Geometry, grid: Any) -> Ref:
    """x (N,C,H,W), float32 of any strides or codes, as codes with zeros around, channels-last."""
    (n, c, h, w), (top, left) = x.shape, padding
    if x.dtype == UINT8:
        whole = x if padding == (0, 0) else build.with_border(x, padding)
        if whole is not None:
            return whole
    y = empty_codes(build, (n, c, h + 2 * top, w + 2 * left))
    sizes, cost_ns = (h, w, c), ELEMENT_NS * y.size
    out_h, out_w, zero_point = y.shape[2], y.shape[3], int(grid.zero_point)
    if x.dtype == UINT8:
        build.step(pad_codes, x, y, *sizes, top, left, out_h, out_w, zero_point, items=n * out_h, cost_ns=cost_ns)
        return y
    image, channel, row, pixel = x.strides
    channel, pixel = (1 if c == 1 else channel), (c if w == 1 else pixel)  # where a stride is free, one run
    planes = build.null if channel == 1 and pixel == c else build.empty((n, out_h, c, w), dtype=UINT8)
    build.step(
        quantize_image, x, y, planes, *sizes, image, row, pixel, channel, out_h, out_w, top, left,
        reciprocal(grid.scale), zero_point, items=n * out_h, cost_ns=cost_ns,
    )  # fmt: skip
    return y


def reciprocal(scale: float) -> float:
    """1 / scale in float32, as the reference multiplies by."""
    return float(np.float32(1) / np.float32(scale))


def panels_of(codes: np.ndarray) -> np.ndarray:
    """codes (segments, length, n) int8 -> (panels, segments, groups, PANEL, GROUP), zeros where there is nothing."""
    segments, length, n = codes.shape
    full = np.zeros((segments, -(-length // GROUP) * GROUP, -(-n // PANEL) * PANEL), np.int8)
    full[:, :length, :n] = codes
    return full.reshape(segments, -1, GROUP, full.shape[2] // PANEL, PANEL).transpose(3, 0, 1, 4, 2)


class Prepared(NamedTuple):
    """What is read and where it is written, whatever way it is multiplied; codes (segments, length, n)."""

    image: Ref
    codes: np.ndarray
    segments: np.ndarray
    y: Ref
    walk: Walk


def multiply(
    build: Builder, made: Prepared, weight: Weight, bias: Ref | None, *, relu: bool, grid: Any, pool: bool = False
) -> None:
    """Add the step that writes y, float32 or codes of `grid`."""
    image, codes, segments, y, walk = made
    _, length, n = codes.shape
    # Tiles of rows read a list of single groups, which saves them a loop in each segment. Single rows wait for memory,
    # and would wait for the list as well: measured, 5 to 8 % longer.
    if walk.m >= SHORT:
        segments, length = (segments[:, None] + np.arange(0, length, GROUP)).ravel(), GROUP
    row_block, operations = row_block_for(walk.m, n, walk.images), 2 * walk.total * codes.size
    build.step(
        product_int8, image, build.constant(panels_of(codes).view(np.uint8)), *column_terms(build, codes, weight, bias),
        build.constant(walk.rows), build.constant(segments), build.constant(walk.out_rows),
        build.null if grid else y, y if grid else build.null,
        walk.images, walk.a_image, walk.c_image, walk.m, walk.last_m, row_block, n, len(segments), length,
        relu, pool, *leaving(grid),
        items=walk.items(row_block, n), cost_ns=operations / OPS_PER_NS, operations=operations, arithmetic="int8",
    )  # fmt: skip


def column_terms(build: Builder, codes: np.ndarray, weight: Weight, bias: Ref | None) -> tuple[Ref, Ref, Ref]:
    """For each column what its sum begins at, what one unit of it is worth, and what is added last."""
    first = -int(weight.grid.zero_point) * codes.sum((0, 1), dtype=np.int64)
    added = build.constant(np.zeros(codes.shape[2], np.float32)) if bias is None else build.contiguous(bias)
    return build.constant(first.astype(np.int32)), build.constant(weight.rescale), added


def leaving(grid: Any) -> tuple[bool, float, float]:
    """Whether results leave as codes, and the grid's steps in a unit and zero point."""
    return (False, 0.0, 0.0) if grid is None else (True, reciprocal(grid.scale), float(grid.zero_point))


def windows(
    build: Builder, x: Ref, w: Weight, stride: Geometry, padding: Geometry, dilation: Geometry, pool: bool,
    margin: Geometry, grid: Any,
) -> Prepared:  # fmt: skip
    """x (N,C,H,W) as codes, padded, and the windows that w (O,C,kh,kw) is multiplied with."""
    o, c, kh, kw = w.codes.shape
    image = codes_of(build, x, padding, w.grid)
    segments = longest_segments((kh, kw), c, image.shape[3], dilation)
    codes = w.codes.transpose(2, 3, 1, 0).reshape(-1, segments.length, o)
    rows, out = row_table(image, (kh, kw), stride, dilation, pool)
    shape = (x.shape[0], o, *out)
    y = build.bordered(shape, margin) if grid is None else empty_codes(build, shape, margin, int(grid.zero_point))
    return Prepared(image, codes, segments.starts, y, along_images(image, y, rows))


def matrix(build: Builder, x: Ref, w: Weight, grid: Any) -> Prepared:
    """x (m, k) as codes, and its rows, that w (k, n) is multiplied with."""
    (m, k), (row, column), n = x.shape, x.strides, w.codes.shape[1]
    image = codes_of(build, replace(x, shape=(1, 1, m, k), strides=(0, 1, row, column)), (0, 0), w.grid)
    y = build.empty((m, n)) if grid is None else empty_codes(build, (1, n, m, 1))
    return Prepared(image, w.codes[None], np.zeros(1, np.int64), y, along_matrix(m, k, n))


@lowers("conv2d", "int8", dtypes=[INPUTS])
def conv2d(
    build: Builder, x: Ref, w: Weight, bias: Ref | None = None, *, stride: Geometry, padding: Geometry,
    dilation: Geometry, groups: int, activation: str | None = None, pool: bool = False, margin: Geometry = (0, 0),
    grid: Any = None,
) -> Ref | None:  # fmt: skip
    """x (N,C,H,W) float32 or codes, w (O,C,kh,kw), bias (O) -> (N,O,OH,OW), channels-last; codes if `grid` is given.

    `pool` and `margin` as in `conv.correlate`; a border of codes is filled with the code of 0.
    """
    if groups != 1 or w.codes[0].size > LONGEST:
        return None
    made = windows(build, x, w, stride, padding, dilation, pool, margin, grid)
    multiply(build, made, w, bias, relu=activation == "relu", grid=grid, pool=pool)
    return made.y


@lowers("linear", "int8", dtypes=[INPUTS])
def linear(
    build: Builder, x: Ref, w: Weight, bias: Ref | None = None, *, activation: str | None = None, grid: Any = None
) -> Ref | None:
    """x (..., k) float32 or codes, w (k, n), bias (n) -> (..., n); codes if `grid` is given."""
    if len(w.codes) > LONGEST:
        return None
    made = matrix(build, as_rows(build, x), w, grid)
    multiply(build, made, w, bias, relu=activation == "relu", grid=grid)
    shape = (*x.shape[:-1], w.codes.shape[1])
    return replace(made.y, shape=shape, strides=contiguous_strides(shape))
