"""3 x 3 convolution by fast transforms: a quarter of the multiplications of `conv.correlate`, for the same result.

An image is cut into tiles of 4 x 4 results. What a tile sees, 6 x 6 pixels, is transformed (`patches.py`), and then at
each of the 36 positions the convolution is a product of matrices: tiles x channels times channels x filters (Lavin and
Gray 2016, arXiv:1509.09308, section 4). Its sums are transformed back, and leave with bias, ReLU and 2 x 2 max pooling
done. A block of tiles goes all this way before the next, so that its numbers stay in the L2 cache.

A number that is not finite would spread over all of its tile. So a tile whose results are not all finite is computed
again as the sum it stands for; ordinary ones cost an addition each to know.

Left out: when this is quicker (`worthwhile`, and `conv.py` asks), the gradient of the weights (`winograd_grad.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels import layout, simd
from kernels.layout import Geometry
from kernels.machine import CONTRACT, Floats, Ints, kernel
from kernels.matmul import FLOPS_PER_NS
from kernels.patches import DATA_IN, PATCH, RESULTS_OUT, place_of, put_six, results_out, seen_by
from kernels.product import ZEROS, plain_rows
from kernels.program import Builder, Ref
from kernels.simd import (
    HEIGHTS,
    LANES,
    PANEL,
    all_finite,
    vector_load,
    vector_max,
    vector_store,
    vector_zero,
)
from kernels.toom_cook import DATA, OF_THREE, POSITIONS, RESULTS, WEIGHTS, compiled, of_three

TALL = HEIGHTS[0]
# What a block of tiles may take while it goes its way, so that it stays in the L2 cache with the weights that pass.
# Measured: from 150 to 900 KB no difference for the convolution; its gradient loses 15 % with 150 KB.
BLOCK_BYTES = 350_000
MAX_ITEMS = 16  # each has scratch of its own
NOTHING = np.float32(0)
# Cycles of one transform of a patch of LANES channels, and of a vector's multiply-add beside the plain product's: more
# where many short sums are added to memory, for the gradient of the weights. Measured on 32 images, how many times as
# quick, and what these say of it. Convolution: 3-16 0.5 to 0.7 (0.5), 6-16 0.9 to 1.1 (1.0), 8-8 1.1 to 1.2 (1.2),
# 16-32 2.0 to 2.3 (2.1), 64-64 2.4 to 2.9 (3.1); 16-16 on 9x9 1.2 (1.0), 10x10 1.4 (1.3). Its weights' gradient: 8-8
# 1.2 to 1.3 (1.0), 16-16 1.7 to 1.9 (1.4), 32-32 1.5 to 2.2 (1.8), 64-64 2.0 to 2.1 (2.1); on 6x6 32-8 0.8 (0.9),
# 64-32 0.9 (1.1). A single image of few tiles is worse off, as weights are read for each: with 16-32 channels 0.7 on
# 4x4, 1.1 on 8x8, 1.7 on 16x16; their gradient 0.5, 0.8 and 1.6.
PATCH_CYCLES, MANY_SUMS = 340, 1.6
WEIGHTS_NS = 40.0  # to transform one channel of a panel of weights


@kernel(writes="u", fastmath=CONTRACT)
def winograd_weights(w: Floats, u: Floats, c: int, panels: int, lo: int, hi: int) -> None:
    """u (36, panels, c, PANEL) = G w G' of w (panels, 3, 3, c, PANEL). Items: panels x c."""
    tap, position = c * PANEL, panels * c * PANEL
    for item in range(lo, hi):
        panel, channel = item // c, item % c
        for v in range(0, PANEL, LANES):
            at, to = (panel * WEIGHTS * WEIGHTS * c + channel) * PANEL + v, (panel * c + channel) * PANEL + v
            left, middle, right = column(w, at, tap), column(w, at + tap, tap), column(w, at + 2 * tap, tap)
            for i in range(DATA):
                row = of_three(left[i], middle[i], right[i])
                put_six(row, u, to + i * DATA * position, position)


@compiled
def column(w, at, tap):
    """G times the three weights below one another at w[at]."""
    below = WEIGHTS * tap
    return of_three(
        vector_load(w, at, LANES), vector_load(w, at + below, LANES), vector_load(w, at + 2 * below, LANES)
    )


