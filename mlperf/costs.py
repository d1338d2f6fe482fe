"""What a model costs per query: FLOPs and time by layer as observed at the seam, and bytes on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from mlperf.tasks import eager, eagerly
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.engine import dispatch


class LayerCost(NamedTuple):
    """What one layer costs per query on the NumPy backend; `time_ns` is a median, without Python between the ops."""

    name: str
    kind: str
    flops: int
    weight_bytes: int
    output_bytes: int
    time_ns: float


def observed(model: Layer, example: np.ndarray) -> list[dispatch.Event]:
    """The op calls of one query. Call it inside `eagerly(...)`, or the backend in use decides."""
    events: list[dispatch.Event] = []
    with dispatch.watch(events.append):
        eager(model)(example)
    return events


def flops_of(event: dispatch.Event) -> int:
    return event.op.flops(event.out, *event.arrays, **event.params)


def flops_per_query(model: Layer, example: np.ndarray) -> int:
    """Floating-point operations of one query; a multiply-add counts 2."""
    with eagerly("numpy"):
        return sum(map(flops_of, observed(model, example)))


def layer_costs(model: Layer, example: np.ndarray, calls: int) -> Iterator[LayerCost]:
    """The cost of each layer that computes something, in the model's order; times are medians over `calls` queries."""
    with eagerly("numpy"):
        observed(model, example)  # fills the seam's cache
        runs = [observed(model, example) for _ in range(calls)]
    for name, layer in model.named_modules():
        mine = [[event for event in run if event.scope is layer] for run in runs]
        if mine[0]:
            yield LayerCost(
                name=name or "model",
                kind=type(layer).__name__,
                flops=sum(map(flops_of, mine[0])),
                weight_bytes=sum(p.data.nbytes for p in layer.parameters()),
                output_bytes=mine[0][-1].out.nbytes,
                time_ns=median(sum(event.end_ns - event.start_ns for event in run) for run in mine),
            )


def size_on_disk(model: Layer) -> int:
    """Bytes of the file that a model's weights make."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        weights.save(model, path)
        return path.stat().st_size
