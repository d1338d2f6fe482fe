"""Layer, the base of all models, and the layers that need no image: Linear, Dropout, Flatten, Sequential.

A layer's parameters are its Tensor attributes, its children its Layer attributes (also in lists, tuples and dicts),
found by looking. So a subclass only assigns them in `__init__` and need not call `super().__init__()`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinytorch.core.autograd import no_grad
from tinytorch.core.tensor import Tensor, apply
from tinytorch.engine import dispatch, ops
from tinytorch.engine.formats import Format

KEYS = 2**63 - 1  # how many keys there are for the masks of dropout


class Packed(Tensor):
    """A weight held in a weight format instead of an array. `.data` is the array it stands for. No gradient."""

    __slots__ = ("format",)

    format: Format

    def __init__(self, format: Format) -> None:
        super().__init__(format.array)
        self.format = format

    @property
    def operand(self) -> Format:
        return self.format

    def __deepcopy__(self, memo: dict) -> Packed:
        return Packed(self.format)  # formats are immutable, so copies may share them


class Layer:
    """Base of layers and models (PyTorch's nn.Module). Subclasses define `forward`."""

    training: bool = True
    buffers: tuple[str, ...] = ()  # names of NumPy attributes that are saved with the parameters

    def forward(self, *inputs: Any) -> Any:
        raise TypeError(f"{type(self).__name__}: no forward() defined; define forward(self, x) in the class")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if not dispatch.watchers:
            return self.forward(*inputs, **options)
        with dispatch.scope(self):
            return self.forward(*inputs, **options)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The answer to an array as an array, without recording gradients; what a plan captures and a harness times."""
        with no_grad():
            return self(Tensor(x)).data

    # -- what is inside -----------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Layer]]:
        """Layers directly inside, with the attribute (and position) that holds them."""
        for name, value in vars(self).items():
            yield from layers_in(name, value)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """This layer and all below, each once, depth first, with dotted names."""
        seen: set[int] = set()
        stack: list[tuple[str, Layer]] = [(prefix, self)]
        while stack:
            name, layer = stack.pop()
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            yield name, layer
            stack += reversed(
                [(f"{name}.{child}" if name else child, below) for child, below in layer.named_children()]
            )

    def modules(self) -> Iterator[Layer]:
        return (layer for _, layer in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """All Tensor attributes of this layer and those below, each once."""
        seen: set[int] = set()
        for prefix, layer in self.named_modules():
            for name, value in vars(layer).items():
                if isinstance(value, Tensor) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{prefix}.{name}" if prefix else name, value

    def parameters(self) -> list[Tensor]:
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, np.ndarray]]:
        for prefix, layer in self.named_modules():
            yield from ((f"{prefix}.{name}" if prefix else name, getattr(layer, name)) for name in layer.buffers)

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name."""
        state = {name: parameter.data.copy() for name, parameter in self.named_parameters()}
        return {**state, **{name: buffer.copy() for name, buffer in self.named_buffers()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over all values, or none: KeyError for names missing or unknown, ValueError for a shape that differs."""
        targets = {name: parameter.data for name, parameter in self.named_parameters()}
        targets.update(self.named_buffers())
        missing, unknown = sorted(targets.keys() - state.keys()), sorted(state.keys() - targets.keys())
        if missing or unknown:
            raise KeyError(
                f"load_state_dict: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}; "
                "build the model with the settings it was saved with"
            )
        values = {name: np.asarray(getattr(v, "data", v) if isinstance(v, Tensor) else v) for name, v in state.items()}
        for name, value in values.items():
            if value.shape != targets[name].shape:
                raise ValueError(
                    f"load_state_dict: {name} is {value.shape} in the state, {targets[name].shape} in the model; "
                    "build the model with the settings it was saved with"
                )
        packed = {name for name, parameter in self.named_parameters() if isinstance(parameter, Packed)}
        if packed:
            raise ValueError(f"load_state_dict: {sorted(packed)} are packed weights; load into the unpacked model")
        for name, value in values.items():
            targets[name][...] = value

    def train(self, mode: bool = True) -> Layer:
        for layer in self.modules():
            layer.training = mode
        return self

    def eval(self) -> Layer:
        return self.train(False)

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.zero_grad()

    def extra_repr(self) -> str:
        """What stands between the brackets of the layer's repr."""
        return ""

    def __repr__(self) -> str:
        children = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        return "\n".join([f"{type(self).__name__}(", *children, ")"])


def layers_in(name: str, value: Any) -> Iterator[tuple[str, Layer]]:
    """The layers that a value is or contains, lists, tuples and dicts inside each other included."""
    if isinstance(value, Layer):
        yield name, value
    elif isinstance(value, list | tuple | dict):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from layers_in(f"{name}.{key}", item)


def uniform_parameter(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """Uniform in +-1/sqrt(fan_in), PyTorch's default start; drawn from NumPy's global generator."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Tensor(np.random.uniform(-bound, bound, shape).astype(np.float32), requires_grad=True)


class Linear(Layer):
    """x (..., in_features) -> x weight + bias (..., out_features); weight (in_features, out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.weight = uniform_parameter((in_features, out_features), in_features)
        self.bias = uniform_parameter((out_features,), in_features) if bias else None

    @property
    def in_features(self) -> int:
        return self.weight.shape[0]

    @property
    def out_features(self) -> int:
        return self.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        return apply(ops.linear, x, self.weight) if self.bias is None else apply(ops.linear, x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Dropout(Layer):
    """In training, each element is 0 with probability p and otherwise divided by 1 - p; in evaluation nothing happens.

    Srivastava et al. 2014. Each call draws a key for its mask from NumPy's global generator, or from one with `seed`.
    """

    def __init__(self, p: float = 0.5, seed: int | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is {p}, it is a probability: choose it from 0 to 1")
        self.p = p
        self.rng = None if seed is None else np.random.default_rng(seed)

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        if self.p == 0 or not (self.training if training is None else training):
            return x
        return apply(ops.dropout, x, Tensor(np.asarray(self.draw(), np.int64)), p=float(self.p))

    def draw(self) -> int:
        """The key of the next mask."""
        return int(self.rng.integers(KEYS) if self.rng else np.random.randint(KEYS, dtype=np.int64))

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Layer):
    """x (N, ...) -> (N, everything else)."""

    def __init__(self, start_dim: int = 1) -> None:
        self.start_dim = start_dim

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim)


class Scale(Layer):
    """x times a constant; on logits, one below 1 keeps a network from being sure too soon."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:.4g}"


class Sequential(Layer):
    """Layers one after another: `Sequential(a, b)` or `Sequential([a, b])`."""

    def __init__(self, *layers: Any) -> None:
        self.layers = list(layers[0]) if len(layers) == 1 and isinstance(layers[0], list | tuple) else list(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def named_children(self) -> Iterator[tuple[str, Layer]]:
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def __getitem__(self, i: int) -> Layer:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)