@compiled
def tile_sums(x, image, i, j, seeing, c, w, k, bias, out):
    """out (4, 4, LANES) = what `results_out` gives, as plain sums over the window of each pixel; slow."""
    h, width, top, left, image_step, row, pixel = seeing
    for result in range(RESULTS * RESULTS):
        above, before = i * RESULTS + result // RESULTS - top, j * RESULTS + result % RESULTS - left
        acc = bias
        for tap in range(WEIGHTS * WEIGHTS):
            y, z = above + tap // WEIGHTS, before + tap % WEIGHTS
            inside, at = 0 <= y < h and 0 <= z < width, image * image_step + y * row + z * pixel
            for channel in range(c):
                value = x[at + channel] if inside else NOTHING
                acc = acc + vector_load(w, k + (tap * c + channel) * PANEL, LANES) * value
        vector_store(acc, out, result * LANES, LANES)


@compiled
def put(out, y, to, row, pixel, rows_left, columns_left, columns, relu, pool):
    """y[to + i row + j pixel :] = results of a tile, as many as there are; with `pool` the largest of each 2 x 2."""
    if pool:
        for i in range(0, min(RESULTS, 2 * rows_left), 2):
            for j in range(0, min(RESULTS, 2 * columns_left), 2):
                at = (i * RESULTS + j) * LANES
                above = vector_max(vector_load(out, at, LANES), vector_load(out, at + LANES, LANES))
                at += RESULTS * LANES
                below = vector_max(vector_load(out, at, LANES), vector_load(out, at + LANES, LANES))
                value = vector_max(above, below)
                value = vector_max(value, vector_zero()) if relu else value
                vector_store(value, y, to + i // 2 * row + j // 2 * pixel, columns)
    else:
        for i in range(min(RESULTS, rows_left)):
            for j in range(min(RESULTS, columns_left)):
                value = vector_load(out, (i * RESULTS + j) * LANES, LANES)
                value = vector_max(value, vector_zero()) if relu else value
                vector_store(value, y, to + i * row + j * pixel, columns)


@compiled
def rooms(scratch, block, wide):
    """A slot of scratch: `block` rows of `wide` floats and of PANEL floats at each position, and two patches."""
    wide_position, panel_position = block * wide + LANES, block * PANEL + LANES  # LANES: in different cache sets
    panel = simd.shift(scratch, POSITIONS * wide_position)
    half = simd.shift(panel, POSITIONS * panel_position)
    return scratch, wide_position, panel, panel_position, half, simd.shift(half, PATCH)


def slot_floats(block: int, wide: int) -> int:
    """Floats of a slot that `rooms` divides."""
    return POSITIONS * (block * (wide + PANEL) + 2 * LANES) + 2 * PATCH


@kernel(writes="y scratch", fastmath=CONTRACT)
def winograd(
    x: Floats, u: Floats, w: Floats, bias: Floats, rows: Ints, y: Floats, scratch: Floats,
    h: int, width: int, c: int, x_image: int, x_row: int, x_pixel: int, top: int, left: int,
    images: int, down: int, across: int, out_h: int, out_w: int, y_image: int, y_row: int, y_pixel: int, n: int,
    block: int, slot: int, units: int, items: int, has_bias: int, relu: int, pool: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (images, out_h, out_w, n) = what `conv.correlate` gives; x (images, h, width, c) begins at (-top, -left).

    A unit is one panel of one block of tiles, images x down x across in all; an item is a run of units. u and w are the
    weights, transformed and in panels. rows (2, block): where tiles begin in their position of scratch, before and
    after the product. Each call uses the `slot` floats of its first item alone, and keeps what it transformed last.
    """
    panels, tiles, wide = (n + PANEL - 1) // PANEL, images * down * across, (c + LANES - 1) // LANES * LANES
    v, v_position, m, _, half, patch = rooms(simd.shift(scratch, lo * slot), block, wide)
    segments, out_rows = simd.shift_ints(rows, 2 * block), simd.shift_ints(rows, block)
    reading = (rows, segments, 1, c, 1)
    leaving = (bias, ZEROS, 0, m, out_rows)
    grid, seeing = (down, across), (h, width, top, left, x_image, x_row, x_pixel)
    leaves = RESULTS // 2 if pool else RESULTS  # pixels of y along the side of a tile
    current = -1
    for unit in range(units * lo // items, units * hi // items):
        first, panel = unit // panels * block, unit % panels
        count, columns = min(block, tiles - first), min(PANEL, n - panel * PANEL)
        if current != first:
            current = first
            for t in range(count):
                for e in range(0, c, LANES):
                    seen_by(first + t, grid, x, seeing, e, c - e, half, patch, v, t * wide + e, v_position)
        filled = (columns + LANES - 1) // LANES * LANES  # what lies beyond the last filter in u is zero
        for p in range(POSITIONS):
            k, source, target = (p * panels + panel) * c * PANEL, simd.shift(v, p * v_position), p * PANEL
            plain_rows(source, 0, count, reading, u, k, PANEL, 0, filled, leaving, target)
        for t in range(count):
            image, i, j = place_of(first + t, grid)
            to = image * y_image + i * leaves * y_row + j * leaves * y_pixel + panel * PANEL
            for e in range(0, columns, LANES):
                start = vector_load(bias, panel * PANEL + e, columns - e) if has_bias else vector_zero()
                if not all_finite(results_out(m, t * POSITIONS * PANEL + e, PANEL, start, half, patch)):
                    tile_sums(x, image, i, j, seeing, c, w, panel * WEIGHTS * WEIGHTS * c * PANEL + e, start, patch)
                put(patch, y, to + e, y_row, y_pixel, out_h - i * leaves, out_w - j * leaves, columns - e, relu, pool)


def worthwhile(
    w_shape: Sequence[int], stride: Geometry, dilation: Geometry, out: Sequence[int], product: float = 1.0
) -> bool:
    """Whether a convolution with weights (filters, c, kh, kw) and results of size `out` is quicker this way.

    `product` is what a multiply-add costs here, MANY_SUMS for the gradient of the weights. The number of images has no
    say, so that it does not change an image's result.
    """
    return cost_share(w_shape, stride, dilation, out, product) < 1


def cost_share(
    w_shape: Sequence[int], stride: Geometry, dilation: Geometry, out: Sequence[int], product: float = 1.0
) -> float:
    """About what this way costs over what the plain product does; 1 where it is no quicker or cannot be gone."""
    filters, c, *kernel = w_shape
    if kernel != [WEIGHTS, WEIGHTS] or (stride, dilation) != ((1, 1), (1, 1)):
        return 1.0
    tiles = -(-out[0] // RESULTS) * -(-out[1] // RESULTS)
    columns, channels = -(-filters // LANES), -(-c // LANES)
    fast = tiles * (product * POSITIONS * c * columns + PATCH_CYCLES * (channels + columns))
    return min(1.0, fast / (out[0] * out[1] * WEIGHTS * WEIGHTS * c * columns))


def weights(build: Builder, w: Ref) -> tuple[Ref, Ref]:
    """w (3, 3, c, n) of any strides in panels, and transformed."""
    c, n = w.shape[2:]
    packed, panels = layout.panels(build, w), -(-n // PANEL)
    u = build.empty((POSITIONS, panels, c, PANEL))
    build.step(
        winograd_weights, packed, u, c, panels, items=panels * c, cost_ns=panels * c * WEIGHTS_NS,
        operations=c * n * (WEIGHTS + DATA) * OF_THREE,
    )  # fmt: skip
    return packed, u


def convolve(
    build: Builder, x: Ref, w: Ref, bias: Ref | None, start: Geometry, out: Geometry, activation: str | None = None,
    pool: bool = False, margin: Geometry = (0, 0),
) -> Ref:  # fmt: skip
    """x (N,C,H,W), seen from `start` pixels above and left of it, w (3,3,C,O) any strides -> (N,O,*out), channels-last.

    `pool` and `margin` as in `conv.correlate`.
    """
    if x.strides[1] != 1:
        x = build.channels_last(x)
    (images, c, h, width), n = x.shape, w.shape[3]
    packed, u = weights(build, w)
    results = (out[0] // 2 * 2, out[1] // 2 * 2) if pool else out
    down, across = (-(-size // RESULTS) for size in results)
    y = build.bordered((images, n, *((results[0] // 2, results[1] // 2) if pool else out)), margin)
    tiles, panels, wide = images * down * across, -(-n // PANEL), -(-c // LANES) * LANES
    block = block_of(tiles, wide + PANEL)
    slot = slot_floats(block, wide)
    units = -(-tiles // block) * panels
    items = min(units, MAX_ITEMS)
    order = np.arange(block, dtype=np.int64)
    tables = np.concatenate([order * wide, order * POSITIONS * PANEL, np.zeros(1, np.int64)])
    image, _, row, pixel = x.strides
    products = 2 * POSITIONS * tiles * c * n
    build.step(
        winograd, x, u, packed, build.null if bias is None else build.contiguous(bias), build.constant(tables), y,
        build.empty((items, slot)), h, width, c, image, row, pixel, *start,
        images, down, across, *y.shape[2:], y.strides[0], y.strides[2], y.strides[3], n,
        block, slot, units, items, bias is not None, activation == "relu", pool,
        items=items, cost_ns=products / FLOPS_PER_NS, operations=products + tiles * (c * DATA_IN + n * RESULTS_OUT),
    )  # fmt: skip
    return y


def block_of(tiles: int, floats: int) -> int:
    """Tiles that go together, with so many floats at each position: full register tiles as far as BLOCK_BYTES go."""
    most = max(1, BLOCK_BYTES // (4 * POSITIONS * floats) // TALL) * TALL
    return min(most, tiles)
