"""Symbolic arrays (`Ref`) and kernel calls on them (`Step`): what lowerings and builders speak of.

Left out: the memory behind them, and how steps become rows that run (`program.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np

from kernels.machine import Kernel

# A thread must get at least this much work, or the launch (3 us on a busy pool, more on a sleeping one) costs more than
# it wins.
MIN_PART_NS = 10_000
FLOAT32 = np.dtype(np.float32)

Arithmetic = Literal["float32", "int8"]


@dataclass(frozen=True)
class Ref:
    """A symbolic array: `shape` and `strides` (both in elements) over a buffer, beginning `offset` elements in."""

    buffer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype = FLOAT32
    offset: int = 0

    @property
    def size(self) -> int:
        return prod(self.shape)

    def lies_like(self, other: Ref) -> bool:
        """Same shape and, but for axes of size 1, same strides."""
        return self.shape == other.shape and _matches(self, other.strides)

    @property
    def contiguous(self) -> bool:
        """Row-major without gaps; strides of axes of size 1 do not matter."""
        return _matches(self, contiguous_strides(self.shape))

    @property
    def channels_last(self) -> bool:
        """(N, C, H, W) by shape, (N, H, W, C) without gaps in memory."""
        return len(self.shape) == 4 and _matches(self, channels_last_strides(self.shape))

    @property
    def dense(self) -> bool:
        """Every element of a block of memory once, in any order of the axes."""
        order = sorted((i for i, n in enumerate(self.shape) if n != 1), key=lambda i: -self.strides[i])
        return self.permute(order).contiguous

    def permute(self, axes: Sequence[int]) -> Ref:
        """The same memory with its axes in another order."""
        return replace(self, shape=tuple(self.shape[i] for i in axes), strides=tuple(self.strides[i] for i in axes))


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def channels_last_strides(shape: Sequence[int]) -> tuple[int, ...]:
    _, c, h, w = shape
    return (h * w * c, 1, w * c, c)


def _matches(ref: Ref, strides: Sequence[int]) -> bool:
    return all(n == 1 or actual == wanted for n, actual, wanted in zip(ref.shape, ref.strides, strides))


class Step(NamedTuple):
    """One kernel call: arguments in the order of the kernel's parameters (Ref, int or float).

    `operations`: what it computes where that can be less than the mathematics of its op, 2 for a multiply-add: products
    and their transforms, without what only fills up vectors. 0 where the op's own count is right.
    """

    kernel: Kernel
    arguments: tuple[Any, ...]
    items: int
    cost_ns: float
    operations: int = 0
    arithmetic: Arithmetic = "float32"

    @property
    def reads(self) -> list[Ref]:
        only_written = self.kernel.writes - self.kernel.updates
        return [ref for name, ref in self._refs() if name not in only_written]

    @property
    def writes(self) -> list[Ref]:
        return [ref for name, ref in self._refs() if name in self.kernel.writes]

    def _refs(self) -> list[tuple[str, Ref]]:
        pairs = zip(self.kernel.parameters, self.arguments)
        return [(name, a) for name, a in pairs if isinstance(a, Ref) and a.buffer != NULL.buffer]

    @property
    def parts(self) -> int:
        """How many threads are of use."""
        return max(1, min(self.items, int(self.cost_ns // MIN_PART_NS)))


NULL = Ref(-1, (), ())
