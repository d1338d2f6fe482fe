"""Checkpoints: one file with the states of all parts of a training, so that it goes on bit by bit where it stopped.

A part is whatever has `state_dict()` and `load_state_dict()`. Their numbers stand in the file as JSON, their arrays as
entries of safetensors (nothing is pickled), and a digest of both tells a damaged file. It is written beside its place
and then moved there, so a process that is killed leaves the checkpoint before. Left out: the middle of an epoch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.files import write_atomically
from tinytorch.weights import WeightsError

METADATA, DIGEST, VERSION = "trainer", "sha256", 2
ARRAY = "$array"  # {ARRAY: name} stands in the JSON for an array of this name
WRONG = (KeyError, ValueError, TypeError, AttributeError)  # what a state that makes no sense raises


class Part(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over all of it, or nothing and raise one of WRONG."""


class Training(Protocol):
    epoch: int
    step: int
    history: dict[str, list[float]]


class Progress:
    """How far a training came: the position of its schedule, and its history."""

    def __init__(self, of: Training) -> None:
        self.of = of

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.of.epoch, "step": self.of.step, "history": self.of.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        missing = sorted(self.of.history.keys() - state["history"].keys())
        if missing:
            raise KeyError(f"its history has no {', '.join(missing)}")
        history = {name: [float(value) for value in values] for name, values in state["history"].items()}
        self.of.epoch, self.of.step, self.of.history = int(state["epoch"]), int(state["step"]), history


class RandomStates:
    """NumPy's global generator and those that layers of a model have, such as dropout's."""

    def __init__(self, model: Layer) -> None:
        self.generators = {
            f"{name}.{attribute}": value
            for name, layer in model.named_modules()
            for attribute, value in vars(layer).items()
            if isinstance(value, np.random.Generator)
        }

    def state_dict(self) -> dict[str, Any]:
        of_layers = {name: rng.bit_generator.state for name, rng in self.generators.items()}
        return {"global": np.random.get_state(legacy=False), "layers": of_layers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        of_layers = state["layers"]
        if of_layers.keys() != self.generators.keys():
            raise KeyError(f"generators of {sorted(of_layers)} in the file, of {sorted(self.generators)} in the model")
        np.random.set_state(state["global"])
        for name, rng in self.generators.items():
            rng.bit_generator.state = of_layers[name]


def save(path: str | os.PathLike, parts: Mapping[str, Part]) -> None:
    """Write the states of all parts, whole or not at all. OSError says what failed."""
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray] = {}
    tree = {name: numbers(part.state_dict(), name, arrays) for name, part in parts.items()}
    text = json.dumps({"version": VERSION, **tree})
    write_atomically(path, to_bytes(arrays, {METADATA: text, DIGEST: digest(text, arrays)}))


def load(path: str | os.PathLike, parts: Mapping[str, Part]) -> None:
    """Give all parts their states from a file, or none: WeightsError for one that is damaged or of other parts."""
    from safetensors import SafetensorError

    touched: list[tuple[Part, dict[str, Any]]] = []
    try:
        states = read(path)
        wanted = parts.keys() - ({"random"} - states.keys())  # an earlier version did not keep it
        if states.keys() != wanted:
            raise ValueError(
                f"it has the states of {', '.join(sorted(states))}; wanted are {', '.join(sorted(wanted))}: give "
                "Trainer an ema, and load_checkpoint a loader, if and only if there was one when it was saved"
            )
        for name, state in states.items():
            touched.append((parts[name], parts[name].state_dict()))
            parts[name].load_state_dict(state)
    except (SafetensorError, *WRONG) as error:
        for part, before in reversed(touched):
            part.load_state_dict(before)
        raise WeightsError(f"{path}: not a checkpoint of this model ({error}); save it again") from error


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The states in a file by the name of their part; SafetensorError or one of WRONG where it is damaged."""
    from safetensors import safe_open

    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: there is no such checkpoint; Trainer.save_checkpoint writes one")
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    text = metadata[METADATA]
    tree = json.loads(text)
    version = tree.pop("version", 1)
    if version == 1:
        return of_version_1(tree, arrays)
    if version != VERSION:
        raise ValueError(f"it has version {version}, known are 1 to {VERSION}: it was saved by a later program")
    if metadata.get(DIGEST) != digest(text, arrays):
        raise ValueError("its digest is wrong, so it was damaged after it was written")
    return {name: whole(state, arrays) for name, state in tree.items()}


def of_version_1(tree: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Model, optimizer and progress, without random states: what was kept before there were versions."""
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "moment": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = array
    optimizer = {"step_count": tree["step_count"], "lr": tree["lr"], "moments": parts["moment"]}
    return {"progress": tree, "model": parts["model"], "optimizer": optimizer}


def digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of all that a checkpoint says."""
    found = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def numbers(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` with its arrays replaced by their names, under which they are put into `arrays`."""
    if isinstance(value, np.ndarray):
        while name in arrays:  # as "a.b" may be a name of its own, or b within a
            name += "_"
        arrays[name] = np.asarray(value, order="C")
        return {ARRAY: name}
    if isinstance(value, Mapping):
        return {key: numbers(inside, f"{name}.{key}", arrays) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [numbers(inside, f"{name}.{i}", arrays) for i, inside in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def whole(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """What `numbers` was given."""
    if isinstance(value, dict):
        return arrays[value[ARRAY]] if ARRAY in value else {key: whole(inside, arrays) for key, inside in value.items()}
    return [whole(inside, arrays) for inside in value] if isinstance(value, list) else value
