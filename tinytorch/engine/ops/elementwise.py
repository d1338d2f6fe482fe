"""Elementwise arithmetic. Binary ops broadcast as NumPy does; the tape sums gradients back to the inputs' shapes.

FLOPs: one per element of the result, also for exp, log and sqrt: mathematics is counted, not instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.engine.op import (
    Op,
    Sample,
    SampleIterator,
    Shaped,
    Spec,
    away_from_zero,
    broadcast,
    check_floating,
    normal,
    size,
    spec_like,
)

__all__ = [
    "absolute", "add", "clip", "compare", "div", "exp", "log", "maximum", "mul", "neg", "pow", "power", "sign", "sqrt",
    "sub", "where",
]  # fmt: skip

RELATIONS = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip


class Unary(Op):
    """y = f(x), same shape and dtype."""

    def shape(self, x: Shaped, *_: Any, **__: Any) -> Spec:
        check_floating(self.name, x)
        return spec_like(x)

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (1,), (), (0, 4), (2, 3, 4, 5)):
            yield Sample((away_from_zero(rng, *shape),))


class PositiveUnary(Unary):
    """A unary op that is smooth only for positive x."""

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (1,), (), (0, 4)):
            yield Sample((rng.uniform(0.3, 3.0, shape),))


class Binary(Op):
    """y = f(a, b), broadcast together."""

    def shape(self, a: Shaped, b: Shaped, *_: Any, **__: Any) -> Spec:
        return Spec(broadcast(self.name, a, b), np.result_type(a.dtype, b.dtype))

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for a, b in (((3, 5), (3, 5)), ((4, 1, 5), (3, 1)), ((2, 3), ()), ((1,), (4,)), ((0, 3), (3,)), ((7,), (1,))):
            yield Sample((normal(rng, *a), away_from_zero(rng, *b)))


class Add(Binary):
    """a + b"""

    ufunc = reference = np.add

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple:
        return g, g


class Sub(Binary):
    """a - b"""

    ufunc = reference = np.subtract

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple:
        return g, need[1] and neg(g)


class Mul(Binary):
    """a b"""

    ufunc = reference = np.multiply

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple:
        return need[0] and mul(g, b), need[1] and mul(g, a)


class Div(Binary):
    """a / b"""

    def shape(self, a: Shaped, b: Shaped) -> Spec:
        dtype = np.result_type(a.dtype, b.dtype)
        return Spec(broadcast("div", a, b), dtype if np.issubdtype(dtype, np.floating) else np.dtype(np.float64))

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # 1/0 is inf and 0/0 is nan, silently, as in IEEE 754
            return a / b

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple:
        return need[0] and div(g, b), need[1] and neg(div(mul(g, out), b))


class Maximum(Binary):
    """max(a, b); where they tie, a and b share the gradient equally, as in PyTorch."""

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.maximum(a, b)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple:
        zero, half = np.zeros((), g.dtype), mul(g, np.asarray(0.5, g.dtype))
        shared = where(compare(a, b, relation="=="), half, g)
        return (
            need[0] and where(compare(a, b, relation="<"), zero, shared),
            need[1] and where(compare(a, b, relation=">"), zero, shared),
        )


class Power(Binary):
    """a ** b with both differentiable; the base has to be positive where the exponent wants a gradient."""

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.power(a, b)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple:
        one = np.ones((), g.dtype)
        return need[0] and mul(g, mul(b, power(a, sub(b, one)))), need[1] and mul(g, mul(out, log(a)))

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for a, b in (((3, 5), (3, 5)), ((4, 1), (3,)), ((0, 3), (3,))):
            yield Sample((rng.uniform(0.5, 2.0, a), normal(rng, *b)))


class Pow(Unary):
    """x ** exponent for a fixed number."""

    def reference(self, x: np.ndarray, exponent: float) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return x**exponent

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, exponent: float) -> tuple:
        if exponent == 0:  # 0 x^-1 would be nan at 0
            return (mul(g, np.zeros((), x.dtype)),)
        return (mul(g, mul(pow(x, exponent=exponent - 1), np.asarray(exponent, x.dtype))),)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for exponent in (2, 3, -1, 0.5, 0, 1):
            yield Sample((rng.uniform(0.3, 2.0, (3, 4)),), {"exponent": exponent})


class Neg(Unary):
    """-x"""

    def shape(self, x: Shaped) -> Spec:
        return spec_like(x)

    ufunc = reference = np.negative

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (neg(g),)


class Exp(Unary):
    """e ** x"""

    def reference(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.exp(x)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (mul(g, out),)


class Log(PositiveUnary):
    """Natural logarithm; log 0 is -inf, the logarithm of a negative number is nan."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(x)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (div(g, x),)


