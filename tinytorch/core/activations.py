"""Activation layers; each is one op, whose mathematics stands in `engine.ops.activation`."""

from __future__ import annotations

from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor, apply, floating
from tinytorch.engine import ops


class ReLU(Layer):
    """max(x, 0)"""

    def forward(self, x: Tensor) -> Tensor:
        return apply(ops.relu, floating(x))


class Sigmoid(Layer):
    """1 / (1 + exp(-x))"""

    def forward(self, x: Tensor) -> Tensor:
        return apply(ops.sigmoid, floating(x))


class Tanh(Layer):
    """Hyperbolic tangent"""

    def forward(self, x: Tensor) -> Tensor:
        return apply(ops.tanh, floating(x))


class GELU(Layer):
    """x Phi(x), exactly or with approximate="tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: unknown approximate={approximate!r}; known: none, tanh")
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return apply(ops.gelu, floating(x), approximate=self.approximate)


class Softmax(Layer):
    """exp(x) / sum exp(x) along `dim`; the course passes `dim` with the call."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Tensor, dim: int | None = None) -> Tensor:
        return apply(ops.softmax, floating(x), axis=self.dim if dim is None else dim)


class LogSoftmax(Layer):
    """log softmax(x) along `dim`"""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Tensor, dim: int | None = None) -> Tensor:
        return apply(ops.log_softmax, floating(x), axis=self.dim if dim is None else dim)


__all__ = ["GELU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]
