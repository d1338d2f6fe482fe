"""What a model costs per query, layer by layer, and on disk. FLOPs and times are the profiler's, taken at the seam."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from mlperf.answering import eagerly
from mlperf.harness import Query
from profiler.record import Row, record
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor


class LayerCost(NamedTuple):
    """What one layer costs per query on the NumPy backend; `time_ns` is a median, without Python between the ops.

    `weight_bytes` are its own and not those of layers inside it; `moved_bytes` counts inputs, weights and outputs once.
    """

    name: str
    kind: str
    flops: int
    weight_bytes: int
    moved_bytes: int
    time_ns: float


def observed(model: Layer, run: Query, example: np.ndarray) -> list[Row]:
    with record(model) as recording:
        run(example)
    return recording.rows


def query_flops(model: Layer, run: Query, example: np.ndarray) -> int:
    """FLOPs of one query, which `run` answers op by op with this model; a multiply-add counts 2."""
    with eagerly("numpy"):
        return sum(row.flops for row in observed(model, run, example))


def layer_costs(model: Layer, run: Query, example: np.ndarray, calls: int) -> Iterator[LayerCost]:
    """The cost of each layer that computes something, in the model's order; times are medians over `calls` queries."""
    with eagerly("numpy"):
        observed(model, run, example)  # fills the seam's cache
        runs = [observed(model, run, example) for _ in range(calls)]
    for name, layer in model.named_modules():
        mine = [[row for row in run if row.layer == name] for run in runs]
        if sum(row.flops for row in mine[0]):
            yield LayerCost(
                name=name,
                kind=type(layer).__name__,
                flops=sum(row.flops for row in mine[0]),
                weight_bytes=sum(value.data.nbytes for value in vars(layer).values() if isinstance(value, Tensor)),
                moved_bytes=sum(row.bytes for row in mine[0]),
                time_ns=median(sum(row.ns for row in run) for run in mine),
            )


def size_on_disk(model: Layer) -> int:
    """Bytes of the file that a model's weights make."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        weights.save(model, path)
        return path.stat().st_size