class Sqrt(PositiveUnary):
    """Square root; nan for negative x."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.sqrt(x)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (div(mul(g, np.asarray(0.5, g.dtype)), out),)


class Sign(Unary):
    """-1, 0 or 1; its gradient is zero wherever it has one."""

    gradient = None

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.sign(x)


class Absolute(Unary):
    """|x|; gradient 0 at 0."""

    name = "abs"

    def shape(self, x: Shaped) -> Spec:
        return spec_like(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (mul(g, sign(x)),)


class Clip(Unary):
    """x limited to [low, high] (None: no limit); gradient 1 inside and on the limits, 0 outside."""

    def shape(self, x: Shaped, low: float | None, high: float | None) -> Spec:
        if low is None and high is None:
            raise ValueError("clip: neither low nor high is given; give at least one limit")
        return spec_like(x)

    def reference(self, x: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
        return np.clip(x, low, high)

    def gradient(
        self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, low: float | None, high: float | None
    ) -> tuple:
        return (where(compare(x, out, relation="=="), g, np.zeros((), g.dtype)),)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        x = np.array([-2.0, -0.5, 0.3, 0.9, 3.0]) + rng.uniform(0, 0.05, 5)
        for low, high in ((-1.0, 1.0), (None, 0.5), (0.0, None)):
            yield Sample((x,), {"low": low, "high": high})


class Compare(Op):
    """Elementwise relation between a and b: a boolean array."""

    gradient = None

    def shape(self, a: Shaped, b: Shaped, relation: str) -> Spec:
        if relation not in RELATIONS:
            raise ValueError(f"compare: unknown relation {relation!r}; known: {', '.join(RELATIONS)}")
        return Spec(broadcast("compare", a, b), np.dtype(bool))

    def reference(self, a: np.ndarray, b: np.ndarray, relation: str) -> np.ndarray:
        return RELATIONS[relation](a, b)

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return 0

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for relation in RELATIONS:
            yield Sample((normal(rng, 4, 1), normal(rng, 3)), {"relation": relation})


class Where(Op):
    """a where the condition holds, b elsewhere; all three broadcast together."""

    def shape(self, condition: Shaped, a: Shaped, b: Shaped) -> Spec:
        if condition.dtype != np.bool_:
            raise TypeError(f"where: condition is {condition.dtype}, it must be bool: compare first, such as x > 0")
        both = Spec(broadcast("where", a, b), np.result_type(a.dtype, b.dtype))
        return Spec(broadcast("where", condition, both), both.dtype)

    def reference(self, condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(condition, a, b)

    def gradient(
        self, need: tuple, g: np.ndarray, out: np.ndarray, condition: np.ndarray, a: np.ndarray, b: np.ndarray
    ) -> tuple:
        zero = np.zeros((), g.dtype)
        return None, need[1] and where(condition, g, zero), need[2] and where(condition, zero, g)

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return 0

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for c, a, b in (((3, 4), (3, 4), (3, 4)), ((3, 1), (4,), ()), ((0, 2), (2,), (1,))):
            yield Sample((normal(rng, *c) > 0, normal(rng, *a), normal(rng, *b)))


add, sub, mul, div, maximum, power = Add(), Sub(), Mul(), Div(), Maximum(), Power()
neg, exp, log, sqrt, sign, absolute, clip, pow = Neg(), Exp(), Log(), Sqrt(), Sign(), Absolute(), Clip(), Pow()
compare, where = Compare(), Where()
