"""Binary cross-entropy of probabilities and its gradient, one element at a time, with PyTorch's limits near 0 and 1."""

from __future__ import annotations

import numpy as np

from kernels import functions
from kernels.elementwise import BLOCK
from kernels.machine import CONTRACT, Floats, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers
from kernels.softmax import mean_of

ELEMENT_NS = 1.5
ONE, LOG_FLOOR, LEAST_VARIANCE = np.float32(1), np.float32(-100), np.float32(1e-12)


@kernel(writes="loss", fastmath=CONTRACT)
def binary_cross_entropy_terms(p: Floats, t: Floats, loss: Floats, n: int, lo: int, hi: int) -> None:
    """loss = -(t log p + (1 - t) log(1 - p)), logarithms no less than -100. Items: blocks of BLOCK."""
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        hit, miss = functions.log(p[i]), functions.log(ONE - p[i])
        hit = LOG_FLOOR if hit < LOG_FLOOR else hit
        miss = LOG_FLOOR if miss < LOG_FLOOR else miss
        loss[i] = -(t[i] * hit + (ONE - t[i]) * miss)


@kernel(writes="dp", fastmath=CONTRACT)
def binary_cross_entropy_grad(g: Floats, p: Floats, t: Floats, dp: Floats, n: int, lo: int, hi: int) -> None:
    """dp = (p - t) / (p (1 - p)) g / n. Items: blocks of BLOCK."""
    scale = g[0] / np.float32(n)
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        variance = p[i] * (ONE - p[i])
        variance = LEAST_VARIANCE if variance < LEAST_VARIANCE else variance
        dp[i] = (p[i] - t[i]) / variance * scale


@lowers("binary_cross_entropy")
def lower_binary_cross_entropy(build: Builder, p: Ref, t: Ref) -> Ref | None:
    """p, t of one shape -> mean loss, shape ()."""
    losses, y = build.empty((p.size,)), build.empty(())
    build.step(
        binary_cross_entropy_terms, build.contiguous(p), build.contiguous(t), losses, p.size,
        items=-(-p.size // BLOCK), cost_ns=ELEMENT_NS * p.size,
    )  # fmt: skip
    build.step(mean_of, losses, y, p.size, items=1, cost_ns=p.size)
    return y


@lowers("binary_cross_entropy_grad")
def lower_binary_cross_entropy_grad(build: Builder, g: Ref, p: Ref, t: Ref) -> Ref | None:
    """g (), p, t of one shape -> gradient of p."""
    dp = build.empty(p.shape)
    build.step(
        binary_cross_entropy_grad, g, build.contiguous(p), build.contiguous(t), dp, p.size,
        items=-(-p.size // BLOCK), cost_ns=ELEMENT_NS * p.size,
    )  # fmt: skip
    return dp
