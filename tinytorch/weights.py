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
from tinytorch.engine.formats import Format, Grid, Int8, Sparse
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
            values[name] = Packed(unpack(path, name, packed[name], arrays))
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


def describe(format: Format) -> dict[str, Any]:
    """What of a format is not an array, for the file's metadata."""
    about: dict[str, Any] = {
        "kind": format.kind,
        "axis": format.axis,
        "grid": list(format.grid) if format.grid else None,
    }
    return {**about, "shape": list(format.full_shape)} if isinstance(format, Sparse) else about


def unpack(path: str | os.PathLike, name: str, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Format:
    """The format that `describe` and the entries `name.*` make up; its entries are taken out of `arrays`."""
    try:
        grid = Grid(float(about["grid"][0]), int(about["grid"][1])) if about["grid"] else None
        axis = int(about["axis"])
        packed: Format
        if about["kind"] == Int8.kind:
            packed = Int8(grid, arrays.pop(f"{name}.codes"), arrays.pop(f"{name}.scale"), axis)
        elif about["kind"] == Sparse.kind:
            shape = tuple(map(int, about["shape"]))
            values, bits = arrays.pop(f"{name}.values"), arrays.pop(f"{name}.bits")
            packed = Sparse(grid, values, bits, shape, arrays.pop(f"{name}.scale", None), axis)
        else:
            raise ValueError(f"unknown kind {about['kind']!r}; known: {Int8.kind}, {Sparse.kind}")
        check(packed)
        return packed
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WeightsError(f"{path}: packed weight {name} is damaged ({error!r}); copy or save it again") from error


def check(packed: Int8 | Sparse) -> None:
    """ValueError where the parts of a packed weight do not fit together: it fails here and not later in the model."""
    whole = packed.codes.dtype == np.int8 if isinstance(packed, Int8) else check_sparse(packed)
    channels = packed.shape[packed.axis]
    scaled = packed.scale is None or (packed.scale.dtype == np.float32 and packed.scale.shape == (channels,))
    grid = packed.grid is None or (0 < packed.grid.scale < np.inf and 0 <= packed.grid.zero_point <= 255)
    if not (whole and scaled and grid):
        raise ValueError("codes, scale or grid do not fit together")


def check_sparse(packed: Sparse) -> bool:
    """Whether there is a value for each bit that is set, and a bit for each weight."""
    kept, dtype = packed.bits, np.int8 if packed.scale is not None else np.float32
    if min(packed.full_shape) < 0 or kept.dtype != np.uint8 or kept.size != -(-packed.size // 8):
        return False
    count = int(np.unpackbits(kept, count=packed.size).sum())
    return packed.values.dtype == dtype and packed.values.shape == (count,)


def sha256(path: str | os.PathLike) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
