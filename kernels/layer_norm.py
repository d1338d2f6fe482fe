"""Layer normalisation over the last axis and its gradients, one row at a time while it is in the L1 cache.

Mean and variance of a row are computed again by the gradients: a walk over a row that is near costs less than storing
two numbers for it. The gradients of gamma and beta are sums down the columns, over blocks of rows in a fixed order.

Left out: rows that do not fit a cache (right, but read several times from memory).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kernels.columns import rows_per_block, sum_columns
from kernels.machine import REDUCE, Floats, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

ELEMENT_NS = 0.3
ZERO = np.float32(0)


@njit(fastmath=REDUCE, error_model="numpy")
def _moments(x, first, d, eps):
    """Mean of x[first : first + d] and 1 / sqrt(var + eps)."""
    total = ZERO
    for i in range(first, first + d):
        total += x[i]
    mean = total / np.float32(d)
    squares = ZERO
    for i in range(first, first + d):
        squares += (x[i] - mean) * (x[i] - mean)
    return mean, np.float32(1 / math.sqrt(squares / np.float32(d) + eps))


@kernel(writes="y", fastmath=REDUCE)
def layer_norm(x: Floats, gamma: Floats, beta: Floats, y: Floats, d: int, eps: float, lo: int, hi: int) -> None:
    """y = gamma (x - mean) / sqrt(var + eps) + beta for rows of d. Items: rows."""
    for row in range(lo, hi):
        first = row * d
        mean, inverse = _moments(x, first, d, eps)
        for i in range(d):
            y[first + i] = (x[first + i] - mean) * inverse * gamma[i] + beta[i]


@kernel(writes="dx", fastmath=REDUCE)
def layer_norm_input_grad(
    g: Floats, x: Floats, gamma: Floats, dx: Floats, d: int, eps: float, lo: int, hi: int
) -> None:
    """dx = (h - mean h - xhat mean(h xhat)) / sqrt(var + eps), h = g gamma, for rows of d. Items: rows."""
    for row in range(lo, hi):
        first = row * d
        mean, inverse = _moments(x, first, d, eps)
        total, products = ZERO, ZERO
        for i in range(d):
            h = g[first + i] * gamma[i]
            total += h
            products += h * (x[first + i] - mean)
        offset = total / np.float32(d)
        slope = products / np.float32(d) * inverse * inverse
        for i in range(d):
            dx[first + i] = (g[first + i] * gamma[i] - offset - (x[first + i] - mean) * slope) * inverse


@kernel(writes="partial", fastmath=REDUCE)
def layer_norm_block_sums(
    g: Floats, x: Floats, partial: Floats, m: int, d: int, eps: float, block: int, lo: int, hi: int
) -> None:
    """partial (blocks, 2, d): sums over `block` rows of g xhat and of g (m, d). Items: blocks."""
    for item in range(lo, hi):
        products, total = item * 2 * d, item * 2 * d + d
        for i in range(products, products + 2 * d):
            partial[i] = ZERO
        for row in range(item * block, min(item * block + block, m)):
            first = row * d
            mean, inverse = _moments(x, first, d, eps)
            for i in range(d):
                partial[products + i] += g[first + i] * ((x[first + i] - mean) * inverse)
            for i in range(d):
                partial[total + i] += g[first + i]


@lowers("layer_norm")
def lower_layer_norm(build: Builder, x: Ref, gamma: Ref, beta: Ref, *, eps: float) -> Ref | None:
    """x (..., d), gamma and beta (d) -> (..., d)."""
    y, d = build.empty(x.shape), x.shape[-1]
    arrays = map(build.contiguous, (x, gamma, beta))
    build.step(layer_norm, *arrays, y, d, eps, items=x.size // d, cost_ns=ELEMENT_NS * x.size)
    return y


@lowers("layer_norm_input_grad")
def lower_layer_norm_input_grad(build: Builder, g: Ref, x: Ref, gamma: Ref, *, eps: float) -> Ref | None:
    """g and x (..., d), gamma (d) -> gradient of x."""
    dx, d = build.empty(x.shape), x.shape[-1]
    arrays = map(build.contiguous, (g, x, gamma))
    build.step(layer_norm_input_grad, *arrays, dx, d, eps, items=x.size // d, cost_ns=2 * ELEMENT_NS * x.size)
    return dx


@lowers("layer_norm_sums")
def lower_layer_norm_sums(build: Builder, g: Ref, x: Ref, *, eps: float) -> Ref | None:
    """g and x (..., d) -> (2, d): gradients of gamma and beta."""
    d = x.shape[-1]
    m, block = x.size // d, rows_per_block(2 * d)
    blocks = -(-m // block)
    partial, sums = build.empty((blocks, 2, d)), build.empty((2, d))
    arrays = build.contiguous(g), build.contiguous(x)
    cost_ns = 2 * ELEMENT_NS * x.size
    build.step(layer_norm_block_sums, *arrays, partial, m, d, eps, block, items=blocks, cost_ns=cost_ns)
    build.step(sum_columns, partial, sums, blocks, 2 * d, blocks, items=1, cost_ns=blocks * d)
    return sums
