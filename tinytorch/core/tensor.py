"""Tensor: a NumPy array that remembers how it was computed.

Methods do three things: bring their arguments into an op's form, call `apply`, and nothing else; all mathematics is in
`engine.ops`. Data are float32 unless asked otherwise: float64 is kept when the dtype is named, integers also when the
data are an integer array. Left out: what may be written as an argument (`arguments.py`), the walk back (`autograd.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinytorch.core import arguments, autograd
from tinytorch.core.arguments import Axis, Number, as_data, axes_of, axis_below, plain_index, plain_number, sizes
from tinytorch.engine import dispatch, ops
from tinytorch.engine.op import Op, size

new_tensor, new_node, tape, clock = object.__new__, tuple.__new__, autograd._tape, autograd.clock


def apply(op: Op, *inputs: Tensor | None, **params: Any) -> Tensor:
    """Run an op on tensors and record it where a gradient may be wanted."""
    arrays = [t.data if type(t) is Tensor else None if t is None else t.operand for t in inputs]
    return recorded(op, inputs, arrays, params, dispatch.call(op, *arrays, **params))


def recorded(op: Op, inputs: tuple, arrays: Sequence[Any], params: dict[str, Any], out: np.ndarray) -> Tensor:
    """The result of an op as a tensor that knows how it was made. The only place that writes the tape."""
    result = new_tensor(Tensor)
    result.data, result.grad, result._grad_fn, result.retains_grad, result.requires_grad = out, None, None, False, False
    for t in inputs:
        if t is not None and t.requires_grad:
            if tape.recording and out.dtype.kind == "f":
                result.requires_grad = True
                kind = op.node_type or autograd.node_type(op)
                result._grad_fn = new_node(kind, (op, inputs, arrays, params, out, next(clock)))
            break
    return result


class Tensor:
    """`Tensor(data, requires_grad=False, dtype=None)`; `.data` and `.grad` are NumPy arrays.

    `data` may be a number, nested lists, an array or another tensor. Without `dtype`, Python numbers and floating
    arrays become float32; integer arrays stay integers unless they require gradients; another tensor's dtype is kept.
    An array of the right dtype is copied only with `requires_grad`. Raises TypeError for data that are no numbers.
    """

    __slots__ = ("__dict__", "__weakref__", "_grad_fn", "data", "grad", "requires_grad", "retains_grad")
    __array_priority__ = 100.0  # array + tensor is a tensor

    data: np.ndarray
    grad: np.ndarray | None
    _grad_fn: autograd.Node | None

    def __init__(self, data: Any, requires_grad: bool = False, dtype: DTypeLike | None = None) -> None:
        if isinstance(data, Tensor):
            data, dtype = data.data, data.dtype if dtype is None else dtype
        self.data = as_data(data, dtype)
        self.requires_grad = bool(requires_grad)
        self.grad, self._grad_fn, self.retains_grad = None, None, False
        if requires_grad:
            if self.dtype.kind != "f" and dtype is not None:
                raise TypeError(f"Tensor: only floating tensors can require gradients, this one is {self.data.dtype}")
            self.data = self.data.astype(self.dtype if self.dtype.kind == "f" else np.float32)

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def operand(self) -> Any:
        """What ops receive: the array; a packed weight gives its format instead."""
        return self.data

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def T(self) -> Tensor:
        return self.transpose()

    @property
    def grad_fn(self) -> autograd.Node | None:
        return self._grad_fn

    @property
    def is_leaf(self) -> bool:
        return self._grad_fn is None

    def numpy(self) -> np.ndarray:
        """The data, not copied."""
        return self.data

    def item(self) -> Any:
        """The one element as a Python number; ValueError if there are more."""
        if self.size != 1:
            raise ValueError(f"item: the tensor is {self.shape}, only a single element has a value; index or reduce it")
        return self.data.item()

    def tolist(self) -> Any:
        return self.data.tolist()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len: a tensor without axes has no length")
        return len(self.data)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        body = np.array2string(self.data, separator=", ", precision=4, threshold=100, prefix="Tensor(")
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        history = ", requires_grad=True" if self.requires_grad else ""
        history = f", grad_fn={self._grad_fn}" if self._grad_fn else history
        return f"Tensor({body}, shape={self.shape}{kind}{history})"

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    # -- gradients ----------------------------------------------------------------------------------------------------

    def backward(self, gradient: Any = None) -> None:
        """See `core.autograd.backward`."""
        autograd.backward(self, gradient)

    def accumulate_grad(self, gradient: np.ndarray) -> None:
        """Add to `.grad`. The first gradient is copied, since its array may be shared with other tensors."""
        if self.grad is None:
            self.grad = gradient.copy(order="K")
        else:
            self.grad = ops.add(self.grad, gradient)

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result too."""
        self.retains_grad = True

    def zero_grad(self) -> None:
        self.grad = None

    def detach(self) -> Tensor:
        """The same data without history."""
        return Tensor(self.data, dtype=self.dtype)

    def clone(self) -> Tensor:
        """A copy that passes gradients on."""
        return apply(ops.cast, self, dtype=self.dtype.name)

    def astype(self, dtype: DTypeLike) -> Tensor:
        return apply(ops.cast, self, dtype=np.dtype(dtype).name)

    # -- arithmetic ---------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return binary(ops.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return binary(ops.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return binary(ops.sub, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return binary(ops.sub, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return binary(ops.mul, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return binary(ops.mul, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return binary(ops.div, floating(self), other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return binary(ops.div, other, floating(self))

    def __pow__(self, exponent: Any) -> Tensor:
        return self.pow(exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return binary(ops.power, base, self)

    def __neg__(self) -> Tensor:
        return apply(ops.neg, self)

    def __abs__(self) -> Tensor:
        return self.abs()

    def __matmul__(self, other: Any) -> Tensor:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return matmul(other, self)

    def __eq__(self, other: Any) -> Any:
        return binary(ops.compare, self, other, relation="==")

    def __ne__(self, other: Any) -> Any:
        return binary(ops.compare, self, other, relation="!=")

    def __lt__(self, other: Any) -> Tensor:
        return binary(ops.compare, self, other, relation="<")

    def __le__(self, other: Any) -> Tensor:
        return binary(ops.compare, self, other, relation="<=")

    def __gt__(self, other: Any) -> Tensor:
        return binary(ops.compare, self, other, relation=">")

    def __ge__(self, other: Any) -> Tensor:
        return binary(ops.compare, self, other, relation=">=")

    __hash__ = object.__hash__

    def matmul(self, other: Any) -> Tensor:
        return matmul(self, other)

    def pow(self, exponent: Any) -> Tensor:
        if isinstance(exponent, int | float | np.number):
            return apply(ops.pow, floating(self), exponent=plain_number(exponent))
        return binary(ops.power, self, exponent)

    def exp(self) -> Tensor:
        return apply(ops.exp, floating(self))

    def log(self) -> Tensor:
        return apply(ops.log, floating(self))

    def sqrt(self) -> Tensor:
        return apply(ops.sqrt, floating(self))

    def abs(self) -> Tensor:
        return apply(ops.absolute, self)

    def clip(self, min: Number | None = None, max: Number | None = None) -> Tensor:
        return apply(ops.clip, self, low=plain_number(min), high=plain_number(max))

    clamp = clip

    # -- reductions ---------------------------------------------------------------------------------------------------

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(ops.sum, self, axis=axes_of(axis), keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Mean over the axes; the mean of no elements is nan."""
        x = floating(self)
        total = x.sum(axis, keepdims)
        count = x.size // total.size if total.size else 1
        return total * (1 / count) if count else total * float("nan")

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(ops.max, self, axis=axes_of(axis), keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return apply(ops.min, self, axis=axes_of(axis), keepdims=keepdims)

    def var(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Biased variance: the mean of squared distances to the mean."""
        centred = self - self.mean(axis, keepdims=True)
        return (centred * centred).mean(axis, keepdims)

    def argmax(self, axis: int | None = None) -> Tensor:
        """Index of the largest element; integers, without gradient."""
        return Tensor(np.asarray(self.data.argmax(axis)))

    # -- shape --------------------------------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements under another shape, one size may be -1."""
        return apply(ops.reshape, self, shape=arguments.all_sizes(self.shape, sizes(shape)))

    view = reshape

    def flatten(self, start_dim: int = 0) -> Tensor:
        """Axes from `start_dim` on joined into one."""
        return self.reshape(*self.shape[:start_dim], size(self.shape[start_dim:]))

    def permute(self, *axes: Any) -> Tensor:
        return apply(ops.transpose, self, axes=sizes(axes))

    def transpose(self, *axes: Any) -> Tensor:
        """Without arguments the last two axes exchanged; with two, those; with all, in that order."""
        return self if self.ndim < 2 and not axes else self.permute(*arguments.exchanged(self.ndim, sizes(axes)))

    def squeeze(self, axis: int | None = None) -> Tensor:
        """Without axes of size 1; with `axis` only that one, left alone where its size is not 1."""
        drop = range(self.ndim) if axis is None else (axis_below("squeeze", axis, self.ndim),)
        return self.reshape(*(n for i, n in enumerate(self.shape) if not (n == 1 and i in drop)))

    def unsqueeze(self, axis: int) -> Tensor:
        """With a new axis of size 1 at `axis`."""
        at = axis_below("unsqueeze", axis, self.ndim + 1)
        return self.reshape(*self.shape[:at], 1, *self.shape[at:])

    def expand(self, *shape: Any) -> Tensor:
        return apply(ops.expand, self, shape=sizes(shape))

    def __getitem__(self, index: Any) -> Tensor:
        return apply(ops.getitem, self, index=plain_index(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.requires_grad and autograd.recording():
            raise RuntimeError("setitem: this tensor requires gradients; write to .data, or inside no_grad()")
        self.data[plain_index(index)] = value.data if isinstance(value, Tensor) else value

    # -- constructors -------------------------------------------------------------------------------------------------

    @staticmethod
    def zeros(*shape: Any, requires_grad: bool = False) -> Tensor:
        return Tensor(np.zeros(sizes(shape), np.float32), requires_grad)

    @staticmethod
    def ones(*shape: Any, requires_grad: bool = False) -> Tensor:
        return Tensor(np.ones(sizes(shape), np.float32), requires_grad)

    @staticmethod
    def randn(*shape: Any, requires_grad: bool = False, seed: int | None = None) -> Tensor:
        """Standard normal samples; without a seed from NumPy's global generator, so `np.random.seed` governs them."""
        draw = np.random.standard_normal if seed is None else np.random.default_rng(seed).standard_normal
        return Tensor(np.asarray(draw(sizes(shape)), np.float32), requires_grad)

    @staticmethod
    def arange(*bounds: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
        return Tensor(np.arange(*bounds), requires_grad, dtype)


def as_tensor(value: Any, like: np.dtype | None = None) -> Tensor:
    """A tensor as it is; other values in the dtype of a floating partner `like`, whole numbers in any partner's."""
    if isinstance(value, Tensor):
        return value
    if like is not None and like.kind == "f":
        return Tensor(value, dtype=like)
    if isinstance(value, int) and like is not None:
        return Tensor(np.asarray(value, None if like.kind == "b" else like))
    return Tensor(value)


@lru_cache(maxsize=256)
def constant(number: float) -> Tensor:
    """A number as a float32 tensor without axes."""
    return Tensor(number)


def binary(op: Op, a: Any, b: Any, **params: Any) -> Tensor:
    """A binary op on tensors, arrays and numbers; an integer operand takes the dtype of a floating one."""
    if type(a) is Tensor:
        if type(b) is Tensor:
            x, y = a.data, b.data
            if x.dtype is y.dtype:  # the usual case, without `apply`'s look at each input
                return recorded(op, (a, b), (x, y), params, dispatch.call(op, x, y, **params))
        elif type(b) is float and b and a.data.dtype is dispatch.FLOAT32:  # -0.0 equals 0.0, so zeros are not kept
            return apply(op, a, constant(b), **params)
    a = as_tensor(a, b.dtype if isinstance(b, Tensor) else None)
    b = as_tensor(b, a.dtype)
    if a.dtype != b.dtype and "f" in (a.dtype.kind, b.dtype.kind):
        a, b = (t if t.dtype.kind == "f" else t.astype(other.dtype) for t, other in ((a, b), (b, a)))
    return apply(op, a, b, **params)


def matmul(a: Any, b: Any) -> Tensor:
    """Matrix product; a vector counts as a row on the left and a column on the right, as in NumPy."""
    a = as_tensor(a, b.dtype if isinstance(b, Tensor) else None)
    b = as_tensor(b, a.dtype)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: a is {a.shape}, b is {b.shape}: a number has no matrix product; use *")
    y = apply(ops.matmul, a.unsqueeze(0) if a.ndim == 1 else a, b.unsqueeze(1) if b.ndim == 1 else b)
    y = y.squeeze(-1) if b.ndim == 1 else y
    return y.squeeze(-1 if b.ndim == 1 else -2) if a.ndim == 1 else y


def floating(x: Tensor) -> Tensor:
    """A floating tensor as it is, another one as float32."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)
