"""The layers whose weights can be packed, and what of a weight is an output channel. Nothing here changes a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinytorch.core.layers import Layer, Linear, Packed
from tinytorch.core.spatial import Conv2d
from tinytorch.core.tensor import Tensor
from tinytorch.engine.formats import Format, Int8, Sparse


class Weighted(NamedTuple):
    """A layer with a weight: its dotted name, and the axes of the weight that hold output and input channels."""

    name: str
    layer: Linear | Conv2d
    out_axis: int
    in_axis: int


def weighted_layers(model: Layer) -> Iterator[Weighted]:
    """Every Linear (weight (in, out)) and Conv2d (weight (out, in / groups, kh, kw)) of a model, in its own order."""
    for name, layer in model.named_modules():
        if isinstance(layer, Linear):
            yield Weighted(name, layer, 1, 0)
        elif isinstance(layer, Conv2d):
            yield Weighted(name, layer, 0, 1)


def require_weights(operation: str, model: Layer) -> list[Weighted]:
    """The weighted layers; ValueError where there are none."""
    found = list(weighted_layers(model))
    if not found:
        raise ValueError(f"{operation}: {type(model).__name__} has no Linear or Conv2d layer, so no weight to work on")
    return found


def stored(weight: Tensor) -> np.ndarray | Int8:
    """A weight without sparsity: its array, or its int8 codes where it is quantised."""
    if not isinstance(weight, Packed):
        return weight.data
    codes: Int8 | None = weight.format.codes8
    return weight.data if codes is None else codes


def is_sparse(weight: Tensor) -> bool:
    return isinstance(weight, Packed) and isinstance(weight.format, Sparse)


def weight_tensor(value: np.ndarray | Format) -> Tensor:
    """An array or a format as the tensor a layer holds."""
    return Packed(value) if isinstance(value, Format) else Tensor(value, requires_grad=True)


def smaller(weight: np.ndarray | Int8, axis: int) -> np.ndarray | Format:
    """A weight in its own format or the sparse one, whichever stores it in fewer bytes."""
    sparse = Sparse.pack(weight, axis)
    return sparse if sparse.nbytes < weight.nbytes else weight
