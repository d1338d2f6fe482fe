"""Softmax, log-softmax and cross-entropy over the last axis, with their gradients; one row at a time.

A row is walked three times while it is in the L1 cache: maximum, sum of exponentials, result. The shift by the maximum
keeps it from overflowing; a row with nan, or with an infinity as its maximum, comes out as nan, as IEEE 754 has it.

Left out: other axes and label smoothing (declined).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels import functions
from kernels.machine import REDUCE, Floats, Ints, Kernel, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

ELEMENT_NS = 1.0
ZERO, NAN = np.float32(0), np.float32(np.nan)


@njit(fastmath=REDUCE, error_model="numpy")
def _maximum(x, first, c):
    top = x[first]
    for i in range(first + 1, first + c):
        top = x[i] if x[i] > top else top  # a nan may be passed over here: the sum of exponentials finds it
    return top


@njit(fastmath=REDUCE, error_model="numpy")
def _log_sum(x, first, c, top):
    """log sum exp(x - top)."""
    total = ZERO
    for i in range(first, first + c):
        total += functions.exp(x[i] - top)
    return functions.log(total)


@kernel(writes="y", fastmath=REDUCE)
def softmax(x: Floats, y: Floats, c: int, lo: int, hi: int) -> None:
    """y = exp(x) / sum exp(x) for rows of c. Items: rows."""
    for row in range(lo, hi):
        first = row * c
        top = _maximum(x, first, c)
        total = ZERO
        for i in range(first, first + c):
            e = functions.exp(x[i] - top)
            y[i] = e
            total += e
        for i in range(first, first + c):
            y[i] /= total


@kernel(writes="dx", fastmath=REDUCE)
def softmax_grad(g: Floats, y: Floats, dx: Floats, c: int, lo: int, hi: int) -> None:
    """dx = y (g - sum(g y)). Items: rows."""
    for row in range(lo, hi):
        first = row * c
        total = ZERO
        for i in range(first, first + c):
            total += g[i] * y[i]
        for i in range(first, first + c):
            dx[i] = y[i] * (g[i] - total)


@kernel(writes="y", fastmath=REDUCE)
def log_softmax(x: Floats, y: Floats, c: int, lo: int, hi: int) -> None:
    """y = x - log sum exp(x). Items: rows."""
    for row in range(lo, hi):
        first = row * c
        top = _maximum(x, first, c)
        log_sum = _log_sum(x, first, c, top)
        for i in range(first, first + c):
            y[i] = (x[i] - top) - log_sum


@kernel(writes="dx", fastmath=REDUCE)
def log_softmax_grad(g: Floats, y: Floats, dx: Floats, c: int, lo: int, hi: int) -> None:
    """dx = g - exp(y) sum(g). Items: rows."""
    for row in range(lo, hi):
        first = row * c
        total = ZERO
        for i in range(first, first + c):
            total += g[i]
        for i in range(first, first + c):
            dx[i] = g[i] - functions.exp(y[i]) * total


@kernel(writes="loss", fastmath=REDUCE)
def cross_entropy_rows(x: Floats, target: Ints, loss: Floats, c: int, lo: int, hi: int) -> None:
    """loss[row] = log sum exp(x) - x[target]; nan for a target outside [0, c). Items: rows."""
    for row in range(lo, hi):
        first, chosen = row * c, target[row]
        top = _maximum(x, first, c)
        log_sum = _log_sum(x, first, c, top)
        loss[row] = log_sum - (x[first + chosen] - top) if 0 <= chosen < c else NAN


@kernel(writes="y", fastmath=REDUCE)
def mean_of(x: Floats, y: Floats, n: int, lo: int, hi: int) -> None:
    """y[0] = mean of n numbers, summed in float64 in one fixed order. Items: 1."""
    total = 0.0
    for i in range(n):
        total += np.float64(x[i])
    y[0] = np.float32(total / n)


@kernel(writes="dx", fastmath=REDUCE)
def cross_entropy_grad(g: Floats, x: Floats, target: Ints, dx: Floats, n: int, c: int, lo: int, hi: int) -> None:
    """dx = (softmax(x) - onehot(target)) g / n; nan rows for targets outside [0, c). Items: rows."""
    for row in range(lo, hi):
        first, chosen = row * c, target[row]
        scale = g[0] / np.float32(n) if 0 <= chosen < c else NAN
        top = _maximum(x, first, c)
        total = ZERO
        for i in range(first, first + c):
            e = functions.exp(x[i] - top)
            dx[i] = e
            total += e
        factor = scale / total
        for i in range(first, first + c):
            dx[i] *= factor
        if 0 <= chosen < c:
            dx[first + chosen] -= scale


def _by_rows(made: Kernel) -> None:
    def lower(build: Builder, *operands: Ref, axis: int) -> Ref | None:
        like = operands[0]
        rank = len(like.shape)
        if rank == 0 or axis % rank != rank - 1:
            return None
        y, c = build.empty(like.shape), like.shape[-1]
        build.step(made, *map(build.contiguous, operands), y, c, items=like.size // c, cost_ns=ELEMENT_NS * like.size)
        return y

    lowers(made.name)(lower)


for made in (softmax, softmax_grad, log_softmax, log_softmax_grad):
    _by_rows(made)


@lowers("cross_entropy", dtypes=(np.float32, np.int64))
def lower_cross_entropy(build: Builder, logits: Ref, targets: Ref, *, label_smoothing: float = 0.0) -> Ref | None:
    """logits (N,C), targets (N) int64 -> mean loss, shape ()."""
    if label_smoothing or len(logits.shape) != 2:
        return None
    n, c = logits.shape
    losses, y = build.empty((n,)), build.empty(())
    build.step(
        cross_entropy_rows, build.contiguous(logits), build.contiguous(targets), losses, c,
        items=n, cost_ns=ELEMENT_NS * logits.size,
    )  # fmt: skip
    build.step(mean_of, losses, y, n, items=1, cost_ns=n)
    return y


@lowers("cross_entropy_grad", dtypes=(np.float32, np.float32, np.int64))
def lower_cross_entropy_grad(
    build: Builder, g: Ref, logits: Ref, targets: Ref, *, label_smoothing: float = 0.0
) -> Ref | None:
    """g (), logits (N,C), targets (N) int64 -> gradient of the logits."""
    if label_smoothing or len(logits.shape) != 2:
        return None
    n, c = logits.shape
    dx = build.empty((n, c))
    build.step(
        cross_entropy_grad, g, build.contiguous(logits), build.contiguous(targets), dx, n, c,
        items=n, cost_ns=ELEMENT_NS * logits.size,
    )  # fmt: skip
    return dx
