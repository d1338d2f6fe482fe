"""Ops that only look at memory differently: in a plan they are other Refs of the same buffer, mostly without a step.

Eager calls decline, for NumPy's views cost less than any call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kernels.program import Builder, Ref
from kernels.registry import lowers
from kernels.symbols import FLOAT32


@lowers("reshape", dtypes=((FLOAT32, np.int64),))
def reshape(build: Builder, x: Ref, *, shape: Sequence[int]) -> Ref | None:
    """x in row-major order with another shape (one entry may be -1); copies if x is not row-major in memory."""
    if build.eager:
        return None
    known = [n for n in shape if n != -1]
    rest = x.size
    for n in known:
        rest //= n
    return build.reshaped(x, [rest if n == -1 else n for n in shape])


@lowers("transpose")
def transpose(build: Builder, x: Ref, *, axes: Sequence[int] | None) -> Ref | None:
    """Axes in another order; reversed if axes is None."""
    if build.eager:
        return None
    rank = len(x.shape)
    return x.permute(range(rank)[::-1] if axes is None else [axis % rank for axis in axes])


@lowers("getitem", dtypes=((FLOAT32, np.int64),))
def getitem(build: Builder, x: Ref, *, index: Any) -> Ref | None:
    """x[index] for integers, slices that go forward, None and Ellipsis; other indices pick and so must copy."""
    parts = index if isinstance(index, tuple) else (index,)
    if build.eager or not all(p is None or p is Ellipsis or isinstance(p, int | slice) for p in parts):
        return None
    outline = np.lib.stride_tricks.as_strided(np.empty(0, np.int8), x.shape, x.strides)  # one byte an element
    seen = outline[index]  # looked at, never read
    if seen.size == 0 or min(seen.strides, default=0) < 0:
        return None
    start = seen.__array_interface__["data"][0] - outline.__array_interface__["data"][0]
    return replace(x, shape=seen.shape, strides=seen.strides, offset=x.offset + start)


@lowers("expand")
def expand(build: Builder, x: Ref, *, shape: Sequence[int]) -> Ref | None:
    """x repeated along new axes and those of size 1: a copy, since other steps want every element to have a place."""
    if build.eager:
        return None
    new = len(shape) - len(x.shape)
    strides = [0 if n == 1 else stride for n, stride in zip(x.shape, x.strides)]
    return build.contiguous(replace(x, shape=tuple(shape), strides=(*[0] * new, *strides)))
