"""Weight formats: how a layer's weight is stored, and how an op computes with it.

Layers never change: a format takes the place of the weight's array, and the seam sees it and asks it to `compute`.
Where weight and input are quantised that is arithmetic on integers, exact and the same in the NumPy reference and in
the kernels; everything else is computed in float32 with the array that the format stands for. A plain NumPy array is
the dense format and needs no class.

Quantisation is symmetric per output channel, so zero stays zero and pruning after it is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinytorch.engine import dispatch
from tinytorch.engine.op import Op, size

INT8_LIMIT = 127  # -128 is left out, so that the range is symmetric
# Ops that are computed on integers: the axis of the output channels in their weight, and in their output.
INTEGER_OPS = {"linear": (1, -1), "conv2d": (0, 1)}


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

    def codes(self, x: np.ndarray) -> np.ndarray:
        """round(x / scale) + zero_point as uint8, to even at halves, at the ends where x is outside; nan becomes 0.

        The division is a multiplication by the float32 reciprocal, as kernels do it, so that both give the same codes.
        """
        steps = x.astype(np.float32) * (np.float32(1) / np.float32(self.scale))
        inside = np.fmin(np.fmax(steps, np.float32(-self.zero_point)), np.float32(255 - self.zero_point))
        return (np.rint(inside) + np.float32(self.zero_point)).astype(np.uint8)

    def values(self, codes: np.ndarray) -> np.ndarray:
        """The float32 numbers that codes stand for."""
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


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
    def strides(self) -> tuple[str]:
        """Takes the place of strides in the seam's cache, so that formats never share an entry with arrays."""
        return (self.kind,)

    @property
    def codes8(self) -> Int8 | None:
        """The weight as int8 codes, where it is stored as such."""
        return None

    def integers(self, op_name: str) -> Int8 | None:
        """The weight as int8 codes, where this op computes on them."""
        codes = self.codes8
        return codes if codes is not None and codes.on_integers(op_name) else None

    def operand(self, op_name: str) -> Any:
        """What a kernel of this op is given: int8 codes where it computes on integers, else the array."""
        codes = self.integers(op_name)
        return self.array if codes is None else codes

    def __deepcopy__(self, memo: dict) -> Format:
        return self  # immutable

    # -- computing ----------------------------------------------------------------------------------------------------

    @cached_property
    def _runs(self) -> dict[tuple, dispatch.Run]:
        """What runs for each op and each shape of its other arrays: here, since kernels keep packed weights in it."""
        return {}

    def compute(self, op: Op, *arrays: Any, **params: Any) -> np.ndarray:
        """The op with this weight: on integers where weight and input are quantised, else in float32."""
        return self.run(op, arrays, params)(*arrays, **params)

    def run(self, op: Op, arrays: tuple[Any, ...], params: dict[str, Any]) -> dispatch.Run:
        """What `compute` runs for such arrays and parameters."""
        others = tuple([None if a is None else (a.shape, a.strides, a.dtype) for a in arrays])
        key = (op, dispatch.backend(), others, *params.items())
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = self._packed_run(op, arrays, params) or self._floats_run(op, arrays, params)
        return run

    def _packed_run(self, op: Op, arrays: tuple[Any, ...], params: dict[str, Any]) -> dispatch.Run | None:
        """A kernel for the weight as it is stored, or its reference on integers; None where neither applies."""
        weight = self.operand(op.name)
        if isinstance(weight, Format) and dispatch.backend() == "numba":
            from kernels import registry

            program = registry.program(op.name, [weight if a is self else a for a in arrays], params, weight.kind)
            if program is not None:
                return dispatch.saying(
                    program, lambda *arrays, **params: program(*[None if a is self else a for a in arrays])
                )
        codes = self.integers(op.name)
        if codes is None:
            return None
        reference: Any = partial(integer_reference, op, codes)
        reference.arithmetic = "int8"
        return reference

    def _floats_run(self, op: Op, arrays: tuple[Any, ...], params: dict[str, Any]) -> dispatch.Run:
        """The op on the arrays that weights stand for."""
        run = dispatch.find(op, dense(arrays), params)
        return dispatch.saying(run, lambda *arrays, **params: run(*dense(arrays), **params))


def dense(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Weights in a format as the arrays they stand for."""
    return tuple([a.array if isinstance(a, Format) else a for a in arrays])


def integer_reference(
    op: Op, weight: Int8, x: np.ndarray, _: Format, bias: np.ndarray | None = None, **params: Any
) -> np.ndarray:
    """op(x, weight, bias) on integers: x is rounded to its grid, sums are exact, one float32 scaling a channel follows.

    The sums are formed in float64, which holds any sum of fewer than 2^37 such products exactly.
    """
    assert weight.grid is not None
    axis = INTEGER_OPS[op.name][1]
    codes = weight.grid.codes(x).astype(np.float64) - weight.grid.zero_point
    total = op.reference(codes, weight.codes.astype(np.float64), None, **params).astype(np.float32)
    y = total * along(weight.rescale, axis, total.ndim)
    return y if bias is None else y + along(bias, axis, total.ndim)


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

    @property
    def codes8(self) -> Int8:
        return self

    def on_integers(self, op_name: str) -> bool:
        """Whether this op computes on integers: the input is quantised, and the scales belong to output channels."""
        axes = INTEGER_OPS.get(op_name)
        return self.grid is not None and axes is not None and self.axis % self.codes.ndim == axes[0]

    @property
    def rescale(self) -> np.ndarray:
        """float32 (channels,): what one unit of a sum of products of codes stands for."""
        return self.scale * np.float32(1 if self.grid is None else self.grid.scale)

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
        return self._full if self.codes8 is None else self.codes8.array

    @cached_property
    def codes8(self) -> Int8 | None:  # type: ignore[override]  # made once
        return None if self.scale is None else Int8(self.grid, self._full, self.scale, self.axis)

    @property
    def bit_count(self) -> int:
        """How many bits say what is stored; the last byte is filled up."""
        return self.size

    @property
    def mask(self) -> np.ndarray:
        """bool, in the order of `values`: where they belong."""
        return np.unpackbits(self.bits, count=self.bit_count).astype(bool).reshape(self.full_shape)

    @property
    def _full(self) -> np.ndarray:
        full = np.zeros(self.full_shape, self.values.dtype)
        full[self.mask] = self.values
        return full

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
