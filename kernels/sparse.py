"""Products with block-sparse weights, f32 and int8: the tiled products, in which each panel skips what is zero.

The tiles are those of `product.py` and `int8.py`. There all panels of B share one list of segments of A; here each has
its own, of the pieces (a few consecutive k) in which any of its columns has a weight that is not zero, and B holds only
those. So linear layers and convolutions, bias, ReLU, pooling and rounding to the next grid are as in the dense
products, and a piece that is left out costs neither time nor memory. What an input of nan or infinity would have made
of a weight that is zero is left out with it.

A weight whose kept share is above the break-even is handed to the dense lowering, which is then quicker. Either way a
remark beside the step says so. Left out: groups (dense), weights that are inputs (their zeros are not known).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from kernels import conv, int8, matmul, product, simd, winograd
from kernels.conv import along_images, longest_segments, row_table
from kernels.int8 import GROUP, INPUTS, OPS_PER_NS, column_terms, panels_of
from kernels.layout import Geometry
from kernels.machine import CONTRACT, EXACT, Bytes, Floats, Ints, Words, kernel
from kernels.matmul import FLOPS_PER_NS, K_BLOCK, Walk, along_matrix, as_rows, row_block_for
from kernels.product import BIAS, SUM, ZEROS
from kernels.program import Builder, Ref, contiguous_strides
from kernels.registry import lowers

PANEL = simd.PANEL
DEPTH = 4  # positions of a piece of floats, where blocks lie that way


class Weight(Protocol):
    """What is asked of a block-sparse weight.

    `array` float32; `integers(op)`: its int8 codes where that op computes on integers; `execution`: "measured", or
    "blocks" or "dense" where that is decided already.
    """

    @property
    def array(self) -> np.ndarray: ...
    @property
    def execution(self) -> str: ...
    def integers(self, op_name: str) -> Any: ...


# -- kernels -----------------------------------------------------------------------------------------------------------


@kernel(writes="c", fastmath=CONTRACT)
def product_blocks(
    a: Floats, b: Floats, bias: Floats, rows: Ints, segments: Ints, lists: Ints, out_rows: Ints, c: Floats,
    images: int, a_image: int, c_image: int, m: int, last_m: int, row_block: int, n: int, length: int, parts: int,
    has_bias: int, relu: int, pool: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """C[image, r, :n] = bias + sum over the listed k of A[image, r, k] B[k, :n], clamped below at 0 if relu.

    Items: images x panels x row blocks, as in `product`. lists (parts, panels, 3): the first of the segments of
    `length` positions that a panel reads, how many, and where its B begins; each part is added to the one before.
    """
    row_blocks, panels = (m + row_block - 1) // row_block, (n + PANEL - 1) // PANEL
    for part in range(parts):
        last = part == parts - 1
        start = SUM if part > 0 else (BIAS if has_bias else ZEROS)
        leaving = (bias, start, relu if last else 0, c, out_rows)
        for item in range(lo, hi):
            image, rest = item // (panels * row_blocks), item % (panels * row_blocks)
            panel, r = rest // row_blocks, rest % row_blocks * row_block
            end = min(r + row_block, last_m if image == images - 1 else m)
            mine = simd.shift_ints(lists, 3 * (part * panels + panel))
            reading = (rows, simd.shift_ints(segments, mine[0]), mine[1], length, 1)
            source, first = simd.shift(a, image * a_image), panel * PANEL
            product.all_rows(
                source, r, end, reading, b, mine[2], PANEL, first, n - first, leaving, image * c_image, pool
            )


@kernel(writes="c q", fastmath=EXACT)
def product_blocks_int8(
    a: Bytes, b: Bytes, first: Words, rescale: Floats, bias: Floats, rows: Ints, segments: Ints, lists: Ints,
    out_rows: Ints, c: Floats, q: Bytes,
    images: int, a_image: int, c_image: int, m: int, last_m: int, row_block: int, n: int, relu: int, pool: int,
    as_codes: int, inverse: float, zero_point: float, lo: int, hi: int,
) -> None:  # fmt: skip
    """c or q[image, r, :n] = exit(first + sum over the listed k of A[image, r, k] B[k, :n]), as in `product_int8`.

    lists (panels, 3): the first of the segments of GROUP bytes that a panel reads, how many, and where its B begins.
    """
    row_blocks, panels = (m + row_block - 1) // row_block, (n + PANEL - 1) // PANEL
    leaving = (rescale, bias, relu, as_codes, inverse, zero_point, c, q, out_rows)
    for item in range(lo, hi):
        image, rest = item // (panels * row_blocks), item % (panels * row_blocks)
        panel, r = rest // row_blocks, rest % row_blocks * row_block
        end = min(r + row_block, last_m if image == images - 1 else m)
        mine = simd.shift_ints(lists, 3 * panel)
        reading = (rows, simd.shift_ints(segments, mine[0]), mine[1], GROUP)
        source, column = simd.shift_bytes(a, image * a_image), panel * PANEL
        int8.all_rows(
            source, r, end, reading, b, mine[2], first, column, n - column, leaving, image * c_image, pool
        )


# -- which pieces are kept ---------------------------------------------------------------------------------------------


class Pieces(NamedTuple):
    """A weight in pieces of consecutive positions by PANEL columns.

    `values` (panels, pieces, ...) as the product reads them, `starts` (pieces,) where each begins in a row of A,
    `kept` (panels, pieces) whether it holds anything but zeros, `weights` how many weights the kept ones hold.
    """

    values: np.ndarray
    starts: np.ndarray
    kept: np.ndarray
    weights: int

    @classmethod
    def of(cls, values: np.ndarray, segments: np.ndarray, length: int, depth: int, n: int) -> Pieces:
        """values (panels, segments, pieces of a segment, ...) of n columns; a segment is so long, a piece so deep."""
        first = np.arange(0, length, depth)
        starts = (segments[:, None] + first).ravel()
        values = values.reshape(values.shape[0], len(starts), *values.shape[3:])
        kept = np.any(values.reshape(*values.shape[:2], -1) != 0, 2)
        deep = np.tile(np.minimum(depth, length - first), len(segments))  # the last panel and piece may not be full
        wide = np.minimum(PANEL, n - PANEL * np.arange(len(values)))
        return cls(values, starts, kept, int(wide @ kept @ deep))

    @classmethod
    def of_codes(cls, codes: np.ndarray, segments: np.ndarray) -> Pieces:
        """codes (segments, length, n) int8."""
        return cls.of(panels_of(codes), segments, codes.shape[1], GROUP, codes.shape[2])

    @classmethod
    def of_floats(cls, matrix: np.ndarray, segments: np.ndarray) -> Pieces:
        """matrix (segments, length, n) float32; single positions where segments are no multiples of DEPTH."""
        count, length, n = matrix.shape
        depth, panels = (DEPTH if length % DEPTH == 0 else 1), -(-n // PANEL)
        full = np.zeros((count, length, panels * PANEL), np.float32)
        full[..., :n] = matrix
        values = full.reshape(count, length // depth, depth, panels, PANEL).transpose(3, 0, 1, 2, 4)
        return cls.of(values, segments, length, depth, n)

    @property
    def share(self) -> float:
        """How much is kept."""
        return float(self.kept.mean())

    def listed(self, longest: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The kept pieces as the kernels take them: B, segments, lists (parts, panels, 3) as one row.

        Parts are as many as the panel with most pieces needs to have at most `longest` in each.
        """
        most = int(self.kept.sum(1).max())
        parts = 1 if longest is None else max(1, -(-most // longest))
        panels = [np.array_split(np.flatnonzero(kept), parts) for kept in self.kept]
        order = [(panel, panels[panel][part]) for part in range(parts) for panel in range(len(panels))]
        counts = np.array([len(ids) for _, ids in order], np.int64)
        begin = np.cumsum(counts) - counts
        piece = int(np.prod(self.values.shape[2:]))
        b = np.concatenate([self.values[panel, ids] for panel, ids in order])
        segments = np.concatenate([self.starts[ids] for _, ids in order])
        return b, segments, np.stack([begin, counts, begin * piece], 1).ravel()


# -- lowerings ---------------------------------------------------------------------------------------------------------

# The share of blocks up to which leaving out the others is quicker than the dense product. Measured by
# `python -m benchmarks sparse` on two virtual cores of an AMD EPYC (Zen 4, AVX-512), 2026-11-24, one thread. Time over
# the dense one's with so many of the blocks, drawn at random, kept:
#                                   float32                                int8
#                        100 %   75 %   50 %   25 %   10 %      100 %   75 %   50 %   25 %   10 %
# 64-64        batch 1    0.98   0.83   0.68   0.49   0.40       1.07   0.99   0.96   0.87   0.82
# 512-512      batch 1    1.03   0.73   0.49   0.24   0.12       1.06   0.84   0.62   0.40   0.27
# 512-512     batch 64    1.00   0.76   0.51   0.26   0.11       0.98   0.77   0.54   0.31   0.18
# 8192-128     batch 1    1.01   0.77   0.53   0.27   0.09       1.09   0.75   0.46   0.26   0.12
# conv 16-32       4x4    1.52   1.22   0.89   0.48   0.30       1.01   0.86   0.72   0.57   0.44
# conv 64-128    16x16    3.24   2.42   1.64   0.84   0.37       1.00   0.77   0.55   0.32   0.19
# So blocks cost what they hold and no more. Only single rows of bytes, whose product is short, pay for the lists; and
# float32 convolutions by fast transforms are to be beaten first, whose own estimate of their cost then is a factor:
# it gives 45 % for 16-32 and 29 % for 64-128, where the lines above cross 1 at 58 and 30 %.
BREAK_EVEN, BREAK_EVEN_BYTE_ROWS = 0.95, 0.8


def pays(w: Weight, pieces: Pieces, break_even: float) -> bool:
    """Whether to skip blocks: as the weight says, else where less than the break-even is kept."""
    return w.execution == "blocks" or (w.execution == "measured" and pieces.share < break_even)


def skipping(build: Builder, pieces: Pieces) -> None:
    """Say at the step added last that it skips blocks."""
    build.remark(f"blocks kept {100 * pieces.share:.0f} %")


def dense(build: Builder, pieces: Pieces, y: Ref | None) -> Ref | None:
    """y, which a dense product made; says so at its step, the last."""
    if y is not None:
        build.remark(f"dense: {100 * pieces.share:.0f} % of its blocks are kept")
    return y


def multiply(
    build: Builder, a: Ref, pieces: Pieces, bias: Ref | None, y: Ref, walk: Walk, n: int, *, relu: bool,
    pool: bool = False,
) -> None:  # fmt: skip
    """Add the step that writes y (rows, n), with the rows of float32 `a` and of y as `walk` says."""
    length = pieces.values.shape[2]
    b, segments, lists = pieces.listed(None if pool else K_BLOCK // length)
    row_block = row_block_for(walk.m, n, walk.images)
    build.step(
        product_blocks, a, constant(build, b), build.null if bias is None else build.contiguous(bias),
        build.constant(walk.rows), constant(build, segments), build.constant(lists), build.constant(walk.out_rows), y,
        walk.images, walk.a_image, walk.c_image, walk.m, walk.last_m, row_block, n, length,
        len(lists) // (3 * len(pieces.kept)), bias is not None, relu, pool,
        items=walk.items(row_block, n), cost_ns=2 * walk.total * b.size / FLOPS_PER_NS,
        operations=2 * walk.total * pieces.weights,
    )  # fmt: skip
    skipping(build, pieces)


def multiply_int8(
    build: Builder, made: int8.Prepared, w: Weight, codes: Any, bias: Ref | None, *, relu: bool, grid: Any,
    pool: bool = False,
) -> None:  # fmt: skip
    """The same on integers, skipping or dense, whichever is quicker."""
    image, matrix, segments, y, walk = made
    pieces, n = Pieces.of_codes(matrix, segments), matrix.shape[2]
    if not pays(w, pieces, BREAK_EVEN_BYTE_ROWS if walk.total < int8.SHORT else BREAK_EVEN):
        int8.multiply(build, made, codes, bias, relu=relu, grid=grid, pool=pool)
        dense(build, pieces, y)
        return
    b, segments, lists = pieces.listed()
    row_block = row_block_for(walk.m, n, walk.images)
    build.step(
        product_blocks_int8, image, constant(build, b.view(np.uint8)), *column_terms(build, matrix, codes, bias),
        build.constant(walk.rows), constant(build, segments), build.constant(lists), build.constant(walk.out_rows),
        build.null if grid else y, y if grid else build.null,
        walk.images, walk.a_image, walk.c_image, walk.m, walk.last_m, row_block, n, relu, pool, *int8.leaving(grid),
        items=walk.items(row_block, n), cost_ns=2 * walk.total * b.size / OPS_PER_NS,
        operations=2 * walk.total * pieces.weights, arithmetic="int8",
    )  # fmt: skip
    skipping(build, pieces)


def constant(build: Builder, values: np.ndarray) -> Ref:
    """A constant that has an address even where nothing is kept."""
    return build.constant(values if values.size else np.zeros(1, values.dtype))


@lowers("linear", "blocks", dtypes=[INPUTS])
def linear(
    build: Builder, x: Ref, w: Weight, bias: Ref | None = None, *, activation: str | None = None, grid: Any = None
) -> Ref | None:
    """x (..., k), w (k, n), bias (n) -> (..., n), as `matmul.linear`; as `int8.linear` where w is on integers.

    Declined in eager calls in float32 where dense is quicker: `matmul.linear` then takes the weight as an array.
    """
    codes, (k, n), relu = w.integers("linear"), w.array.shape, activation == "relu"
    if codes is not None:
        if k > int8.LONGEST:
            return None
        made = int8.matrix(build, as_rows(build, x), codes, grid)
        multiply_int8(build, made, w, codes, bias, relu=relu, grid=grid)
        y = made.y
    else:
        pieces = Pieces.of_floats(w.array[None], np.zeros(1, np.int64))
        if not pays(w, pieces, BREAK_EVEN):
            return None if build.eager else dense(
                build, pieces, matmul.linear(build, x, build.constant(w.array), bias, activation=activation)
            )
        rows = as_rows(build, x)
        rows = rows if rows.strides[1] == 1 else build.contiguous(rows)
        y = build.empty((rows.shape[0], n))
        multiply(build, rows, pieces, bias, y, along_matrix(rows.shape[0], rows.strides[0], n), n, relu=relu)
    shape = (*x.shape[:-1], n)
    return replace(y, shape=shape, strides=contiguous_strides(shape))


@lowers("conv2d", "blocks", dtypes=[INPUTS])
def conv2d(
    build: Builder, x: Ref, w: Weight, bias: Ref | None = None, *, stride: Geometry, padding: Geometry,
    dilation: Geometry, groups: int, activation: str | None = None, pool: bool = False, margin: Geometry = (0, 0),
    grid: Any = None,
) -> Ref | None:  # fmt: skip
    """x (N,C,H,W), w (O,C,kh,kw), bias (O) -> (N,O,OH,OW), as `conv.conv2d`; as `int8.conv2d` where w is on integers.

    Declined where `linear` is, and groups on integers.
    """
    codes, (o, c, kh, kw), relu = w.integers("conv2d"), w.array.shape, activation == "relu"
    if codes is not None:
        if groups != 1 or c * kh * kw > int8.LONGEST:
            return None
        made = int8.windows(build, x, codes, stride, padding, dilation, pool, margin, grid)
        multiply_int8(build, made, w, codes, bias, relu=relu, grid=grid, pool=pool)
        return made.y
    segments, length = longest_segments((kh, kw), c, x.shape[3] + 2 * padding[1], dilation)
    pieces = Pieces.of_floats(w.array.transpose(2, 3, 1, 0).reshape(-1, length, o), segments)
    # Fast transforms compute all blocks in the time of some.
    out = (x.shape[2] + 2 * padding[0] - kh + 1, x.shape[3] + 2 * padding[1] - kw + 1)
    fast = winograd.cost_share(w.array.shape, stride, dilation, out)
    if groups != 1 or not pays(w, pieces, BREAK_EVEN * fast):
        return None if build.eager else dense(build, pieces, conv.conv2d(
            build, x, build.constant(w.array), bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
            activation=activation, pool=pool, margin=margin,
        ))  # fmt: skip
    image = conv.padded(build, x, padding)
    rows, out = row_table(image, (kh, kw), stride, dilation, pool)
    y = build.bordered((x.shape[0], o, *out), margin)
    multiply(build, image, pieces, bias, y, along_images(image, y, rows), o, relu=relu, pool=pool)
    return y
