"""What an entry's `optimize(model, calibration, context)` is given to work with, and what it may keep.

The stages of the pipeline are methods here; each takes a network or what another stage gave, and gives something that
can be called and has `.model`. `optimize` runs once while the entry is built and again in every process that measures
or replays it. What must not run again, training above all, goes through `once` or `taught` (the training of `prune`
does so by itself): its result is kept in a file that travels with the submission, and the file is what runs.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mlperf import pipeline
from mlperf import recipe as settings
from mlperf.entries.source import EntryError
from mlperf.harness import Arm, Query
from mlperf.pipeline import State
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor

FOLDER = "weights"  # where kept files travel beside a submission
SINGLE = "="  # the name in the file of an array that is kept by itself, which no key can be
KEYS = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}"
DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"
)  # fmt: skip

Arrays = TypeVar("Arrays", np.ndarray, dict[str, np.ndarray])


class Optimised:
    """A network made quicker: called with one query it answers. `.model` holds the weights, `.note` says what it is."""

    def __init__(self, state: State) -> None:
        self.state = state

    @property
    def model(self) -> Layer:
        return self.state.model

    @property
    def note(self) -> str:
        return self.state.note

    @property
    def arm(self) -> Arm:
        return self.state.arm

    @property
    def run(self) -> Query:
        """The bare function that answers, to be called from a callable of your own."""
        return self if self.arm.around is not nullcontext else self.arm.run

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """One query, shaped as `context.example`, is answered."""
        with self.state.arm.around():
            return self.state.arm.run(x)


Network = Layer | Optimised


def file_of(name: str) -> str:
    """Where something kept by a name lies beside a submission. Raises EntryError for a name that is no plain one."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,59}", name):
        raise EntryError(f"context: {name!r} is no name to keep something by; use letters, digits, - and _")
    return f"{FOLDER}/{name}.safetensors"


class Kept:
    """The files that an entry keeps, one a name: made while it is built, read wherever it runs again."""

    def __init__(self, folder: Path | str, building: bool) -> None:
        self.folder, self.building = Path(folder), building
        self.used: list[str] = []

    def file(self, name: str, make: Callable[[Path], object]) -> Path:
        """The file of this name, made by `make(path)` while the entry is built. Raises EntryError."""
        path = self.folder / Path(file_of(name)).name
        if name in self.used:
            raise EntryError(f"context: two things are kept as {name!r}; give each a name of its own")
        self.used.append(name)
        if self.building:
            self.folder.mkdir(parents=True, exist_ok=True)
            make(path)
        elif not path.is_file():
            raise EntryError(
                f"context: nothing was kept as {name!r} when the entry was built; `optimize` must ask for the same "
                "names each time"
            )
        return path


@dataclass(frozen=True)
class Context(pipeline.Context):
    """The training data, what belongs to the task, and the stages.

    `x_train`, `y_train` are the training part as stored; `lessons(x, y)` makes of them what the network reads and what
    it should answer, `batches(seed)` a loader. `example` is one query; the answer to it must have the reference's
    shape. `threads` may be used, `seed` is the submission's.
    """

    seed: int = 0
    kept: Kept = field(default_factory=lambda: Kept("kept", building=True))

    # -- the stages ----------------------------------------------------------------------------------------------------

    def quantize(self, net: Network, **options: Any) -> Optimised:
        """int8 weights and uint8 activations, on grids measured with training samples.

        Options as in a recipe: samples, percentile, activations, seed.
        """
        return self._stage(pipeline.quantize, net, settings.Quantize(**options))

    def prune(self, net: Network, **options: Any) -> Optimised:
        """Leave out the smallest weights, the weakest blocks or channels; train what is left if asked to.

        Options as in a recipe: method ("magnitude", "blocks", "channels"), amount, scope, finetune_epochs,
        finetune_lr, seed.
        """
        return self._stage(pipeline.prune, net, settings.Prune(**options))

    def cache(self, net: Network) -> Optimised:
        """Keep what never changes: packed weights, tables, memory; of a text what was read. Never answers."""
        return self._stage(pipeline.cache, net, settings.Cache())

    def accelerate(self, net: Network) -> Optimised:
        """One plan of fused steps, by all threads and with the arithmetic that the weights are stored for.

        Nothing is timed to choose, since the next process might choose otherwise.
        """
        return self._stage(pipeline.accelerate, net, settings.Accelerate(tune=False))

    def eager(self, net: Network) -> Optimised:
        """Op by op on compiled kernels."""
        return Optimised(self._state(net))

    def _state(self, net: Network) -> State:
        return net.state if isinstance(net, Optimised) else pipeline.start(net, self)

    def _stage(self, stage: Callable[[State, Any, pipeline.Context], State], net: Network, config: Any) -> Optimised:
        return Optimised(stage(replace(self._state(net), calibration=None), config, self))

    # -- what is kept --------------------------------------------------------------------------------------------------

    def once(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The array, or arrays by name, that `make()` gives: called while the entry is built, later read from a file.

        Types and shapes come back as they were. Raises EntryError for anything but arrays of numbers or truths.
        """
        from safetensors.numpy import load_file, save_file

        def write(path: Path) -> None:
            save_file(_arrays(name, make()), path)

        found = load_file(self.kept.file(name, write))
        return found.get(SINGLE, found)  # type: ignore[return-value, arg-type]

    def taught(self, name: str, net: Layer, teach: Callable[[Layer], Layer | None]) -> Layer:
        """A copy of a network after `teach(copy)`, which trains it in place or returns another of its kind.

        It is called while the entry is built; later only the weights it left are loaded.
        """
        taught = copy.deepcopy(net)

        def write(path: Path) -> None:
            weights.save(teach(taught) or taught, path)

        path = self.kept.file(name, write)
        result = copy.deepcopy(net)
        weights.load(result, path, resize=True)
        result.eval()
        return result

    def trained(self, model: Layer, epochs: int, lr: float, seed: int) -> Layer:
        """The network after some more epochs on the training part; kept, as by `taught`."""
        name = f"trained-{len(self.kept.used)}"
        return self.taught(name, model, lambda net: pipeline.Context.trained(self, net, epochs, lr, seed))


def _arrays(name: str, made: object) -> dict[str, np.ndarray]:
    """What `once` may keep, as named arrays in memory order. Raises EntryError."""
    if isinstance(made, np.ndarray):
        return {SINGLE: _kept(name, "it", made)}
    if not isinstance(made, Mapping) or not made:
        raise EntryError(
            f"context: `make` gave {type(made).__name__} for {name!r}; an array or a dict of arrays can be kept, a "
            "network by `taught`"
        )
    for key in made:
        if not isinstance(key, str) or not re.fullmatch(KEYS, key):
            raise EntryError(f"context: {name!r} has {key!r} as a key; use letters, digits, dots, - and _")
    return {key: _kept(name, key, one) for key, one in made.items()}


def _kept(name: str, key: str, array: object) -> np.ndarray:
    """An array in memory order, as this machine reads numbers. Raises EntryError."""
    if isinstance(array, Tensor):
        array = array.data
    if not isinstance(array, np.ndarray) or array.dtype.name not in DTYPES:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise EntryError(f"context: {name!r} has {kind} as {key}; arrays of these can be kept: {', '.join(DTYPES)}")
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")
