"""Weight formats: how a layer's weight is stored, and how an op computes with it.

Layers never change: a format takes the place of the weight's array, and the seam sees it. Where no kernel exists for
(op, format), `emulate` rounds the activations to their calibrated grid, dequantises the weight and calls the same op: that is
also what a fast kernel is tested against. A plain NumPy array is the dense format and needs no class.

Quantisation is symmetric per output channel, so zero stays zero and pruning after it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinytorch.engine import ops
from tinytorch.engine.op import Op

INT8_LIMIT = 127  # -128 is left out, so that the range is symmetric


class Grid(NamedTuple):
    """Affine uint8 grid of a layer's input: x ~ (q - zero_point) scale with q in 0..255."""

    scale: float
    zero_point: int

    @classmethod
    def covering(cls, low: float, high: float) -> Grid:
        """The grid whose ends are [low, high], widened to contain 0 so that padding is exact."""
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError(f"Grid: the range [{low}, {high}] is not finite; calibrate on data without nan or infinity")
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32((high - low) / 255 or 1.0))
        return cls(scale, round(min(255.0, max(0.0, -low / scale))))


@dataclass(frozen=True)
class Format:
    """A packed weight that stands where an array would: it has shape, dtype and size, and can become an array again."""

    kind: ClassVar[str]
    grid: Grid | None

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError  # every format has one; see the subclasses

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    @property
    def strides(self) -> tuple[str, bool]:
        """Takes the place of an array's strides in the seam's cache, so that formats never share an entry with arrays."""
        return (self.kind, self.grid is None)

    def emulate(self, op: Op, x: np.ndarray, *rest: Any, **params: Any) -> np.ndarray:
        """The op computed in float32 with the values this format stores."""
        if self.grid is not None:
            x = ops.quantize_dequantize(x, scale=self.grid.scale, zero_point=self.grid.zero_point)
        return op(x, *(r.array if isinstance(r, Format) else r for r in rest), **params)


@dataclass(frozen=True)
class Int8(Format):
    """codes int8 of the weight's shape, scale float32 (channels,) along `axis`, its output channels."""

    kind: ClassVar[str] = "int8"
    codes: np.ndarray
    scale: np.ndarray
    axis: int

    @classmethod
    def pack(cls, weight: np.ndarray, axis: int, grid: Grid | None = None) -> Int8:
        """Quantise: scale = largest |w| of the channel / 127, codes = round(w / scale). Nan or infinity raise ValueError."""
        if not np.isfinite(weight).all():
            raise ValueError(f"Int8.pack: the weight {weight.shape} contains nan or infinity; train it again")
        others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
        largest = np.abs(weight).max(others) if weight.size else np.zeros(weight.shape[axis], np.float32)
        scale = np.where(largest > 0, largest / INT8_LIMIT, 1).astype(np.float32)
        codes = np.rint(weight / along(scale, axis, weight.ndim)).astype(np.int8)
        return cls(grid, codes, scale, axis)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @cached_property
    def array(self) -> np.ndarray:
        """The float32 weight this stands for; made once."""
        return self.codes * along(self.scale, self.axis, self.codes.ndim)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"codes": self.codes, "scale": self.scale}


@dataclass(frozen=True)
class Sparse(Format):
    """Only the non-zero values, and one bit per weight that says where they belong.

    `values` are float32, or int8 with a `scale` per output channel along `axis`.
    """

    kind: ClassVar[str] = "sparse"
    values: np.ndarray
    bits: np.ndarray
    full_shape: tuple[int, ...]
    scale: np.ndarray | None
    axis: int

    @classmethod
    def pack(cls, weight: np.ndarray | Int8, axis: int, grid: Grid | None = None) -> Sparse:
        """Store a weight, dense or int8, without its zeros."""
        codes, scale = (weight.codes, weight.scale) if isinstance(weight, Int8) else (weight, None)
        grid = weight.grid if isinstance(weight, Int8) else grid
        kept = codes != 0
        return cls(grid, codes[kept], np.packbits(kept), codes.shape, scale, axis)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.full_shape

    @cached_property
    def array(self) -> np.ndarray:
        """The float32 weight this stands for; made once."""
        kept = np.unpackbits(self.bits, count=int(np.prod(self.full_shape))).astype(bool).reshape(self.full_shape)
        full = np.zeros(self.full_shape, np.float32)
        full[kept] = self.values
        return full if self.scale is None else full * along(self.scale, self.axis, full.ndim)

    def arrays(self) -> dict[str, np.ndarray]:
        packed = {"values": self.values, "bits": self.bits}
        return packed if self.scale is None else {**packed, "scale": self.scale}


def along(v: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """v (channels,) shaped to broadcast along `axis` of an array with `ndim` axes."""
    shape = [1] * ndim
    shape[axis] = -1
    return v.reshape(shape)
