"""Elementwise comparisons and choices, of which losses other than the common ones and their gradients are made.

Single numbers are broadcast by the kernels, whatever else by a copy. Left out: broadcast conditions (declined).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from kernels.elementwise import BLOCK, ONE_PASS, unary
from kernels.machine import EXACT, Bytes, Floats, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

ELEMENT_NS = 0.4
# What a relation says of a pair that is: less, equal, greater, not comparable (nan).
TRUE_FOR = {
    "<": (1, 0, 0, 0), "<=": (1, 1, 0, 0), ">": (0, 0, 1, 0), ">=": (0, 1, 1, 0), "==": (0, 1, 0, 0),
    "!=": (1, 0, 1, 1),
}  # fmt: skip
ZERO, ONE = np.float32(0), np.float32(1)


@unary("sign", ONE_PASS, 0.3)
def sign(x):
    return x if x != x else ONE if x > ZERO else -ONE if x < ZERO else ZERO


@kernel(writes="y", fastmath=EXACT)
def compare(
    a: Floats, b: Floats, y: Bytes, n: int, a_step: int, b_step: int, less: int, equal: int, greater: int,
    unordered: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y = 1 where the relation holds, else 0; an operand with step 0 is a single number. Items: blocks of BLOCK."""
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        p, q = a[i * a_step], b[i * b_step]
        y[i] = np.uint8(less if p < q else equal if p == q else greater if p > q else unordered)


@kernel(writes="y", fastmath=EXACT)
def where(
    c: Bytes, a: Floats, b: Floats, y: Floats, n: int, c_step: int, a_step: int, b_step: int, lo: int, hi: int
) -> None:
    """y = a where c, else b; an operand with step 0 is a single number. Items: blocks of BLOCK."""
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        p, q = a[i * a_step], b[i * b_step]
        y[i] = p if c[i * c_step] != 0 else q


def pairwise(build: Builder, *operands: Ref) -> tuple[tuple[int, ...], list[Ref], list[int]] | None:
    """The common shape, the operands row-major in it or a single number, and their steps; None if NumPy is quicker."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    if build.eager and prod(shape) < ONE_PASS:
        return None
    whole = [x if x.size == 1 else build.contiguous(broadcast(x, shape)) for x in operands]
    return shape, whole, [int(x.size > 1) for x in whole]


def broadcast(x: Ref, shape: tuple[int, ...]) -> Ref:
    """`x` read as an array of this shape."""
    strides = [0 if n == 1 else stride for n, stride in zip(x.shape, x.strides)]
    return replace(x, shape=shape, strides=(*[0] * (len(shape) - len(strides)), *strides))


@lowers("compare")
def lower_compare(build: Builder, a: Ref, b: Ref, *, relation: str) -> Ref | None:
    """a, b float32 -> bool."""
    found = pairwise(build, a, b)
    if found is None:
        return None
    shape, operands, steps = found
    y = build.empty(shape, dtype=np.bool_)
    build.step(
        compare, *operands, y, y.size, *steps, *TRUE_FOR[relation],
        items=-(-y.size // BLOCK), cost_ns=ELEMENT_NS * y.size,
    )  # fmt: skip
    return y


@lowers("where", dtypes=(np.bool_,))
def lower_where(build: Builder, c: Ref, a: Ref, b: Ref) -> Ref | None:
    """c bool, a, b float32 -> float32."""
    found = pairwise(build, c, a, b)
    if found is None:
        return None
    shape, operands, steps = found
    y = build.empty(shape)
    build.step(where, *operands, y, y.size, *steps, items=-(-y.size // BLOCK), cost_ns=ELEMENT_NS * y.size)
    return y
