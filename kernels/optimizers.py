"""One step of SGD, Adam and AdamW, and of an average of weights, in one pass over the parameters, in place.

Hyper-parameters arrive as a small float64 array, so that a new learning rate needs no new program. All arrays of a step
lie in memory in the same order, whatever it is. The formulas are PyTorch's. Left out: AMSGrad, Nesterov's variant of
Adam.
"""

from __future__ import annotations

import math

import numpy as np

from kernels.elementwise import BLOCK
from kernels.machine import CONTRACT, Doubles, Floats, Kernel, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

ELEMENT_NS = 0.6
# An average is taken between two steps, when other threads are asleep: to wake them takes longer than they would save
# (1.1 million weights: 0.3 ms by one thread, 1.3 by two), so none is asked.
AVERAGE_NS = 0.0


@kernel(updates="w velocity", fastmath=CONTRACT)
def sgd_step(
    w: Floats, g: Floats, velocity: Floats, hyper: Doubles, n: int, has_velocity: int, lo: int, hi: int
) -> None:
    """w -= lr d for d = g + weight_decay w, with momentum gathered in velocity (Sutskever et al. 2013, section 2).

    If decoupled, w shrinks by lr weight_decay instead and d = g (Loshchilov and Hutter 2019, algorithm 1).
    hyper: lr, momentum, weight_decay, nesterov (0 or 1), decoupled (0 or 1). Items: blocks of BLOCK.
    """
    lr, momentum, nesterov, decoupled = np.float32(hyper[0]), np.float32(hyper[1]), hyper[3] != 0, hyper[4] != 0
    keep = np.float32(1 - hyper[0] * hyper[2]) if decoupled else np.float32(1)
    pull = np.float32(0) if decoupled else np.float32(hyper[2])
    begin, end = lo * BLOCK, min(hi * BLOCK, n)
    if not has_velocity:
        for i in range(begin, end):
            w[i] = keep * w[i] - lr * (g[i] + pull * w[i])
        return
    for i in range(begin, end):
        d = g[i] + pull * w[i]
        v = momentum * velocity[i] + d
        velocity[i] = v
        w[i] = keep * w[i] - lr * (d + momentum * v if nesterov else v)


@kernel(updates="w m v", fastmath=CONTRACT)
def adam_step(w: Floats, g: Floats, m: Floats, v: Floats, hyper: Doubles, n: int, lo: int, hi: int) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1), or AdamW (Loshchilov and Hutter 2019, algorithm 2) if decoupled.

    hyper: lr, beta1, beta2, eps, weight_decay, decoupled (0 or 1), 1 - beta1^t, 1 - beta2^t. Items: blocks of BLOCK.
    """
    lr, eps, decay, decoupled = hyper[0], np.float32(hyper[3]), hyper[4], hyper[5] != 0
    beta1, beta2 = np.float32(hyper[1]), np.float32(hyper[2])
    rest1, rest2 = np.float32(1 - hyper[1]), np.float32(1 - hyper[2])
    rate = np.float32(lr / hyper[6])
    root = np.float32(1 / math.sqrt(hyper[7]))
    keep = np.float32(1 - lr * decay) if decoupled else np.float32(1)
    pull = np.float32(0) if decoupled else np.float32(decay)
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        d = g[i] + pull * w[i]
        mean = beta1 * m[i] + rest1 * d
        square = beta2 * v[i] + rest2 * (d * d)
        m[i] = mean
        v[i] = square
        w[i] = keep * w[i] - rate * mean / (math.sqrt(square) * root + eps)


@kernel(updates="average", fastmath=CONTRACT)
def average_step(average: Floats, w: Floats, hyper: Doubles, n: int, lo: int, hi: int) -> None:
    """average += share (w - average). hyper: share. Items: blocks of BLOCK."""
    share = np.float32(hyper[0])
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        average[i] += share * (w[i] - average[i])


def _in_place(
    build: Builder, made: Kernel, hyper: Ref, w: Ref, *arrays: Ref | None, flags: tuple[int, ...] = (),
    element_ns: float = ELEMENT_NS,
) -> Ref | None:  # fmt: skip
    others = [a for a in arrays if a is not None]
    if not w.dense or not hyper.contiguous or any(a.shape != w.shape for a in others):
        return None
    g, *state = others
    if any(not a.lies_like(w) for a in state):
        return None
    pointers = [build.in_order_of(g, w), *state, *[build.null] * (len(arrays) - len(others))]
    build.step(made, w, *pointers, hyper, w.size, *flags, items=-(-w.size // BLOCK), cost_ns=element_ns * w.size)
    return w


@lowers("sgd_step", dtypes=(np.float32, np.float32, np.float32, np.float64))
def lower_sgd_step(build: Builder, w: Ref, g: Ref, velocity: Ref | None, hyper: Ref) -> Ref | None:
    """Updates w (and velocity, unless absent) and returns w; hyper is float64 (5)."""
    return _in_place(build, sgd_step, hyper, w, g, velocity, flags=(velocity is not None,))


@lowers("adam_step", dtypes=(*[np.float32] * 4, np.float64))
def lower_adam_step(build: Builder, w: Ref, g: Ref, m: Ref, v: Ref, hyper: Ref) -> Ref | None:
    """Updates w, m and v and returns w; hyper is float64 (8)."""
    return _in_place(build, adam_step, hyper, w, g, m, v)


@lowers("average_step", dtypes=(np.float32, np.float32, np.float64))
def lower_average_step(build: Builder, average: Ref, w: Ref, hyper: Ref) -> Ref | None:
    """Updates average and returns it; hyper is float64 (1)."""
    return _in_place(build, average_step, hyper, average, w, element_ns=AVERAGE_NS)
