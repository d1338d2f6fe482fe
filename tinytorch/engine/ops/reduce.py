"""Reductions, and the two ops that undo and redo broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size
from tinytorch.engine.ops.elementwise import compare, div, mul, where
from tinytorch.engine.ops.movement import reshape

__all__ = ["expand", "max", "min", "sum", "sum_to"]

Axes = tuple[int, ...] | None


def reduced_shape(name: str, x: Shaped, axis: Axes, keepdims: bool) -> tuple[int, ...]:
    """Shape of x after reducing over `axis` (None: all); ValueError where an axis is missing or named twice."""
    ndim = len(x.shape)
    axes = range(ndim) if axis is None else axis
    bad = [a for a in axes if not -ndim <= a < ndim]
    if bad:
        raise ValueError(f"{name}: x is {x.shape}, it has no axis {bad[0]}; axes go from {-ndim} to {ndim - 1}")
    gone = {a % ndim for a in axes}
    if len(gone) < len(axes):
        raise ValueError(f"{name}: axis {axis} names one axis of {x.shape} twice; name each once")
    return tuple(1 if i in gone else n for i, n in enumerate(x.shape) if keepdims or i not in gone)


class Reduction(Op):
    """Reduces x over `axis` (a tuple, or None for all axes)."""

    def shape(self, x: Shaped, axis: Axes, keepdims: bool) -> Spec:
        return Spec(reduced_shape(self.name, x, axis, keepdims), x.dtype)

    def flops(self, out: Shaped, x: Shaped, **_: Any) -> int:
        return size(x.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        cases: tuple[tuple[tuple[int, ...], Axes], ...] = (
            ((3, 5), None), ((3, 5), (0,)), ((2, 3, 4), (-1, 0)), ((1,), None), ((), None), ((2, 1, 3), (1,)),
        )  # fmt: skip
        for shape, axis in cases:
            for keepdims in (False, True):
                yield Sample((normal(rng, *shape),), {"axis": axis, "keepdims": keepdims})


class Sum(Reduction):
    """Sum over axes; the sum of nothing is 0. Integers and bools are summed in 64 bits."""

    def shape(self, x: Shaped, axis: Axes, keepdims: bool) -> Spec:
        return Spec(reduced_shape(self.name, x, axis, keepdims), np.zeros(0, x.dtype).sum().dtype)

    def reference(self, x: np.ndarray, axis: Axes, keepdims: bool) -> np.ndarray:
        return np.sum(x, axis, keepdims=keepdims)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, axis: Axes, keepdims: bool) -> tuple:
        return (expand(keep_axes(g, x, axis), shape=x.shape),)


class Extremum(Reduction):
    """The largest or smallest over axes; nan wins; equal ones share the gradient equally (PyTorch's amax and amin)."""

    def shape(self, x: Shaped, axis: Axes, keepdims: bool) -> Spec:
        out = super().shape(x, axis, keepdims)
        if size(x.shape) == 0 and size(out.shape) > 0:
            raise ValueError(
                f"{self.name}: x is {x.shape}: {self.name} of no elements is undefined; check for it first"
            )
        return out

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, axis: Axes, keepdims: bool) -> tuple:
        chosen = compare(x, keep_axes(out, x, axis), relation="==")
        one = where(chosen, np.ones((), g.dtype), np.zeros((), g.dtype))
        share = div(one, sum(one, axis=axis, keepdims=True))
        return (mul(share, keep_axes(g, x, axis)),)


class Max(Extremum):
    """Maximum over axes"""

    def reference(self, x: np.ndarray, axis: Axes, keepdims: bool) -> np.ndarray:
        return np.max(x, axis, keepdims=keepdims)


class Min(Extremum):
    """Minimum over axes"""

    def reference(self, x: np.ndarray, axis: Axes, keepdims: bool) -> np.ndarray:
        return np.min(x, axis, keepdims=keepdims)


def keep_axes(reduced: np.ndarray, x: np.ndarray, axis: Axes) -> np.ndarray:
    """A reduced array with the axes it lost put back as size 1."""
    shape = reduced_shape("reduce", x, axis, keepdims=True)
    return reduced if reduced.shape == shape else reshape(reduced, shape=shape)


class SumTo(Op):
    """Sum x over the axes along which `shape` was broadcast: the gradient of broadcasting."""

    def shape(self, x: Shaped, shape: tuple[int, ...]) -> Spec:
        try:
            fits = np.broadcast_shapes(x.shape, shape) == tuple(x.shape)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"sum_to: {shape} cannot have been broadcast to {x.shape}; sizes must agree or be 1")
        return Spec(shape, x.dtype)

    def reference(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        extra = x.ndim - len(shape)
        axes = tuple(i for i in range(x.ndim) if i < extra or (shape[i - extra] == 1 and x.shape[i] != 1))
        return x.sum(axes, x.dtype, keepdims=True).reshape(shape)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, shape: tuple[int, ...]) -> tuple:
        return (expand(g, shape=x.shape),)

    def flops(self, out: Shaped, x: Shaped, **_: Any) -> int:
        return size(x.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        cases: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
            ((4, 3, 5), (3, 1)), ((2, 3), ()), ((2, 3), (2, 3)), ((0, 3), (1, 3)), ((5, 1), (1,)), ((6, 40), (40,)),
        )  # fmt: skip
        for x, shape in cases:
            yield Sample((normal(rng, *x),), {"shape": shape})


class Expand(Op):
    """x broadcast to `shape`, without copying."""

    def shape(self, x: Shaped, shape: tuple[int, ...]) -> Spec:
        try:
            fits = np.broadcast_shapes(x.shape, shape) == tuple(shape)
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"expand: x is {x.shape}, it does not broadcast to {shape}; sizes must agree or be 1 in x")
        return Spec(shape, x.dtype)

    def reference(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(x, shape)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, shape: tuple[int, ...]) -> tuple:
        return (sum_to(g, shape=x.shape),)

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return 0

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for x, shape in (((3, 1), (4, 3, 5)), ((), (2, 3)), ((2, 3), (2, 3)), ((1, 3), (0, 3))):
            yield Sample((normal(rng, *x),), {"shape": shape})


sum, max, min, sum_to, expand = Sum(), Max(), Min(), SumTo(), Expand()
