"""Activation functions with gradients of their own, each written in its output where that is cheaper than its input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, away_from_zero, normal, size, spec_like
from tinytorch.engine.ops.elementwise import Unary

__all__ = [
    "gelu", "gelu_grad", "log_softmax", "log_softmax_grad", "relu", "relu_grad", "sigmoid", "sigmoid_grad", "softmax",
    "softmax_grad", "tanh", "tanh_grad",
]  # fmt: skip

GELU_FORMS = ("none", "tanh")
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)

ZERO = np.zeros((), np.float32)  # an array: NumPy would make one of a number at every call


class ActivationGrad(Op):
    """Gradient of an activation from the gradient g of its output and one saved array; itself not differentiable."""

    gradient = None
    flops_per_element = 2

    def shape(self, g: Shaped, saved: Shaped, **_: Any) -> Spec:
        if g.shape != saved.shape:
            raise ValueError(f"{self.name}: g is {g.shape}, the saved array is {saved.shape}; pass forward's array")
        return spec_like(g)

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return self.flops_per_element * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (1,), (), (0, 4), (37, 129)):
            yield Sample((normal(rng, *shape), away_from_zero(rng, *shape)))


class ReLU(Unary):
    """max(x, 0); nan stays nan. Nair and Hinton 2010."""

    name = "relu"

    @staticmethod
    def reference(x: np.ndarray) -> np.ndarray:
        return np.maximum(x, ZERO)

    ufunc = reference

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (relu_grad(g, out),)


class ReLUGrad(ActivationGrad):
    """g where y > 0, else 0."""

    name = "relu_grad"
    flops_per_element = 1

    @staticmethod
    def reference(g: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(y > ZERO, g, ZERO)  # not a product: 0 times an infinite g would be nan

    ufunc = reference


class Sigmoid(Unary):
    """1 / (1 + exp(-x)), computed from exp(-|x|) so that it never overflows."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, np.ones((), x.dtype), e) / (1 + e)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (sigmoid_grad(g, out),)

    def flops(self, out: Shaped, *_: Any) -> int:
        return 4 * super().flops(out)


class SigmoidGrad(ActivationGrad):
    """g y (1 - y)"""

    flops_per_element = 3

    def reference(self, g: np.ndarray, y: np.ndarray) -> np.ndarray:
        return g * y * (1 - y)


class Tanh(Unary):
    """Hyperbolic tangent."""

    ufunc = reference = np.tanh

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (tanh_grad(g, out),)


class TanhGrad(ActivationGrad):
    """g (1 - y^2)"""

    flops_per_element = 3

    @staticmethod
    def reference(g: np.ndarray, y: np.ndarray) -> np.ndarray:
        return g * (1 - y * y)

    ufunc = reference


class GELU(Unary):
    """x Phi(x), Phi the normal distribution function, exact ("none") or by tanh. Hendrycks, Gimpel 2016, section 2."""

    name = "gelu"

    def shape(self, x: Shaped, approximate: str) -> Spec:
        if approximate not in GELU_FORMS:
            raise ValueError(f"gelu: unknown approximate={approximate!r}; known: {', '.join(GELU_FORMS)}")
        return super().shape(x)

    def reference(self, x: np.ndarray, approximate: str) -> np.ndarray:
        if approximate == "none":
            return x * normal_cdf(x)
        return 0.5 * x * (1 + np.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x**3)))

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, approximate: str) -> tuple:
        return (gelu_grad(g, x, approximate=approximate),)

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return 8 * super().flops(out)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for form in GELU_FORMS:
            for sample in super().samples(rng):
                yield Sample(sample.arrays, {"approximate": form})


class GELUGrad(ActivationGrad):
    """g times the derivative of GELU at x."""

    name = "gelu_grad"
    flops_per_element = 14

    def reference(self, g: np.ndarray, x: np.ndarray, approximate: str) -> np.ndarray:
        if approximate == "none":
            return g * (normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))
        t = np.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x**3))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x))

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for form in GELU_FORMS:
            for sample in super().samples(rng):
                yield Sample(sample.arrays, {"approximate": form})


def normal_cdf(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf  # imported here: only this one formula wants SciPy

    return (0.5 * (1 + erf(x / math.sqrt(2)))).astype(x.dtype, copy=False)


class OverAxis(Unary):
    """A unary op that normalises along one axis."""

    flops_per_element = 4

    def shape(self, x: Shaped, axis: int) -> Spec:
        if not -len(x.shape) <= axis < len(x.shape):
            raise ValueError(f"{self.name}: x is {x.shape}, it has no axis {axis}; choose one below {len(x.shape)}")
        return super().shape(x)

    def flops(self, out: Shaped, *_: Any, **__: Any) -> int:
        return self.flops_per_element * super().flops(out)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape, axis in (((3, 5), -1), ((4,), 0), ((2, 3, 4), 1), ((2, 1), 1), ((0, 4), -1), ((9, 37), -1)):
            yield Sample((normal(rng, *shape),), {"axis": axis})


class OverAxisGrad(ActivationGrad):
    """Gradient of an op that normalises along one axis, from its output y."""

    flops_per_element = 4
    normalise: Op

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in self.normalise.samples(rng):
            y = self.normalise.reference(*sample.arrays, **sample.params)
            yield Sample((normal(rng, *y.shape), y), sample.params)


class Softmax(OverAxis):
    """exp(x) / sum exp(x) along the axis, shifted by the maximum so that it never overflows."""

    def reference(self, x: np.ndarray, axis: int) -> np.ndarray:
        e = np.exp(x - x.max(axis, keepdims=True)) if x.size else np.exp(x)
        return e / e.sum(axis, keepdims=True)

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, axis: int) -> tuple:
        return (softmax_grad(g, out, axis=axis),)


class LogSoftmax(OverAxis):
    """x - log sum exp(x) along the axis, shifted by the maximum."""

    def reference(self, x: np.ndarray, axis: int) -> np.ndarray:
        shifted = x - x.max(axis, keepdims=True) if x.size else x
        return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, axis: int) -> tuple:
        return (log_softmax_grad(g, out, axis=axis),)


relu, relu_grad, sigmoid, sigmoid_grad = ReLU(), ReLUGrad(), Sigmoid(), SigmoidGrad()
tanh, tanh_grad, gelu, gelu_grad = Tanh(), TanhGrad(), GELU(), GELUGrad()
softmax, log_softmax = Softmax(), LogSoftmax()


class SoftmaxGrad(OverAxisGrad):
    """y (g - sum(g y))"""

    normalise = softmax

    def reference(self, g: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return y * (g - (g * y).sum(axis, keepdims=True))


class LogSoftmaxGrad(OverAxisGrad):
    """g - exp(y) sum(g)"""

    normalise = log_softmax

    def reference(self, g: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return g - np.exp(y) * g.sum(axis, keepdims=True)


softmax_grad, log_softmax_grad = SoftmaxGrad(), LogSoftmaxGrad()
