"""What an op is: one block that says everything about it.

An op states its shape rule (with the friendly error), its NumPy reference, its gradient, its FLOPs and samples to test
it with. All five are required: an op that is half declared cannot be made. "No gradient" and "no FLOPs" are said, never
left out. Left out here: how an op is run (`dispatch.py`) and how it is made fast (`kernels/`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinytorch.engine import dispatch

REQUIRED = ("shape", "reference", "gradient", "flops", "samples")
OPS: dict[str, Op] = {}


class Shaped(Protocol):
    """All that a shape rule or a FLOP rule may look at: an array, or a `Spec` standing for one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...


class Spec(NamedTuple):
    """Shape and dtype of an array that need not exist."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return size(self.shape)


class Sample(NamedTuple):
    """One input to test an op with, in float64 and away from kinks, where finite differences would lie."""

    arrays: tuple[Any, ...]
    params: Mapping[str, Any] = MappingProxyType({})


class Op:
    """Base of all ops; making an instance registers it under `name` (its class name in snake case unless given).

    Rules take the op's arrays in order and its parameters by keyword:

    - `shape(*inputs, **params) -> Spec`: raises ValueError or TypeError naming op, shapes, clash and next step.
    - `reference(*arrays, **params) -> array`: the op in plain vectorised NumPy.
    - `gradient(need, g, out, *arrays, **params) -> tuple`: the gradient with respect to each input, where `g` is the
      gradient of the output `out`. `need[i]` says whether input i wants one: `need[0] and mul(g, b)`. It computes with
      ops alone, so that backward is seen at the seam as forward is. May return a gradient of the broadcast shape; the
      tape sums it back. `gradient = None` declares an op that has none.
    - `flops(out, *inputs, **params) -> int`: floating-point operations of the mathematics; a multiply-add counts 2.
    - `flops_of_values`: they depend on what arrays hold and not on shapes alone, as in attention to a part of a cache.
    - `samples(rng)`: yields `Sample`s.
    - `derived`: inputs that get no gradient of their own, by position: None where the input is a constant, or the
      function of all inputs that it was computed with; the gradient of those then goes through it as well.
    - `ufunc`, where an op has one: the NumPy function that the reference is, for small arrays called at once.
    - `in_place`: the op changes its first array and returns it.
    - `check(*arrays, **params)`, where an op has one: raises for values it cannot take, such as ids outside a table.
      It runs at every call, before reference or kernel.
    """

    name: str = ""
    gradient: Any = NotImplemented
    derived: Mapping[int, Callable[..., Any] | None] = MappingProxyType({})
    in_place: bool = False
    flops_of_values: bool = False
    check: Any = None
    ufunc: Any = None
    node_type: Any = None  # the tape's class for this op; `core.autograd` makes it

    def __init__(self) -> None:
        cls = type(self)
        missing = [rule for rule in REQUIRED if getattr(cls, rule, NotImplemented) is NotImplemented]
        if missing:
            raise TypeError(
                f"op {cls.__name__}: {', '.join(missing)} not declared; an op states all of {', '.join(REQUIRED)}"
            )
        self.name = self.name or snake_case(cls.__name__)
        if self.name in OPS:
            raise TypeError(f"op {self.name}: declared twice, by {type(OPS[self.name]).__name__} and {cls.__name__}")
        OPS[self.name] = self

    shape: Any = NotImplemented
    reference: Any = NotImplemented
    flops: Any = NotImplemented
    samples: Any = NotImplemented

    __call__ = dispatch.call

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def snake_case(name: str) -> str:
    """`MaxPool2dGrad` -> `max_pool2d_grad`."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


def size(shape: tuple[int, ...]) -> int:
    """How many elements an array of this shape has."""
    return math.prod(shape)


def spec_like(x: Shaped) -> Spec:
    return Spec(x.shape, x.dtype)


def check_floating(name: str, x: Shaped) -> None:
    """TypeError where x holds integers or bools and the op needs fractions."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: x is {x.dtype}; it needs a floating type: make it float32 first")


def broadcast(name: str, a: Shaped, b: Shaped) -> tuple[int, ...]:
    """Shape of a and b broadcast together, or a ValueError that shows where they clash."""
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        sizes = zip(reversed(a.shape), reversed(b.shape))
        axis, p, q = next((-i, p, q) for i, (p, q) in enumerate(sizes, 1) if p != q and 1 not in (p, q))
        raise ValueError(
            f"{name}: a is {a.shape}, b is {b.shape}: they differ on axis {axis} ({p} != {q}); "
            "reshape one of them so that sizes agree or are 1"
        ) from None


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal float64 samples."""
    return np.asarray(rng.standard_normal(shape))


def away_from_zero(rng: np.random.Generator, *shape: int, gap: float = 0.2) -> np.ndarray:
    """Normal samples pushed away from the kink at zero."""
    x = rng.standard_normal(shape)
    return np.asarray(x + np.copysign(gap, x))


SampleIterator = Iterator[Sample]
