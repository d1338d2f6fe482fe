"""Pruning: leaving out what contributes least, single weights, whole blocks or whole channels.

`magnitude_prune` zeroes weights and stores the rest sparsely; `block_prune` zeroes blocks, which the kernels then skip;
`channel_prune` removes channels physically, so that shapes, FLOPs and bytes shrink whatever the kernels can do. All
take float32 and int8 weights. Left out: fine-tuning afterwards (`finetuning.py`).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import numpy as np

from tinytorch.core.activations import GELU, ReLU, Sigmoid, Tanh
from tinytorch.core.layers import Dropout, Flatten, Layer, Linear, Sequential
from tinytorch.core.spatial import AvgPool2d, BatchNorm2d, Conv2d, MaxPool2d
from tinytorch.core.tensor import Tensor
from tinytorch.engine.block_sparse import BlockSparse, as_weight, by_channels, spread, summed
from tinytorch.engine.formats import Format, Int8, Sparse
from tinytorch.perf.weighted import (
    Weighted,
    is_sparse,
    require_weights,
    smaller,
    stored,
    weight_tensor,
    weighted_layers,
)

# What may stand between two weighted layers when channels are removed: these treat every channel alone.
PER_CHANNEL = (ReLU, Sigmoid, Tanh, GELU, Dropout, MaxPool2d, AvgPool2d, BatchNorm2d, Flatten)

Scope = Literal["global", "layer"]


def magnitude_prune(model: Layer, sparsity: float, scope: Scope = "global") -> Layer:
    """A copy of `model` in which a share `sparsity` of the weights, the smallest in magnitude, are zero. Biases stay.

    "global" compares the weights of all layers, "layer" prunes each layer alike. A weight is stored sparsely where that
    takes fewer bytes. Han et al. 2015. Raises ValueError for a sparsity outside [0, 1) and for models without weights.
    """
    changed = copy.deepcopy(model)
    for group in compared("magnitude_prune", changed, sparsity, scope):
        magnitudes = np.concatenate([np.abs(one.layer.weight.data).ravel() for one in group])
        kept = np.ones(magnitudes.size, bool)
        kept[np.argsort(magnitudes, kind="stable")[: int(sparsity * magnitudes.size)]] = False
        masks = np.split(kept, np.cumsum([one.layer.weight.size for one in group])[:-1])
        for one, mask in zip(group, masks):
            one.layer.weight = weight_tensor(masked(one, mask.reshape(one.layer.weight.shape)))
    return changed


def compared(operation: str, model: Layer, sparsity: float, scope: str) -> list[list[Weighted]]:
    """The weighted layers in groups, of which each loses the share `sparsity` of what is weakest in it."""
    share(operation, "sparsity", sparsity)
    if scope not in ("global", "layer"):
        raise ValueError(f"{operation}: unknown scope {scope!r}; known: global, layer")
    weighted = require_weights(operation, model)
    return [weighted] if scope == "global" else [[one] for one in weighted]


def masked(one: Weighted, mask: np.ndarray) -> np.ndarray | Format:
    """A layer's weight with only what the mask keeps, in the smaller of its own format and the sparse one."""
    weight = stored(one.layer.weight)
    full = replace(weight, codes=weight.codes * mask) if isinstance(weight, Int8) else weight * mask
    return smaller(full, one)


def block_prune(model: Layer, sparsity: float, scope: Scope = "global") -> Layer:
    """A copy of `model` in which up to a share `sparsity` of the weights are zero, a block at a time. Biases stay.

    Blocks are those of `engine/block_sparse.py`; first go those whose weights have the smallest mean square, but every
    layer keeps its strongest. `scope`, formats and errors as for `magnitude_prune`. Narang, Undersander
    and Diamos 2017 (arXiv:1711.02782) prune by blocks as well, by their largest weight.
    """
    changed = copy.deepcopy(model)
    for group in compared("block_prune", changed, sparsity, scope):
        sizes = [summed(by_channels(np.ones(one.layer.weight.shape), one.out_axis, one.channels)) for one in group]
        strengths = [strength(one) / size for one, size in zip(group, sizes)]
        for one in strengths:
            one.flat[one.argmax()] = np.inf
        weakest = np.argsort(np.concatenate([one.ravel() for one in strengths]), kind="stable")
        gone = np.cumsum(np.concatenate([size.ravel() for size in sizes])[weakest])
        kept = np.ones(weakest.size, bool)
        kept[weakest[gone <= sparsity * gone[-1]]] = False
        masks = np.split(kept, np.cumsum([one.size for one in strengths])[:-1])
        for one, strong, mask in zip(group, strengths, masks):
            shape = by_channels(one.layer.weight.data, one.out_axis, one.channels).shape
            wide = spread((mask | np.isinf(strong.ravel())).reshape(strong.shape), shape)
            one.layer.weight = weight_tensor(masked(one, as_weight(wide, one.out_axis, one.layer.weight.shape)))
    return changed


