"""The gradient of batch normalisation, and of ReLU and 2 x 2 max pooling where a captured step does all three at once.

Two passes: the sums of the gradient read g and x, the input gradient reads both and writes. What became of a number on
its way forward, whether ReLU let it through and whether it was the largest of its window, is not stored but computed
again from x, which is read anyway. So where pooling follows, g is a quarter as large as x and nothing else is read.

Sums take the pixels of an image by windows of 2 x 2, whose terms are added to one another first. Behind a pooling three
of them are zero, so the sum is the same bits whether g was handed back through it before or is within the pass.

Left out: normalising (`batch_norm.py`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.batch_norm import READ_NS, along, compiled, fetch_below, four_along, four_deviations, line_of, rows_of
from kernels.columns import as_columns, block_sums, plain_sums, rows_per_block
from kernels.machine import CONTRACT, Floats, Kernel, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers
from kernels.simd import (
    LANES,
    vector_load,
    vector_max,
    vector_mul,
    vector_multiply_add,
    vector_store,
    vector_zero,
    where_equal,
    where_positive,
    where_unequal,
)


@compiled
def passed(g, deviation, line, c, relu, j, columns):
    """What ReLU leaves of g, where it follows."""
    return where_positive(along(deviation, line, c, j, columns), g) if relu else g


@compiled
def handed_back(g, deviations, line, c, j, columns):
    """What each pixel of a window gets of the gradient of the largest, if that is positive: the first of equals all."""
    p, q, r, s = four_along(deviations, line, c, j, columns)
    best = vector_max(vector_max(vector_max(p, q), r), s)  # nan if there is one, so nothing is handed out
    rest = where_positive(best, g)
    to_p, rest = where_equal(p, best, rest), where_unequal(p, best, rest)
    to_q, rest = where_equal(q, best, rest), where_unequal(q, best, rest)
    return to_p, to_q, where_equal(r, best, rest), where_equal(s, best, where_unequal(r, best, rest))


def _gradients(pool: bool) -> Any:
    """Compiled: the gradients of the 2 x 2 pixels of a window, given those of the normalised or of the pooled image."""

    @compiled
    def gradients(g, at, lines, deviations, line, c, relu, j, columns):
        if pool:
            return handed_back(vector_load(g, at + j, columns), deviations, line, c, j, columns)
        p, q, r, s = deviations
        above, below = at + j, at + j + lines
        return (
            passed(vector_load(g, above, columns), p, line, c, relu, j, columns),
            passed(vector_load(g, above + c, columns), q, line, c, relu, j, columns),
            passed(vector_load(g, below, columns), r, line, c, relu, j, columns),
            passed(vector_load(g, below + c, columns), s, line, c, relu, j, columns),
        )

    return gradients


@compiled
def add_to(partial, to, value, columns):
    vector_store(vector_load(partial, to, columns) + value, partial, to, columns)


def _grad_sums(name: str, pool: bool) -> Kernel:
    gradients, step = _gradients(pool), 1 if pool else 2

    @compiled
    def window_sums(g, at, x, i, lines, line, c, relu, j, columns, partial, to):
        fetch_below(x, i, lines, c, j)
        p, q, r, s = four = four_deviations(x, i, lines, line, c, j, columns)
        a, b, d, e = gradients(g, at, lines, four, line, c, relu, j, columns)
        products = (vector_mul(a, p) + vector_mul(b, q)) + (vector_mul(d, r) + vector_mul(e, s))
        add_to(partial, to + j, products, columns)
        add_to(partial, to + c + j, (a + b) + (d + e), columns)

    def loop(
        g: Floats, x: Floats, line: Floats, partial: Floats, pairs: int, h: int, w: int, c: int, block: int, relu: int,
        lo: int, hi: int,
    ) -> None:  # fmt: skip
        """partial (blocks, 2, c): sums of g (x - mean) and of g over `block` pairs of lines of x (images, h, w, c).

        Items: blocks. `line` as of the way forward; without ReLU only the mean is read. Behind a pooling there is ReLU.
        """
        down, full, lines = (h + 1) // 2, c // LANES * LANES, w * c
        for item in range(lo, hi):
            to = item * 2 * c
            for j in range(0, 2 * c, LANES):
                vector_store(vector_zero(), partial, to + j, 2 * c - j)
            for pair in range(item * block, min((item + 1) * block, pairs)):
                image, row = pair // down, pair % down * 2
                first = (image * h + row) * lines
                at = (image * (h // 2) + row // 2) * (w // 2) * c if pool else first
                whole = w // 2 * 2 if row + 1 < h else 0  # columns in windows
                for column in range(0, whole, 2):
                    i, k = first + column * c, at + column // 2 * step * c
                    for j in range(0, full, LANES):
                        window_sums(g, k, x, i, lines, line, c, relu, j, LANES, partial, to)
                    if full < c:
                        window_sums(g, k, x, i, lines, line, c, relu, full, c - full, partial, to)
                if not pool:  # which leaves out what is in no window
                    for below in range(min(h - row, 2)):
                        for i in range(first + below * lines + whole * c, first + (below + 1) * lines, c):
                            for j in range(0, c, LANES):
                                deviation = vector_load(x, i + j, c - j) - vector_load(line, j, c - j)
                                given = passed(vector_load(g, i + j, c - j), deviation, line, c, relu, j, c - j)
                                add_to(partial, to + j, vector_mul(given, deviation), c - j)
                                add_to(partial, to + c + j, given, c - j)

    loop.__name__ = name
    return kernel(writes="partial", fastmath=CONTRACT)(loop)


block_grad_sums, block_grad_sums_pool = _grad_sums("block_grad_sums", False), _grad_sums("block_grad_sums_pool", True)


@kernel(writes="sums", fastmath=CONTRACT)
def merge_grad_sums(
    partial: Floats, stats: Floats, sums: Floats, blocks: int, c: int, eps: float, lo: int, hi: int
) -> None:
    """sums (2, c): of g (x - mean) / sqrt(var + eps) and of g, over all blocks. Items: channels."""
    for j in range(lo, hi):
        products, total = 0.0, 0.0
        for at in range(j, blocks * 2 * c, 2 * c):
            products += np.float64(partial[at])
            total += np.float64(partial[at + c])
        sums[j] = np.float32(products / math.sqrt(np.float64(stats[c + j]) + eps))
        sums[c + j] = np.float32(total)


@kernel(writes="slope", fastmath=CONTRACT)
def norm_grad_line(
    gamma: Floats, stats: Floats, sums: Floats, slope: Floats, m: int, c: int, eps: float, lo: int, hi: int
) -> None:
    """slope (3, c): factor of g, factor of x - mean, shift of the input gradient. Items: 1."""
    for j in range(c):
        inverse = 1 / math.sqrt(np.float64(stats[c + j]) + eps)
        scale = gamma[j] * inverse
        slope[j] = np.float32(scale)
        slope[c + j] = np.float32(-scale * inverse * sums[j] / m)
        slope[2 * c + j] = np.float32(-scale * sums[c + j] / m)


@compiled
def put_gradient(g, deviation, slope, c, j, columns, dx, i):
    """dx[i + j :] = g slope[0] + deviation slope[1] + slope[2]"""
    own = vector_multiply_add(g, vector_load(slope, j, columns), vector_load(slope, 2 * c + j, columns))
    vector_store(vector_multiply_add(deviation, vector_load(slope, c + j, columns), own), dx, i + j, columns)


@kernel(writes="dx sums", fastmath=CONTRACT)
def follow_grad_line(
    g: Floats, x: Floats, line: Floats, slope: Floats, dx: Floats, sums: Floats, m: int, c: int, block: int, relu: int,
    has_sums: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """dx = g slope[0] + (x - line[0]) slope[1] + slope[2] in each column of (m, c), g as ReLU left it.

    sums (blocks, c): of the rows of each block of dx. Items: blocks of rows.
    """
    for item in range(lo, hi):
        first, end = item * block, min((item + 1) * block, m)
        for i in range(first * c, end * c, c):
            for j in range(0, c, LANES):
                columns = c - j
                deviation = vector_load(x, i + j, columns) - vector_load(line, j, columns)
                given = passed(vector_load(g, i + j, columns), deviation, line, c, relu, j, columns)
                put_gradient(given, deviation, slope, c, j, columns, dx, i)
        if has_sums:
            plain_sums(dx, dx, dx, first * c, end - first, c, sums, item * c)


@compiled
def put_window(g, at, x, i, lines, line, slope, c, j, columns, dx):
    """The gradients of a window from that of its largest pixel."""
    fetch_below(x, i, lines, c, j)
    p, q, r, s = four = four_deviations(x, i, lines, line, c, j, columns)
    to_p, to_q, to_r, to_s = handed_back(vector_load(g, at + j, columns), four, line, c, j, columns)
    put_gradient(to_p, p, slope, c, j, columns, dx, i)
    put_gradient(to_q, q, slope, c, j, columns, dx, i + c)
    put_gradient(to_r, r, slope, c, j, columns, dx, i + lines)
    put_gradient(to_s, s, slope, c, j, columns, dx, i + lines + c)


@kernel(writes="dx sums", fastmath=CONTRACT)
def follow_grad_line_pool(
    g: Floats, x: Floats, line: Floats, slope: Floats, dx: Floats, sums: Floats, pairs: int, h: int, w: int, c: int,
    block: int, has_sums: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """As `follow_grad_line` with ReLU, for x (images, h, w, c) and the gradient of its pooled image.

    Items: blocks of so many pairs of lines. With has_sums h has to be even.
    """
    down, full, lines = (h + 1) // 2, c // LANES * LANES, w * c
    for item in range(lo, hi):
        begin, end = item * block, min((item + 1) * block, pairs)
        for pair in range(begin, end):
            image, row = pair // down, pair % down * 2
            first, at = (image * h + row) * lines, (image * (h // 2) + row // 2) * (w // 2) * c
            whole = w // 2 * 2 if row + 1 < h else 0  # columns in windows
            for column in range(0, whole, 2):
                i, to = first + column * c, at + column // 2 * c
                for j in range(0, full, LANES):
                    put_window(g, to, x, i, lines, line, slope, c, j, LANES, dx)
                if full < c:
                    put_window(g, to, x, i, lines, line, slope, c, full, c - full, dx)
            for below in range(min(h - row, 2)):  # what is in no window
                for i in range(first + below * lines + whole * c, first + (below + 1) * lines, c):
                    for j in range(0, c, LANES):
                        deviation = vector_load(x, i + j, c - j) - vector_load(line, j, c - j)
                        put_gradient(vector_zero(), deviation, slope, c, j, c - j, dx, i)
        if has_sums:
            plain_sums(dx, dx, dx, begin * 2 * lines, (end - begin) * 2 * w, c, sums, item * c)


def image_of(x: Ref) -> tuple[int, int, int]:
    """x (N, ..., C) as images: how many, lines of each, pixels of a line. What has no lines is one image of N."""
    if len(x.shape) == 4:
        return x.shape[0], x.shape[1], x.shape[2]
    w = x.shape[-2] if len(x.shape) > 2 else 1
    return 1, x.size // (w * x.shape[-1]), w


@lowers("batch_norm_sums")
def batch_norm_sums(
    build: Builder, g: Ref, x: Ref, stats: Ref, gamma: Ref | None = None, beta: Ref | None = None, *, eps: float,
    activation: str | None = None, pool: bool = False,
) -> Ref | None:  # fmt: skip
    """g and x (N, C, ...) -> (2, C): gradients of gamma and beta. With `activation` and `pool` g is the gradient behind
    them, and gamma and beta say what they did.
    """
    (g, _), (x, _), stats = as_columns(build, g), as_columns(build, x), build.contiguous(stats)
    line = stats if gamma is None else line_of(build, gamma, beta, stats, eps)
    (images, h, w), c = image_of(x), x.shape[-1]
    pairs, block = images * -(-h // 2), max(1, rows_per_block(c) // (2 * w))
    blocks = -(-pairs // block)
    partial, sums = build.empty((blocks, 2, c)), build.empty((2, c))
    build.step(
        block_grad_sums_pool if pool else block_grad_sums, g, x, line, partial, pairs, h, w, c, block,
        activation == "relu", items=blocks, cost_ns=2 * READ_NS * x.size,
    )  # fmt: skip
    build.step(merge_grad_sums, partial, stats, sums, blocks, c, eps, items=c, cost_ns=blocks * c)
    return sums


@lowers("batch_norm_train_input_grad")
def batch_norm_train_input_grad(
    build: Builder, g: Ref, x: Ref, gamma: Ref, stats: Ref, sums: Ref, beta: Ref | None = None, *, eps: float,
    activation: str | None = None, pool: bool = False,
) -> Ref | None:  # fmt: skip
    """g and x (N, C, ...) -> the gradient of x, through its statistics too; with `activation` and `pool` as above.

    In a plan the bias of a convolution before it may want sums over the result: they are made in the same pass.
    """
    (g, _), (x, back), stats = as_columns(build, g), as_columns(build, x), build.contiguous(stats)
    m, c, block, blocks = rows_of(x)
    slope, dx = build.empty((3, c)), build.empty(x.shape)
    vectors = [build.contiguous(v) for v in (gamma, stats, sums)]
    build.step(norm_grad_line, *vectors, slope, m, c, eps, items=1, cost_ns=c)
    line = stats if beta is None else line_of(build, gamma, beta, stats, eps)
    (images, h, w), relu, cost_ns = image_of(x), activation == "relu", 3 * READ_NS * x.size
    has_sums = not build.eager and not (pool and (h % 2 or block % (2 * w)))  # a block is whole pairs of lines
    totals = build.empty((blocks, c)) if has_sums else build.null
    if pool:
        pairs = images * -(-h // 2)
        block = block // (2 * w) if has_sums else 1
        build.step(
            follow_grad_line_pool, g, x, line, slope, dx, totals, pairs, h, w, c, block, has_sums,
            items=-(-pairs // block), cost_ns=cost_ns,
        )  # fmt: skip
    else:
        build.step(
            follow_grad_line, g, x, line, slope, dx, totals, m, c, block, relu, has_sums, items=blocks, cost_ns=cost_ns
        )
    if has_sums:
        build.derive(totals, block_sums(dx))
    return dx.permute(back)
