"""Batch normalisation and its gradient over rows of channels: (N, C), or images that lie channels-last.

Memory sets the pace, so the passes are few: statistics read x once, the output reads x and writes y, the sums of the
gradient read g and x, the input gradient reads both and writes. Each block of rows gives mean and squared deviations of
its own, in two passes while it is in the cache; they are merged by Chan, Golub and LeVeque 1979, equation 2.1, in
float64, so that a mean much larger than the deviation does no harm.

Left out: which of these a layer needs (`tinytorch.engine.ops.norm`).
"""

from __future__ import annotations

import math

import numpy as np

from kernels.columns import as_columns, down_columns, plain_sums, rows_per_block
from kernels.machine import CONTRACT, Doubles, Floats, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers
from kernels.simd import (
    LANES,
    shift,
    vector_add,
    vector_load,
    vector_mul,
    vector_multiply_add,
    vector_scale,
    vector_store,
    vector_sub,
)

READ_NS = 0.1  # one element of a pass, for one thread


def _squared_deviation(a, b, centre, i, j, columns):  # type: ignore[no-untyped-def]
    deviation = vector_sub(vector_load(a, i, columns), vector_load(centre, j, columns))
    return vector_mul(deviation, deviation)


def _product_with_deviation(a, b, centre, i, j, columns):  # type: ignore[no-untyped-def]
    deviation = vector_sub(vector_load(b, i, columns), vector_load(centre, j, columns))
    return vector_mul(vector_load(a, i, columns), deviation)


squared_deviations = down_columns(vector_add, _squared_deviation)
products_with_deviations = down_columns(vector_add, _product_with_deviation)


@kernel(writes="partial", fastmath=CONTRACT)
def block_moments(x: Floats, partial: Floats, m: int, c: int, block: int, lo: int, hi: int) -> None:
    """partial (blocks, 2, c): means of x (m, c) over `block` rows, and sums of squared deviations. Items: blocks."""
    for item in range(lo, hi):
        first, mean = item * block, item * 2 * c
        rows = min(block, m - first)
        plain_sums(x, x, x, first * c, rows, c, partial, mean)
        share = np.float32(1) / np.float32(rows)
        for j in range(0, c, LANES):
            vector_store(vector_scale(vector_load(partial, mean + j, c - j), share), partial, mean + j, c - j)
        centre = shift(partial, mean)
        squared_deviations(x, x, centre, first * c, rows, c, partial, mean + c)


@kernel(writes="stats", fastmath=CONTRACT)
def merge_moments(partial: Floats, stats: Floats, m: int, c: int, block: int, lo: int, hi: int) -> None:
    """stats (2, c): mean and biased variance of all rows. Items: channels."""
    for j in range(lo, hi):
        mean, squares, count = 0.0, 0.0, 0.0
        for first in range(0, m, block):
            rows, at = np.float64(min(block, m - first)), first // block * 2 * c + j
            difference = np.float64(partial[at]) - mean
            total = count + rows
            mean += difference * (rows / total)
            squares += np.float64(partial[at + c]) + difference * difference * (count * rows / total)
            count = total
        stats[j] = np.float32(mean)
        stats[c + j] = np.float32(squares / count)


@kernel(writes="partial", fastmath=CONTRACT)
def block_grad_sums(
    g: Floats, x: Floats, stats: Floats, partial: Floats, m: int, c: int, block: int, lo: int, hi: int
) -> None:
    """partial (blocks, 2, c): sums of g (x - mean) and of g (m, c) over `block` rows. Items: blocks."""
    for item in range(lo, hi):
        first, at = item * block, item * 2 * c
        rows = min(block, m - first)
        products_with_deviations(g, x, stats, first * c, rows, c, partial, at)
        plain_sums(g, g, g, first * c, rows, c, partial, at + c)


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


@kernel(writes="line", fastmath=CONTRACT)
def norm_line(
    gamma: Floats, beta: Floats, stats: Floats, line: Floats, c: int, has_beta: int, eps: float, lo: int, hi: int
) -> None:
    """line (3, c): mean, gamma / sqrt(var + eps), beta; without beta 0, scale, 0 as the gradient has it. Items: 1."""
    for j in range(c):
        line[j] = stats[j] if has_beta else np.float32(0)
        line[c + j] = np.float32(gamma[j] / math.sqrt(np.float64(stats[c + j]) + eps))
        line[2 * c + j] = beta[j] if has_beta else np.float32(0)


@kernel(writes="line", fastmath=CONTRACT)
def norm_grad_line(
    gamma: Floats, stats: Floats, sums: Floats, line: Floats, m: int, c: int, eps: float, lo: int, hi: int
) -> None:
    """line (4, c): mean, factor of g, factor of x - mean, shift of the input gradient. Items: 1."""
    for j in range(c):
        inverse = 1 / math.sqrt(np.float64(stats[c + j]) + eps)
        scale = gamma[j] * inverse
        line[j] = stats[j]
        line[c + j] = np.float32(scale)
        line[2 * c + j] = np.float32(-scale * inverse * sums[j] / m)
        line[3 * c + j] = np.float32(-scale * sums[c + j] / m)


@kernel(writes="y", fastmath=CONTRACT)
def follow_line(x: Floats, line: Floats, y: Floats, m: int, c: int, block: int, lo: int, hi: int) -> None:
    """y = (x - line[0]) line[1] + line[2] in each column of (m, c). Items: blocks of rows."""
    for i in range(lo * block * c, min(hi * block, m) * c, c):
        for j in range(0, c, LANES):
            columns = c - j
            deviation = vector_sub(vector_load(x, i + j, columns), vector_load(line, j, columns))
            scale, offset = vector_load(line, c + j, columns), vector_load(line, 2 * c + j, columns)
            vector_store(vector_multiply_add(deviation, scale, offset), y, i + j, columns)


