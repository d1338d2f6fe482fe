"""Batch norm folded into the weights before it: the first step of quantisation, so one scale a channel covers both.

In evaluation a batch norm is y = s z + t with s = gamma / sqrt(var + eps) and t = beta - mean s. Behind z = x w + b
that is x (s w) + (s b + t). Jacob et al. 2018, section 3.2. Left out: models whose order of layers is unknown.
"""

from __future__ import annotations

import copy

import numpy as np

from tinytorch.core.layers import Layer, Sequential
from tinytorch.core.spatial import BatchNorm2d
from tinytorch.core.tensor import Tensor
from tinytorch.engine.formats import Int8
from tinytorch.perf.weighted import Weighted, is_sparse, smaller, stored, weight_tensor, weighted_layers


def fold_batch_norm(model: Layer) -> Layer:
    """A copy of `model` in which each BatchNorm2d right behind a float32 weight of a Sequential has become part of it;
    a weight stored sparsely stays so.

    In evaluation mode the copy computes the same up to rounding. An empty Sequential, which passes its input on, stands
    where a batch norm was, so that the other layers keep their names. What cannot be folded stays.
    """
    changed = copy.deepcopy(model)
    weighted = {id(one.layer): one for one in weighted_layers(changed)}
    uses = [id(layer) for owner in changed.modules() for _, layer in owner.named_children()]
    for owner in list(changed.modules()):
        if not isinstance(owner, Sequential):
            continue
        for i, (before, norm) in enumerate(zip(owner.layers, owner.layers[1:]), start=1):
            one = weighted.get(id(before))
            if one is None or not isinstance(norm, BatchNorm2d) or isinstance(stored(one.layer.weight), Int8):
                continue
            if uses.count(id(before)) == 1:
                absorb(one, norm)
                owner.layers[i] = Sequential().eval()
    return changed


def absorb(one: Weighted, norm: BatchNorm2d) -> None:
    """Scale and shift a layer's weight and bias as the batch norm behind it would its result; in float64, once."""
    scale = norm.gamma.data.astype(np.float64) / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    along = [1] * one.layer.weight.ndim
    along[one.out_axis] = -1
    bias = 0.0 if one.layer.bias is None else one.layer.bias.data.astype(np.float64)
    weight = (one.layer.weight.data * scale.reshape(along)).astype(np.float32)
    one.layer.weight = weight_tensor(smaller(weight, one) if is_sparse(one.layer.weight) else weight)
    shifted = (bias - norm.running_mean) * scale + norm.beta.data
    one.layer.bias = Tensor(shifted.astype(np.float32), requires_grad=True)
