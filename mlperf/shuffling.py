"""Weights in another order: for the audit that asks whether a candidate uses its weights at all.

Every stored array keeps its shape, dtype and values, so that speed should stay; what the network knew is gone. The bits
that say where a sparse weight's values belong stay, so that as much is skipped as before.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from profiler.cost import parameters
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor

FEW = 100  # parameters
STRUCTURE = ".bits"  # of `tinytorch.engine.formats.Sparse`: which weights are stored


def shuffled(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same values at other places."""
    return rng.permutation(array.reshape(-1)).reshape(array.shape)


def shuffle_file(path: Path, out: Path, seed: int) -> None:
    """Write a safetensors file with the values of each array shuffled; metadata stay."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        metadata = file.metadata()
    changed = {
        name: array if name.endswith(STRUCTURE) else np.ascontiguousarray(shuffled(array, rng))
        for name, array in arrays.items()
    }
    save_file(changed, out, metadata)


def turn_round(model: Layer) -> None:
    """Turn the sign of all that the last layer with weights gives, in place: what was likeliest is least likely."""
    last = [layer for layer in model.modules() if isinstance(getattr(layer, "weight", None), Tensor)][-1]
    for _, parameter in last.named_parameters():
        parameter.data[...] = -parameter.data


def disturb(model: Layer, seed: int) -> None:
    """Make a dense network useless in place: of few weights, which may answer well by luck, the answers are turned."""
    if parameters(model) < FEW:
        turn_round(model)
    else:
        shuffle_model(model, seed)


def shuffle_model(model: Layer, seed: int) -> None:
    """Shuffle the values of each parameter and buffer of a dense network in place."""
    rng = np.random.default_rng(seed)
    for _, parameter in model.named_parameters():
        parameter.data[...] = shuffled(parameter.data, rng)
    for _, buffer in model.named_buffers():
        buffer[...] = shuffled(buffer, rng)