@kernel(writes="dx", fastmath=CONTRACT)
def follow_grad_line(
    g: Floats, x: Floats, line: Floats, dx: Floats, m: int, c: int, block: int, lo: int, hi: int
) -> None:
    """dx = g line[1] + (x - line[0]) line[2] + line[3] in each column of (m, c). Items: blocks of rows."""
    for i in range(lo * block * c, min(hi * block, m) * c, c):
        for j in range(0, c, LANES):
            columns = c - j
            deviation = vector_sub(vector_load(x, i + j, columns), vector_load(line, j, columns))
            slope, offset = vector_load(line, 2 * c + j, columns), vector_load(line, 3 * c + j, columns)
            own = vector_multiply_add(vector_load(g, i + j, columns), vector_load(line, c + j, columns), offset)
            vector_store(vector_multiply_add(deviation, slope, own), dx, i + j, columns)


def _sizes(x: Ref) -> tuple[int, int, int, int]:
    """Rows, channels, rows of a block and blocks of x (..., C)."""
    c = x.shape[-1]
    m, block = x.size // c, rows_per_block(c)
    return m, c, block, -(-m // block)


@lowers("batch_stats")
def batch_stats(build: Builder, x: Ref) -> Ref | None:
    """x (N, C, ...) -> (2, C): mean and biased variance."""
    x, _ = as_columns(build, x)
    m, c, block, blocks = _sizes(x)
    partial, stats = build.empty((blocks, 2, c)), build.empty((2, c))
    build.step(block_moments, x, partial, m, c, block, items=blocks, cost_ns=2 * READ_NS * x.size)
    build.step(merge_moments, partial, stats, m, c, block, items=c, cost_ns=blocks * c)
    return stats


def _along_line(build: Builder, x: Ref, gamma: Ref, beta: Ref | None, stats: Ref, eps: float) -> Ref:
    line = build.empty((3, x.shape[1]))
    x, back = as_columns(build, x)
    m, c, block, blocks = _sizes(x)
    vectors = [build.null if v is None else build.contiguous(v) for v in (gamma, beta, stats)]
    build.step(norm_line, *vectors, line, c, beta is not None, eps, items=1, cost_ns=c)
    y = build.empty(x.shape)
    build.step(follow_line, x, line, y, m, c, block, items=blocks, cost_ns=2 * READ_NS * x.size)
    return y.permute(back)


@lowers("batch_norm_train")
@lowers("batch_norm")
def batch_norm(build: Builder, x: Ref, gamma: Ref, beta: Ref, stats: Ref, *, eps: float) -> Ref | None:
    """x (N, C, ...), gamma and beta (C), stats (2, C) -> (N, C, ...), channels-last."""
    return _along_line(build, x, gamma, beta, stats, eps)


@lowers("batch_norm_input_grad")
def batch_norm_input_grad(build: Builder, g: Ref, gamma: Ref, stats: Ref, *, eps: float) -> Ref | None:
    """g (N, C, ...) -> the gradient of x for statistics held fixed."""
    return _along_line(build, g, gamma, None, stats, eps)


@lowers("batch_norm_sums")
def batch_norm_sums(build: Builder, g: Ref, x: Ref, stats: Ref, *, eps: float) -> Ref | None:
    """g and x (N, C, ...) -> (2, C): gradients of gamma and beta."""
    (g, _), (x, _), stats = as_columns(build, g), as_columns(build, x), build.contiguous(stats)
    m, c, block, blocks = _sizes(x)
    partial, sums = build.empty((blocks, 2, c)), build.empty((2, c))
    build.step(block_grad_sums, g, x, stats, partial, m, c, block, items=blocks, cost_ns=3 * READ_NS * x.size)
    build.step(merge_grad_sums, partial, stats, sums, blocks, c, eps, items=c, cost_ns=blocks * c)
    return sums


@lowers("batch_norm_train_input_grad")
def batch_norm_train_input_grad(
    build: Builder, g: Ref, x: Ref, gamma: Ref, stats: Ref, sums: Ref, *, eps: float
) -> Ref | None:
    """g and x (N, C, ...) -> the gradient of x, through its statistics too."""
    (g, _), (x, back) = as_columns(build, g), as_columns(build, x)
    m, c, block, blocks = _sizes(x)
    line, dx = build.empty((4, c)), build.empty(x.shape)
    vectors = [build.contiguous(v) for v in (gamma, stats, sums)]
    build.step(norm_grad_line, *vectors, line, m, c, eps, items=1, cost_ns=c)
    build.step(follow_grad_line, g, x, line, dx, m, c, block, items=blocks, cost_ns=3 * READ_NS * x.size)
    return dx.permute(back)


@kernel(updates="mean var", fastmath=CONTRACT)
def running_stats_step(mean: Floats, stats: Floats, var: Floats, hyper: Doubles, c: int, lo: int, hi: int) -> None:
    """mean and var (c) move towards stats (2, c). hyper: momentum, factor of the variance. Items: channels."""
    momentum, factor = np.float32(hyper[0]), np.float32(hyper[1])
    for j in range(lo, hi):
        mean[j] += momentum * (stats[j] - mean[j])
        var[j] += momentum * (stats[c + j] * factor - var[j])


@lowers("running_stats_step", dtypes=(*[np.float32] * 3, np.float64))
def lower_running_stats_step(build: Builder, mean: Ref, stats: Ref, var: Ref, hyper: Ref) -> Ref | None:
    """Updates mean and var (C) and returns mean."""
    if not (mean.contiguous and var.contiguous and hyper.contiguous):
        return None
    c = mean.size
    build.step(running_stats_step, mean, build.contiguous(stats), var, hyper, c, items=c, cost_ns=c)
    return mean
