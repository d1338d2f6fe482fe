"""One row for every op that runs, forward or backward, taken at the seam; the code under measurement runs unchanged.

Left out: totals, tables and plots, which are made from these rows, and time spent outside ops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.engine import dispatch


class Row(NamedTuple):
    """One call of an op.

    `layer` is the dotted name of the innermost layer that was running, "" outside all layers (backward, optimizer).
    `shapes` are the inputs', None where one was absent. `flops` counts the mathematics, 2 for a multiply-add.
    `bytes` counts every input and the output once: what has to move if nothing is cached. `start_ns` is on the clock
    of `time.perf_counter_ns`, `ns` the call's duration.
    """

    layer: str
    op: str
    shapes: tuple[tuple[int, ...] | None, ...]
    out_shape: tuple[int, ...]
    flops: int
    bytes: int
    start_ns: int
    ns: int


@contextmanager
def record(model: Layer | None = None) -> Iterator[list[Row]]:
    """Collect a `Row` for each op that runs inside the block.

    Layers have their names within `model`; one that is not part of it (every layer, without a model) its class name.
    The rows hold no arrays, so memory is freed as it would be without recording.
    """
    names = {id(layer): name for name, layer in model.named_modules()} if model is not None else {}
    rows: list[Row] = []

    def keep(event: dispatch.Event) -> None:
        op, arrays, params, out, start_ns, end_ns, layer = event
        name = "" if layer is None else names.get(id(layer), type(layer).__name__)
        shapes = tuple(None if a is None else a.shape for a in arrays)
        flops = op.flops(out, *arrays, **params)
        rows.append(
            Row(name, op.name, shapes, out.shape, flops, bytes_moved(flops, out, arrays), start_ns, end_ns - start_ns)
        )

    with dispatch.watch(keep):
        yield rows


def bytes_moved(flops: int, out: np.ndarray, arrays: tuple[Any, ...]) -> int:
    """Bytes of the inputs and the output; none where the output only shows an input's memory under another shape."""
    if not flops and any(np.may_share_memory(out, a) for a in arrays if isinstance(a, np.ndarray)):
        return 0
    return out.nbytes + sum(a.nbytes for a in arrays if a is not None)
