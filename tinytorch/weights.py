"""Weights in and out as safetensors, packed formats included: what is on disk is what the format stores, byte for byte.

A dense parameter is one entry under its name. A packed one is an entry for each of its arrays (`0.weight.codes`), and
its kind, axis and grid stand in the file's metadata. Nothing is pickled, so a file can only ever contain numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tinytorch.core.layers import Layer, Packed
from tinytorch.core.tensor import Tensor
from tinytorch.engine.packing import describe, unpack
from tinytorch.files import write_atomically

METADATA = "tinytorch"


class WeightsError(ValueError):
    """A weights file that cannot be used: damaged, or of another model. The model was left as it was."""


def save(model: Layer, path: str | os.PathLike) -> int:
    """Write all parameters and buffers; return the file's size in bytes. The file appears whole or not at all."""
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray] = {}
    packed: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        if isinstance(parameter, Packed):
            arrays.update({f"{name}.{part}": a for part, a in parameter.format.arrays().items()})
            packed[name] = describe(parameter.format)
        else:
            arrays[name] = parameter.data
    arrays.update(model.named_buffers())
    metadata = {METADATA: json.dumps(packed, separators=(",", ":"))} if packed else None
    return write_atomically(path, to_bytes({n: np.ascontiguousarray(a) for n, a in arrays.items()}, metadata))


def load(model: Layer, path: str | os.PathLike, resize: bool = False) -> None:
    """Take over everything from a file, or nothing.

    With `resize`, shapes come from the file (channels may have been pruned away). Raises WeightsError for a damaged
    file, and for entries that are missing, unknown, of another shape, or not floating; FileNotFoundError where there
    is none.
    """
    arrays, packed = read(path)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    values: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        if name in packed:
            try:
                values[name] = Packed(unpack(name, packed[name], arrays))
            except ValueError as error:
                raise WeightsError(f"{path}: {error}; copy or save it again") from error
        elif name in arrays:
            array = arrays.pop(name)
            values[name] = Tensor(array, dtype=parameter.dtype if array.dtype.kind == "f" else array.dtype)
    missing = sorted((parameters.keys() - values.keys()) | (buffers.keys() - arrays.keys()))
    unknown = sorted(arrays.keys() - buffers.keys())
    if missing or unknown:
        raise WeightsError(
            f"{path}: not the weights of this model: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}; "
            "build the model the file was saved from"
        )
    loaded: dict[str, Tensor | np.ndarray] = {**values, **arrays}
    for name, value in loaded.items():
        wanted = parameters[name] if name in parameters else buffers[name]
        if value.dtype != wanted.dtype or (value.shape != wanted.shape and not resize):
            raise WeightsError(
                f"{path}: {name} is {value.dtype} {value.shape} in the file, {wanted.dtype} {wanted.shape} in the "
                "model; build the same model"
            )
    put(model, {id(parameters[name]): value for name, value in values.items()})
    layers = dict(model.named_modules())
    for name, buffer in arrays.items():
        owner, _, attribute = name.rpartition(".")
        setattr(layers[owner], attribute, buffer)


def put(model: Layer, values: dict[int, Tensor]) -> None:
    """Give each parameter its value by identity, so that layers that shared a weight still do.

    A dense one keeps its tensor, which an optimizer may hold; a packed one takes the tensor's place.
    """
    for layer in model.modules():
        for attribute, parameter in list(vars(layer).items()):
            value = values.get(id(parameter))
            if value is None:
                continue
            if isinstance(parameter, Packed) or isinstance(value, Packed):
                setattr(layer, attribute, value)
            else:
                parameter.data, parameter.grad = value.data, None


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and the description of packed weights in a file; WeightsError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such weights file; the milestone scripts write one with --save")
    try:
        with safe_open(path, framework="numpy") as file:
            packed = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); copy or save it again") from error
    if not isinstance(packed, dict):
        raise WeightsError(f"{path}: its metadata describe no weights; copy or save it again")
    return arrays, packed


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
