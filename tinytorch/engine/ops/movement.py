"""Ops that move data and compute nothing: all cost 0 FLOPs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size

__all__ = ["cast", "concat", "getitem", "getitem_grad", "reshape", "transpose"]


class Movement(Op):
    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return 0


class Reshape(Movement):
    """The same elements in C order under another shape; `shape` is fully known (no -1)."""

    def shape(self, x: Shaped, shape: tuple[int, ...]) -> Spec:
        if min(shape, default=0) < 0:
            raise ValueError(f"reshape: x is {x.shape}, {shape} has a negative size; give all sizes")
        if size(shape) != size(x.shape):
            raise ValueError(
                f"reshape: x is {x.shape} with {size(x.shape)} elements, {shape} has {size(shape)}; "
                "the counts must agree"
            )
        return Spec(shape, x.dtype)

    def reference(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return x.reshape(shape)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, shape: tuple[int, ...]) -> tuple:
        return (reshape(g, shape=x.shape),)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for x, shape in (((3, 4), (2, 6)), ((1,), ()), ((0, 3), (3, 0)), ((2, 3, 4), (24,))):
            yield Sample((normal(rng, *x),), {"shape": shape})


class Transpose(Movement):
    """Axes in the order given by `axes`; a view."""

    def shape(self, x: Shaped, axes: tuple[int, ...]) -> Spec:
        ndim = len(x.shape)
        if sorted(a % ndim if ndim else a for a in axes) != list(range(ndim)):
            raise ValueError(f"transpose: axes {axes} do not order the {ndim} axes of x {x.shape}; name each axis once")
        return Spec(tuple(x.shape[a] for a in axes), x.dtype)

    def reference(self, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return x.transpose(axes)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, axes: tuple[int, ...]) -> tuple:
        return (transpose(g, axes=tuple(int(i) for i in np.argsort([a % x.ndim for a in axes]))),)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        cases = (((3, 4), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((2, 3, 4), (0, -1, 1)), ((5,), (0,)), ((0, 3), (1, 0)))
        for x, axes in cases:
            yield Sample((normal(rng, *x),), {"axes": axes})


class Cast(Movement):
    """x in another dtype; the gradient is cast back."""

    def shape(self, x: Shaped, dtype: str) -> Spec:
        return Spec(x.shape, np.dtype(dtype))

    def reference(self, x: np.ndarray, dtype: str) -> np.ndarray:
        return x.astype(dtype)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, dtype: str) -> tuple:
        return (cast(g, dtype=x.dtype.name),)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        yield Sample((normal(rng, 3, 4),), {"dtype": "float64"})


class Getitem(Movement):
    """x[index]: integers, slices, None, Ellipsis, integer and boolean arrays, as NumPy indexes."""

    def shape(self, x: Shaped, index: Any) -> Spec:
        outline = np.broadcast_to(np.empty((), x.dtype), x.shape)  # zero strides: the rule without the data
        try:
            return Spec(outline[index].shape, x.dtype)
        except IndexError as error:
            raise IndexError(f"getitem: x is {x.shape}, index {index!r}: {error}") from None

    def reference(self, x: np.ndarray, index: Any) -> np.ndarray:
        return x[index]

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, index: Any) -> tuple:
        return (getitem_grad(g, index=index, shape=x.shape),)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for index in (1, slice(None, None, 2), (slice(None), -1), (..., None, 2), ([0, 2, 0],), (slice(2, 2),)):
            yield Sample((normal(rng, 3, 4),), {"index": index})


class GetitemGrad(Movement):
    """Zeros of `shape` with g added at index; an element picked twice receives both gradients."""

    gradient = None

    def shape(self, g: Shaped, index: Any, shape: tuple[int, ...]) -> Spec:
        wanted = getitem.shape(Spec(shape, g.dtype), index).shape
        if g.shape != wanted:
            raise ValueError(f"getitem_grad: g is {g.shape}, the index picks {wanted}; pass forward's index and shape")
        return Spec(shape, g.dtype)

    def reference(self, g: np.ndarray, index: Any, shape: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(shape, g.dtype)
        parts = index if isinstance(index, tuple) else (index,)
        if all(p is None or p is Ellipsis or isinstance(p, int | np.integer | slice) for p in parts):
            out[index] = g  # without index arrays no element can be picked twice
        else:
            np.add.at(out, index, g)
        return out

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for index in (1, slice(None, None, 2), ([0, 2, 0],), ((0, 2, 0),)):
            yield Sample((normal(rng, *np.empty((3, 4))[index].shape),), {"index": index, "shape": (3, 4)})


class Concat(Movement):
    """Arrays joined along `axis`."""

    def shape(self, *xs: Shaped, axis: int) -> Spec:
        if not xs:
            raise ValueError("concat: no arrays given; give at least one")
        first, ndim = xs[0].shape, len(xs[0].shape)
        if not -ndim <= axis < ndim:
            raise ValueError(f"concat: arrays are {first}, they have no axis {axis}; choose one below {ndim}")
        axis %= ndim
        for i, x in enumerate(xs):
            if len(x.shape) != ndim or any(p != q for a, (p, q) in enumerate(zip(first, x.shape)) if a != axis):
                raise ValueError(f"concat: array 0 is {first}, array {i} is {x.shape}: only axis {axis} may differ")
        total = int(np.sum([x.shape[axis] for x in xs]))
        return Spec((*first[:axis], total, *first[axis + 1 :]), np.result_type(*(x.dtype for x in xs)))

    def reference(self, *xs: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate(xs, axis)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, *xs: np.ndarray, axis: int) -> tuple:
        ends = np.cumsum([0, *(x.shape[axis] for x in xs)])
        before = (slice(None),) * (axis % g.ndim)
        return tuple(
            wanted and getitem(g, index=(*before, slice(int(a), int(b))))
            for wanted, a, b in zip(need, ends[:-1], ends[1:])
        )

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        yield Sample((normal(rng, 2, 3), normal(rng, 1, 3), normal(rng, 0, 3)), {"axis": 0})
        yield Sample((normal(rng, 2, 3, 2), normal(rng, 2, 1, 2)), {"axis": -2})
        yield Sample((normal(rng, 4),), {"axis": 0})


reshape, transpose, cast, concat = Reshape(), Transpose(), Cast(), Concat()
getitem, getitem_grad = Getitem(), GetitemGrad()
