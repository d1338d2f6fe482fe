"""Elementwise kernels: one line of mathematics each, two loops for all of them.

Work items are blocks of BLOCK elements, so that an element is computed by the same instructions whatever the number of
threads. Both operands of a binary kernel lie in memory in the same order, or one of them is a single number.

Left out: other broadcasts, which NumPy does as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit

from kernels import functions
from kernels.machine import CONTRACT, Floats, Kernel, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

BLOCK = 1024
# Sizes from which an eager call is quicker than NumPy. It costs about a microsecond more, so for one pass over memory
# it has to save time on many elements; NumPy's exp, log and tanh are as quick as ours on one thread, so only two
# threads win. What NumPy does in several passes is quicker at any size.
ONE_PASS, RELU, TRANSCENDENTAL, SEVERAL_PASSES = 16384, 4096, 131072, 0

ZERO, ONE = np.float32(0), np.float32(1)


def _register(made: Kernel, eager_min: int, ns: float) -> Kernel:
    def lower(build: Builder, *operands: Ref) -> Ref | None:
        if build.eager and max(x.size for x in operands) < eager_min:
            return None
        return apply(build, made, ns, *operands)

    lowers(made.name)(lower)
    return made


def unary(name: str, eager_min: int, ns: float) -> Callable[[Callable], Kernel]:
    """Kernel and lowering for y = f(x); `ns` estimates the time for one element."""
    return lambda scalar: _register(unary_kernel(name)(scalar), eager_min, ns)


def binary(name: str, eager_min: int, ns: float) -> Callable[[Callable], Kernel]:
    """Kernel and lowering for y = f(a, b)."""
    return lambda scalar: _register(binary_kernel(name)(scalar), eager_min, ns)


def unary_kernel(name: str) -> Callable[[Callable], Kernel]:
    """Kernel for y = f(x)."""

    def decorate(scalar: Callable) -> Kernel:
        f = njit(fastmath=CONTRACT, error_model="numpy", forceinline=True)(scalar)  # a call would not be vectorised

        def loop(x: Floats, y: Floats, n: int, lo: int, hi: int) -> None:
            for i in range(lo * BLOCK, min(hi * BLOCK, n)):
                y[i] = f(x[i])

        loop.__name__ = name
        return kernel(writes="y", fastmath=CONTRACT)(loop)

    return decorate


def binary_kernel(name: str) -> Callable[[Callable], Kernel]:
    """Kernel for y = f(a, b); an operand with step 0 is a single number."""

    def decorate(scalar: Callable) -> Kernel:
        f = njit(fastmath=CONTRACT, error_model="numpy", forceinline=True)(scalar)

        def loop(a: Floats, b: Floats, y: Floats, n: int, a_step: int, b_step: int, lo: int, hi: int) -> None:
            first, end = lo * BLOCK, min(hi * BLOCK, n)
            if a_step == 0:
                number = a[0]
                for i in range(first, end):
                    y[i] = f(number, b[i])
            elif b_step == 0:
                number = b[0]
                for i in range(first, end):
                    y[i] = f(a[i], number)
            else:
                for i in range(first, end):
                    y[i] = f(a[i], b[i])

        loop.__name__ = name
        return kernel(writes="y", fastmath=CONTRACT)(loop)

    return decorate


def apply(build: Builder, made: Kernel, ns: float, *operands: Ref) -> Ref | None:
    """One step over operands of one shape; those in another order in memory than the largest are copied."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    whole = [x for x in operands if x.shape == shape]
    if not whole or any(x.shape != shape and x.size != 1 for x in operands):
        return None
    like = next((x for x in whole if x.dense), None)
    y = build.empty(shape) if like is None else build.empty_like(like)
    arguments = [x if x.size == 1 else build.in_order_of(x, y) for x in operands]
    steps = [int(x.size > 1) for x in operands] if len(operands) > 1 else []
    build.step(made, *arguments, y, y.size, *steps, items=-(-y.size // BLOCK), cost_ns=ns * y.size)
    return y


@binary("add", ONE_PASS, 0.3)
def add(a, b):
    return a + b


@binary("sub", ONE_PASS, 0.3)
def sub(a, b):
    return a - b


@binary("mul", ONE_PASS, 0.3)
def mul(a, b):
    return a * b


@binary("div", ONE_PASS, 0.3)
def div(a, b):
    return a / b


@unary("neg", ONE_PASS, 0.2)
def neg(x):
    return -x


@unary("abs", ONE_PASS, 0.2)
def absolute(x):
    return math.fabs(x)


@unary("sqrt", ONE_PASS, 0.3)
def sqrt(x):
    return math.sqrt(x)


@unary("exp", TRANSCENDENTAL, 0.5)
def exp(x):
    return functions.exp(x)


@unary("log", TRANSCENDENTAL, 0.5)
def log(x):
    return functions.log(x)


@unary("relu", RELU, 0.2)
def relu(x):
    return ZERO if x < ZERO else x  # so that nan stays nan


@binary("relu_grad", SEVERAL_PASSES, 0.3)
def relu_grad(g, y):
    return g if y > ZERO else ZERO


@unary("sigmoid", SEVERAL_PASSES, 0.7)
def sigmoid(x):
    return functions.sigmoid(x)


@binary("sigmoid_grad", SEVERAL_PASSES, 0.3)
def sigmoid_grad(g, y):
    return g * y * (ONE - y)


@unary("tanh", TRANSCENDENTAL, 0.6)
def tanh(x):
    return functions.tanh(x)


@binary("tanh_grad", SEVERAL_PASSES, 0.3)
def tanh_grad(g, y):
    return g * (ONE - y * y)