def strength(one: Weighted) -> np.ndarray:
    """Sums of squares of the weights of each block."""
    return summed(np.square(by_channels(one.layer.weight.data.astype(np.float64), one.out_axis, one.channels)))


def channel_prune(model: Layer, fraction: float) -> Layer:
    """A copy of a Sequential without the share `fraction` of the output channels of each weighted layer but the last.

    Each layer loses the channels whose weights have the smallest L1 norm (Li et al. 2017) and keeps at least one; the
    layers up to the next weighted one follow, and its inputs. Raises ValueError for a fraction outside [0, 1), for
    grouped convolutions and for layers that mix channels between two weighted ones; TypeError where the model is no
    Sequential.
    """
    share("channel_prune", "fraction", fraction)
    if not isinstance(model, Sequential):
        raise TypeError(
            f"channel_prune: {type(model).__name__} is no Sequential, so which layer feeds which is unknown; "
            "prune it by magnitude"
        )
    changed = copy.deepcopy(model)
    weighted = require_weights("channel_prune", changed)
    order = [layer for layer in changed.modules() if not isinstance(layer, Sequential) and not has_children(layer)]
    places = [next(i for i, layer in enumerate(order) if layer is one.layer) for one in weighted]
    for this, following, start, stop in zip(weighted, weighted[1:], places, places[1:]):
        kept = strongest_channels(this, fraction)
        if len(kept) < this.layer.weight.shape[this.out_axis]:
            remove_channels(this, order[start + 1 : stop], following, kept)
    return changed


def has_children(layer: Layer) -> bool:
    return any(True for _ in layer.named_children())


def strongest_channels(one: Weighted, fraction: float) -> np.ndarray:
    """Indices of the output channels to keep, ascending."""
    others = tuple(i for i in range(one.layer.weight.ndim) if i != one.out_axis)
    norms = np.abs(one.layer.weight.data).sum(others)
    dropped = min(int(fraction * norms.size), norms.size - 1)
    return np.sort(np.argsort(norms, kind="stable")[dropped:])


def remove_channels(this: Weighted, between: list[Layer], following: Weighted, kept: np.ndarray) -> None:
    """Keep only the output channels `kept` of a layer, in it and in whatever reads them."""
    for one in (this, following):
        if isinstance(one.layer, Conv2d) and one.layer.groups != 1:
            raise ValueError(f"channel_prune: layer {one.name} has {one.layer.groups} groups; prune it by magnitude")
    channels = this.layer.weight.shape[this.out_axis]
    for layer in between:
        if not isinstance(layer, PER_CHANNEL):
            raise ValueError(
                f"channel_prune: {type(layer).__name__} after layer {this.name} mixes channels; prune by magnitude"
            )
        if isinstance(layer, BatchNorm2d):
            layer.gamma, layer.beta = (Tensor(p.data[kept], requires_grad=True) for p in (layer.gamma, layer.beta))
            layer.running_mean, layer.running_var = layer.running_mean[kept], layer.running_var[kept]
    this.layer.weight = taken(this.layer.weight, kept, this.out_axis)
    if this.layer.bias is not None:
        this.layer.bias = Tensor(this.layer.bias.data[kept], requires_grad=True)
    inputs = kept
    if isinstance(this.layer, Conv2d) and isinstance(following.layer, Linear):  # flattened: each channel feeds several
        inputs = np.arange(following.layer.in_features).reshape(channels, -1)[kept].ravel()
    following.layer.weight = taken(following.layer.weight, inputs, following.in_axis)


def taken(weight: Tensor, kept: np.ndarray, axis: int) -> Tensor:
    """A weight with only the slices `kept` along an axis, in the format it had."""
    value = stored(weight)
    if isinstance(value, Int8):
        scale = value.scale[kept] if axis == value.axis else value.scale
        left: np.ndarray | Int8 = replace(value, codes=value.codes.take(kept, axis), scale=scale)
    else:
        left = value.take(kept, axis)
    if not is_sparse(weight):
        return weight_tensor(left)
    held: Sparse = weight.format  # type: ignore[attr-defined]
    if isinstance(held, BlockSparse):
        channels = held.channels if axis == held.axis else held.channels * len(kept) // held.shape[axis]
        return weight_tensor(BlockSparse.pack(left, held.axis, held.grid, channels))
    return weight_tensor(Sparse.pack(left, held.axis, held.grid))


def measure_sparsity(model: Layer) -> float:
    """Share of the weights of all Linear and Conv2d layers that are zero; 0 for a model without weights."""
    weights = [one.layer.weight.data for one in weighted_layers(model)]
    total = sum(w.size for w in weights)
    return sum(w.size - np.count_nonzero(w) for w in weights) / total if total else 0.0


def share(operation: str, name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(
            f"{operation}: {name} is {value}; it is a share of what there is: choose it from 0 up to below 1"
        )
