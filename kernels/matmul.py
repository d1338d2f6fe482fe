"""Matrix products of f32: linear layers, `@`, and their gradients, all by the one tiled product.

A transposed operand is a view: A may have any strides, and B is packed into panels unless its rows are contiguous and
there are too few rows of A to repay packing. Left out: more than two axes in `matmul` (declined).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kernels import layout, simd
from kernels.product import product
from kernels.program import Builder, Ref
from kernels.registry import lowers

# Positions of k in one block: a panel of B is then 128 KB and stays in the L2 cache while tiles of A pass. Measured on
# 1024 x 1024: blocks of 256, 512 and 1024 reach 123, 143 and 151 GFLOP/s.
K_BLOCK = 1024
# From this many rows of A on, packing B (one pass over it) is repaid by reading it without large strides.
PACK_ROWS = 128
# A transposed A of so many rows is packed as well: a step along k otherwise leads that far through memory, to few sets
# of the caches.
PACK_TURNED = 256
MAX_ROWS = 4096
FLOPS_PER_NS = 100.0  # what one core does in a product, roughly; decides only how many threads are of use


def multiply(build: Builder, a: Ref, b: Ref, bias: Ref | None = None, activation: str | None = None) -> Ref:
    """a (m, k) @ b (k, n) + bias (n) -> (m, n); a and b with any strides."""
    (m, k), n = a.shape, b.shape[1]
    packed = build.is_constant(b) or m >= PACK_ROWS or (b.strides[1] != 1 and n > 1)
    source = layout.panels(build, replace(b, shape=(1, 1, k, n), strides=(0, 0, *b.strides))) if packed else b
    b_k, b_panel = (simd.PANEL, k * simd.PANEL) if packed else (b.strides[0], simd.PANEL)
    walk, a_k = along_matrix(m, a.strides[0], n), a.strides[1]
    if a.strides[0] == 1 and m >= PACK_TURNED and k >= PACK_ROWS:
        a = layout.panels(build, replace(a.permute((1, 0)), shape=(1, 1, k, m), strides=(0, 0, a_k, 1)))
        walk, a_k = walk.through_panels(k), simd.PANEL
    row_block = row_block_for(walk.m, n, walk.images)
    length, blocks = min(k, K_BLOCK), -(-k // K_BLOCK)
    c, operations = build.empty((m, n)), 2 * m * n * k
    build.step(
        product, a, source, build.null if bias is None else build.contiguous(bias),
        build.constant(walk.rows), build.constant(np.zeros(1, np.int64)), build.constant(walk.out_rows), c,
        walk.images, walk.a_image, walk.c_image, walk.m, walk.last_m, row_block, n,
        1, length, k - (blocks - 1) * length, a_k, b_k, b_panel,
        blocks, length * a_k, length * b_k, bias is not None, activation == "relu", False, False,
        items=walk.items(row_block, n), cost_ns=operations / FLOPS_PER_NS, operations=operations,
    )  # fmt: skip
    return c


class Walk(NamedTuple):
    """The rows a product goes along: where those of one image begin in A and in C, and how far apart images lie.

    The last image has `last_m` rows.
    """

    rows: np.ndarray
    out_rows: np.ndarray
    images: int
    a_image: int
    c_image: int
    last_m: int

    @property
    def m(self) -> int:
        """Rows of an image."""
        return len(self.rows)

    @property
    def total(self) -> int:
        """Rows of all images."""
        return (self.images - 1) * self.m + self.last_m

    def through_panels(self, k: int) -> Walk:
        """The same where A was packed: its rows are the columns of panels of k rows."""
        r, panel = np.arange(self.m, dtype=np.int64), simd.PANEL
        return self._replace(rows=r // panel * (k * panel) + r % panel, a_image=self.m * k)

    def items(self, row_block: int, n: int) -> int:
        """Work items of a product with n columns: images x panels x row blocks."""
        return self.images * -(-self.m // row_block) * -(-n // simd.PANEL)


def along_matrix(m: int, a_row: int, c_row: int) -> Walk:
    """Along m rows that lie so far apart in A and in C. Those of a long matrix are cut into "images", so that the
    tables stay short.
    """
    image = min(m, MAX_ROWS)
    images, rows = -(-m // image), np.arange(image, dtype=np.int64)
    return Walk(rows * a_row, rows * c_row, images, image * a_row, image * c_row, m - (images - 1) * image)


def row_block_for(m: int, n: int, images: int = 1, tall: int = simd.HEIGHTS[0]) -> int:
    """Rows of one work item: many, so that a panel of B is used again while near, but enough items for all threads."""
    items = images * -(-n // simd.PANEL) * -(-m // (8 * tall))
    return 8 * tall if items >= 8 else 2 * tall


def as_rows(build: Builder, x: Ref) -> Ref:
    """x (..., k) -> (product of the others, k)."""
    if len(x.shape) == 2:
        return x
    x = build.contiguous(x)
    return replace(x, shape=(x.size // x.shape[-1], x.shape[-1]), strides=(x.shape[-1], 1))


@lowers("linear")
def linear(build: Builder, x: Ref, w: Ref, bias: Ref | None = None, *, activation: str | None = None) -> Ref | None:
    """x (..., k) @ w (k, n) + bias (n)."""
    y = multiply(build, as_rows(build, x), w, bias, activation)
    shape = (*x.shape[:-1], w.shape[1])
    return build.reshaped(y, shape)


@lowers("matmul")
def matmul(build: Builder, a: Ref, b: Ref) -> Ref | None:
    """a (m, k) @ b (k, n)."""
    return multiply(build, a, b) if len(a.shape) == len(b.shape) == 2 else None


@lowers("linear_input_grad")
def linear_input_grad(build: Builder, g: Ref, w: Ref) -> Ref | None:
    """g (..., n) @ w (k, n) transposed."""
    y = multiply(build, as_rows(build, g), w.permute((1, 0)))
    return build.reshaped(y, (*g.shape[:-1], w.shape[0]))


@lowers("linear_weight_grad")
def linear_weight_grad(build: Builder, x: Ref, g: Ref) -> Ref | None:
    """x (..., k) transposed @ g (..., n), summed over the leading axes."""
    return multiply(build, as_rows(build, x).permute((1, 0)), as_rows(build, g))
