"""Ops that only look at memory differently: in a plan they are other Refs of the same buffer, without a step.

Eager calls decline, for NumPy's views cost less than any call.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernels.program import Builder, Ref
from kernels.registry import lowers


@lowers("reshape")
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
