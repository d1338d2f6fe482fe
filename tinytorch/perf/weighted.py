"""The layers whose weights can be packed, and what of a weight is an output channel. Nothing here changes a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tinytorch.core.layers import Flatten, Layer, Linear, Packed
from tinytorch.core.spatial import Conv2d
from tinytorch.core.tensor import Tensor
from tinytorch.engine.block_sparse import BlockSparse, Execution
from tinytorch.engine.formats import Format, Int8, Sparse


class Weighted(NamedTuple):
    """A layer with a weight: its dotted name, and the axes of the weight that hold output and input channels.

    `channels`: how many input channels there are; those of the image where a linear layer follows its flattening.
    """

    name: str
    layer: Linear | Conv2d
    out_axis: int
    in_axis: int
    channels: int


def weighted_layers(model: Layer) -> Iterator[Weighted]:
    """Every Linear (weight (in, out)) and Conv2d (weight (out, in / groups, kh, kw)) of a model, in its own order."""
    image = flattened = 0  # channels of the last convolution's result, and of what was flattened last
    for name, layer in model.named_modules():
        if isinstance(layer, Flatten):
            image, flattened = 0, image
        elif isinstance(layer, Linear):
            inputs = layer.weight.shape[0]
            yield Weighted(name, layer, 1, 0, flattened if flattened and inputs % flattened == 0 else inputs)
            image = flattened = 0
        elif isinstance(layer, Conv2d):
            yield Weighted(name, layer, 0, 1, layer.weight.shape[1])
            image, flattened = layer.weight.shape[0], 0


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


def with_formats(model: Layer, change: Callable[[Format], Format]) -> Layer:
    """A copy of a model with each of its packed weights as `change` makes it."""
    changed = copy.deepcopy(model)
    for layer in changed.modules():
        for attribute, parameter in list(vars(layer).items()):
            if isinstance(parameter, Packed):
                setattr(layer, attribute, Packed(change(parameter.format)))
    return changed


def executed(model: Layer, execution: Execution) -> Layer:
    """A copy of a model whose block-sparse weights are all computed with in this way."""

    def change(format: Format) -> Format:
        return replace(format, execution=execution) if isinstance(format, BlockSparse) else format

    return with_formats(model, change)


def skips_blocks(weight: Tensor) -> bool:
    """Whether a weight may be computed with as it is, without the blocks that are zero."""
    return isinstance(weight, Packed) and isinstance(weight.format, BlockSparse) and weight.format.execution != "dense"


def weight_tensor(value: np.ndarray | Format) -> Tensor:
    """An array or a format as the tensor a layer holds."""
    return Packed(value) if isinstance(value, Format) else Tensor(value, requires_grad=True)


def smaller(weight: np.ndarray | Int8, one: Weighted) -> np.ndarray | Format:
    """A layer's weight in its own format or a sparse one, whichever stores it in fewest bytes."""
    sparse = Sparse.pack(weight, one.out_axis), BlockSparse.pack(weight, one.out_axis, channels=one.channels)
    return min((weight, *sparse), key=lambda form: form.nbytes)
