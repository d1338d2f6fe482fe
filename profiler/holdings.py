"""What memory is for: parameters, buffers, gradients, an optimizer's state, activations kept for backward.

Found by looking, like a layer's parameters. Memory is counted once however many arrays show it, and whole where only a
view of it is kept, since the whole is what stays. Left out: Python's own objects (some 500 bytes for an op on the
tape), what kernels pack for themselves, and memory that is used and given back (`timeline.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinytorch.core.autograd import sorted_nodes
from tinytorch.core.layers import Layer, Packed
from tinytorch.core.optimizers import Optimizer
from tinytorch.core.tensor import Tensor
from tinytorch.engine.formats import Format


class Holdings(NamedTuple):
    """Bytes that are held; nothing is in two of the figures.

    `parameter_bytes`: packed weights by what they store. `buffer_bytes`: the other arrays of layers, such as running
    statistics and tables of positions, and the float32 array that a packed weight keeps of itself. `gradient_bytes`:
    those parameters have at the moment. `optimizer_bytes`: moments and settings. `activation_bytes`: what the tape
    keeps for backward.
    """

    parameter_bytes: int = 0
    buffer_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int = 0
    activation_bytes: int = 0


def holdings(
    model: Layer | None = None, optimizer: Optimizer | None = None, result: Tensor | None = None,
    given: Iterable[Any] = (),
) -> Holdings:  # fmt: skip
    """What is held by a model, an optimizer and the tape behind `result`, such as a loss.

    `given` are arrays and tensors of the caller, such as the batch: the tape holds them too, but they are not its own.
    What is left is freed with `result`.
    """
    counted = Counted()
    counted.bytes_of(given)
    parameters = model.parameters() if model is not None else [] if optimizer is None else optimizer.params
    layers = [] if model is None else list(model.modules())
    return Holdings(
        parameter_bytes=counted.bytes_of(p.format if isinstance(p, Packed) else p for p in parameters),
        buffer_bytes=counted.bytes_of(value for layer in layers for value in vars(layer).values()),
        gradient_bytes=counted.bytes_of(p.grad for p in parameters),
        optimizer_bytes=0 if optimizer is None else counted.bytes_of(vars(optimizer).values()),
        activation_bytes=0 if result is None else counted.bytes_of(on_tape(result)),
    )


def on_tape(result: Tensor) -> Iterator[Any]:
    """Every array that a tensor keeps alive through how it was made, its own included."""
    yield result
    for node in sorted_nodes(result._grad_fn) if result._grad_fn is not None else ():
        yield from (node.inputs, node.arrays, node.params, node.out)


class Counted:
    """Memory that was counted, by who owns it."""

    def __init__(self) -> None:
        self.owners: dict[int, np.ndarray] = {}  # kept while counting, or a new array could have an old one's id

    def bytes_of(self, values: Iterable[Any]) -> int:
        """Bytes of all arrays in these values, without those counted before."""
        total = 0
        for array in arrays_in(list(values)):
            owner = owner_of(array)
            if id(owner) not in self.owners:
                self.owners[id(owner)] = owner
                total += owner.nbytes
        return total


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """The arrays that a value is or contains: of tensors the data, of packed weights what they store."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Tensor):
        yield value.data
    elif isinstance(value, Format):
        yield from value.arrays().values()
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(item)


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array whose memory this one shows, itself unless it is a view: the last one among its bases."""
    owner, base = array, array.base
    while base is not None:
        if isinstance(base, np.ndarray):
            owner = base
        base = getattr(base, "base", None)
    return owner
