"""Softmax and log-softmax over any axis, cross-entropy of rows, and their gradients; one row at a time.

A row is walked three times while it is in the L1 cache: maximum, sum of exponentials, result. The shift by the maximum
keeps it from overflowing; a row with nan, or with an infinity as its maximum, comes out as nan, as IEEE 754 has it.

Another axis than the last is brought there by a copy. Left out: targets that are not int64 (declined).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels import functions
from kernels.machine import REDUCE, Floats, Ints, Kernel, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers
from kernels.rows import row_max

ELEMENT_NS = 1.0
ZERO, NAN = np.float32(0), np.float32(np.nan)


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
        top = row_max(x, first, c)
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
        top = row_max(x, first, c)
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
def cross_entropy_rows(
    x: Floats, target: Ints, loss: Floats, c: int, target_step: int, smoothing: float, lo: int, hi: int
) -> None:
    """loss[row] = -sum q log softmax(x), q = 1 - smoothing on the target and smoothing / c everywhere. Items: rows.

    nan for a target outside [0, c).
    """
    off = np.float32(smoothing / c)
    for row in range(lo, hi):
        first, chosen = row * c, target[row * target_step]
        top = row_max(x, first, c)
        log_sum = _log_sum(x, first, c, top)
        own = log_sum - (x[first + chosen] - top) if 0 <= chosen < c else NAN
        if smoothing == 0:  # a class that is impossible, with x = -inf, must not cost 0 times infinity
            loss[row] = own
        else:
            total = ZERO
            for i in range(first, first + c):
                total += x[i] - top
            loss[row] = np.float32(1 - smoothing) * own + (np.float32(smoothing) * log_sum - off * total)


@kernel(writes="y", fastmath=REDUCE)
def mean_of(x: Floats, y: Floats, n: int, lo: int, hi: int) -> None:
    """y[0] = mean of n numbers, summed in float64 in one fixed order. Items: 1."""
    total = 0.0
    for i in range(n):
        total += np.float64(x[i])
    y[0] = np.float32(total / n)


@kernel(writes="dx", fastmath=REDUCE)
def cross_entropy_grad(
    g: Floats, x: Floats, target: Ints, dx: Floats, n: int, c: int, target_step: int, smoothing: float,
    lo: int, hi: int,
) -> None:  # fmt: skip
    """dx = (softmax(x) - q) g / n, q as in `cross_entropy_rows`; nan rows for targets outside [0, c). Items: rows."""
    for row in range(lo, hi):
        first, chosen = row * c, target[row * target_step]
        scale = g[0] / np.float32(n) if 0 <= chosen < c else NAN
        top = row_max(x, first, c)
        total = ZERO
        for i in range(first, first + c):
            e = functions.exp(x[i] - top)
            dx[i] = e
            total += e
        factor, off = scale / total, scale * np.float32(smoothing / c)
        for i in range(first, first + c):
            dx[i] = dx[i] * factor - off
        if 0 <= chosen < c:
            dx[first + chosen] -= scale * np.float32(1 - smoothing)


def _by_rows(made: Kernel) -> None:
    def lower(build: Builder, *operands: Ref, axis: int) -> Ref | None:
        """Operands of one shape; the rows lie along `axis`."""
        rank = len(operands[0].shape)
        if rank == 0:
            return None
        order = [*(i for i in range(rank) if i != axis % rank), axis % rank]
        rows = [build.contiguous(x.permute(order)) for x in operands]
        y, c = build.empty(rows[0].shape), rows[0].shape[-1]
        build.step(made, *rows, y, c, items=y.size // c, cost_ns=ELEMENT_NS * y.size)
        return y.permute(np.argsort(order).tolist())

    lowers(made.name)(lower)


for made in (softmax, softmax_grad, log_softmax, log_softmax_grad):
    _by_rows(made)


@lowers("cross_entropy", dtypes=(np.float32, np.int64))
def lower_cross_entropy(build: Builder, logits: Ref, targets: Ref, *, label_smoothing: float) -> Ref | None:
    """logits (N,C), targets (N) int64 -> mean loss, shape ()."""
    n, c = logits.shape
    losses, y = build.empty((n,)), build.empty(())
    build.step(
        cross_entropy_rows, build.contiguous(logits), targets, losses, c, targets.strides[0], float(label_smoothing),
        items=n, cost_ns=ELEMENT_NS * logits.size,
    )  # fmt: skip
    build.step(mean_of, losses, y, n, items=1, cost_ns=n)
    return y


@lowers("cross_entropy_grad", dtypes=(np.float32, np.float32, np.int64))
def lower_cross_entropy_grad(
    build: Builder, g: Ref, logits: Ref, targets: Ref, *, label_smoothing: float
) -> Ref | None:
    """g (), logits (N,C), targets (N) int64 -> gradient of the logits."""
    n, c = logits.shape
    dx = build.empty((n, c))
    build.step(
        cross_entropy_grad, g, build.contiguous(logits), targets, dx, n, c, targets.strides[0], float(label_smoothing),
        items=n, cost_ns=ELEMENT_NS * logits.size,
    )  # fmt: skip
    return dx
