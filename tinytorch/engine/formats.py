"""Weight formats: how a layer's weight is stored, and how an op computes with it.

Layers never change: a format takes the place of the weight's array, and the seam sees it. Where no kernel exists for
(op, format), `emulate` rounds the activations to their calibrated grid, dequantises the weight and calls the same op:
that is also what a fast kernel is tested against. A plain NumPy array is the dense format and needs no class.

Quantisation is symmetric per output channel, so zero stays zero and pruning after it is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinytorch.engine import ops
from tinytorch.engine.op import Op, size

INT8_LIMIT = 127  # -128 is left out, so that the range is symmetric


class Grid(NamedTuple):
    """Affine uint8 grid of a layer's input: x ~ (q - zero_point) scale with q in 0..255."""

    scale: float
    zero_point: int

    @classmethod
    def covering(cls, low: float, high: float) -> Grid:
        """The grid whose ends are [low, high], widened to contain 0 so that padding is exact."""
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"Grid: range [{low}, {high}] is not finite; calibrate on data without nan or infinity")
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        scale = float(usable(np.float32((high - low) / 255)))
        return cls(scale, round(min(255.0, max(0.0, -low / scale))))


class Format(ABC):
    """A packed weight that stands where an array would: it has shape, dtype and size, and can become an array again."""

    kind: ClassVar[str]
    grid: Grid | None
    axis: int

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @cached_property
    @abstractmethod
    def array(self) -> np.ndarray:
        """The float32 weight this stands for; made once."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What is stored, by name."""

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    @property
    def size(self) -> int:
        return size(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the stored arrays take."""
        return sum(a.nbytes for a in self.arrays().values())

    @property
    def strides(self) -> tuple[str, bool]:
        """Takes the place of strides in the seam's cache, so that formats never share an entry with arrays."""
        return (self.kind, self.grid is None)

    def emulate(self, op: Op, *arrays: Any, **params: Any) -> np.ndarray:
        """The op computed in float32 with the values this format stores."""
        x, *rest = (a.array if isinstance(a, Format) else a for a in arrays)
        if self.grid is not None and op.gradient is not None:  # backward ops receive a gradient first, not the input
            x = ops.quantize_dequantize(x, scale=self.grid.scale, zero_point=self.grid.zero_point)
        return op(x, *rest, **params)


@dataclass(frozen=True, eq=False)
class Int8(Format):
    """codes int8 of the weight's shape, scale float32 (channels,) along `axis`, its output channels."""

    kind: ClassVar[str] = "int8"
    grid: Grid | None
    codes: np.ndarray
    scale: np.ndarray
    axis: int

    @classmethod
    def pack(cls, weight: np.ndarray, axis: int, grid: Grid | None = None) -> Int8:
        """scale = largest |w| of a channel / 127, codes = round(w / scale). ValueError for nan or infinity."""
        if not np.isfinite(weight).all():
            raise ValueError(f"Int8.pack: the weight {weight.shape} contains nan or infinity; train it again")
        others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
        largest = np.abs(weight).max(others) if weight.size else np.zeros(weight.shape[axis], np.float32)
        scale = usable((largest / INT8_LIMIT).astype(np.float32))
        codes = np.rint(weight / along(scale, axis, weight.ndim)).astype(np.int8)
        return cls(grid, codes, scale, axis)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @cached_property
    def array(self) -> np.ndarray:
        return self.codes * along(self.scale, self.axis, self.codes.ndim)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"codes": self.codes, "scale": self.scale}


@dataclass(frozen=True, eq=False)
class Sparse(Format):
    """Only the non-zero values, and one bit per weight that says where they belong.

    `values` are float32, or int8 with a `scale` per output channel along `axis`.
    """

    kind: ClassVar[str] = "sparse"
    grid: Grid | None
    values: np.ndarray
    bits: np.ndarray
    full_shape: tuple[int, ...]
    scale: np.ndarray | None
    axis: int

    @classmethod
    def pack(cls, weight: np.ndarray | Int8, axis: int, grid: Grid | None = None) -> Sparse:
        """Store a weight without its zeros; an int8 weight keeps its own scale, axis and grid."""
        if isinstance(weight, Int8):
            codes, scale, axis, grid = weight.codes, weight.scale, weight.axis, weight.grid
        else:
            codes, scale = np.asarray(weight, np.float32), None
        kept = codes != 0
        return cls(grid, codes[kept], np.packbits(kept), codes.shape, scale, axis)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.full_shape

    @cached_property
    def array(self) -> np.ndarray:
        kept = np.unpackbits(self.bits, count=self.size).astype(bool).reshape(self.full_shape)
        full = np.zeros(self.full_shape, np.float32)
        full[kept] = self.values
        return full if self.scale is None else full * along(self.scale, self.axis, full.ndim)

    def arrays(self) -> dict[str, np.ndarray]:
        packed = {"values": self.values, "bits": self.bits}
        return packed if self.scale is None else {**packed, "scale": self.scale}


def usable(scale: Any) -> Any:
    """Scales with 1 where the values are all 0, or so small that dividing by their scale would lose them anyway."""
    return np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale)


def along(v: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """v (channels,) shaped to broadcast along `axis` of an array with `ndim` axes."""
    shape = [1] * ndim
    shape[axis] = -1
    return v.reshape(shape)
