"""Memory op by op: what lives after each, and the most there was while it ran; and all of it for one step of a model.

Python is slower while its allocations are traced, so this is a pass of its own and never the one that is timed. The
watcher's own memory is measured and taken off. Left out: what is not allocated through Python (`memory.py`).
"""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from profiler.holdings import Holdings, holdings
from profiler.memory import peak_memory, settle_peaks
from profiler.record import FIELDS, Recording, record
from profiler.report import Memory, Moment
from tinytorch.core.layers import Layer
from tinytorch.core.optimizers import Optimizer
from tinytorch.core.tensor import Tensor
from tinytorch.engine import dispatch


class Timeline:
    """What a watched window allocated, op by op: `moments`, and over all `peak_bytes`, beyond what was there when it
    began. `window` has the figures of the resident set.
    """

    def __init__(self, model: Layer | None, window: peak_memory) -> None:
        self.window = window
        self.peak_bytes = 0
        self._recording = Recording(model)
        self._levels = array("q")  # two for each event: live after it, the most while it ran
        self._base_bytes = tracemalloc.get_traced_memory()[0]  # what was there before, and what watching adds to it
        settle_peaks()

    def watch(self, event: dispatch.Event) -> None:
        live_bytes, peak_bytes = tracemalloc.get_traced_memory()[0], self.settle()
        self._recording.watch(event)
        self._levels.extend((live_bytes - self._base_bytes, peak_bytes))
        self._base_bytes += tracemalloc.get_traced_memory()[0] - live_bytes
        tracemalloc.reset_peak()

    def settle(self) -> int:
        """The most there was since the last time."""
        peak_bytes = settle_peaks() - self._base_bytes
        self.peak_bytes = max(self.peak_bytes, peak_bytes)
        return peak_bytes

    @property
    def moments(self) -> tuple[Moment, ...]:
        """One for each op, in the order they ended. What Python did before an op counts as the op's."""
        calls, events, levels = self._recording.calls, self._recording.table.tolist(), self._levels
        return tuple([
            Moment(at_ns=end_ns, layer=calls[i].layer, phase=calls[i].phase, op=calls[i].op, bytes=live, peak_bytes=peak)
            for (i, _, end_ns, _), live, peak in zip(events, levels[::2], levels[1::2])
        ])  # fmt: skip


@contextmanager
def record_memory(model: Layer | None = None) -> Iterator[Timeline]:
    """Watch what each op inside the block allocates: `with record_memory(model) as timeline: step()`, then
    `timeline.moments`. Run the block once before, in `record`, so that nothing is compiled in it.
    """
    with peak_memory() as window:
        timeline = Timeline(model, window)
        with dispatch.watch(timeline.watch):
            try:
                yield timeline
            finally:
                timeline.settle()


def memory_of(
    step: Callable[[], Any], model: Layer | None = None, optimizer: Optimizer | None = None, given: Iterable[Any] = (),
    plan: Any = None,
) -> Memory:  # fmt: skip
    """Where the memory of one step goes.

    `step` runs forward and returns the loss, or an answer; then its backward is run here. Where it returns anything
    else, or nothing was recorded, as in `no_grad()`, what it did is all. It is called three times: once to compile,
    once so that the last finds everything as after a step before; so whatever it changes, it changes three times.
    `given` are arrays and tensors the step is about, such as the batch, which are no activations. `plan` is a `Plan` or
    captured `Step` that it runs, for its arena and constants.

    The gradients of the model's parameters start from none, and are put back afterwards. The optimizer takes no step
    unless `step` lets it: its figure is what it holds.
    """
    parameters, given = [] if model is None else model.parameters(), list(given)
    before = [p.grad for p in parameters]

    def observed() -> tuple[Timeline, Holdings, Holdings]:
        with record_memory(model) as timeline:
            result = forward(step, parameters)
            timeline.settle()
            held = holdings(model, optimizer, result if isinstance(result, Tensor) and result.requires_grad else None, given)
            tracemalloc.reset_peak()  # looking is not part of the step
            backward(result)
        return timeline, held, holdings(model, optimizer)

    try:
        with record(model):  # whoever is watched takes the long way through the seam, which may compile more
            backward(forward(step, parameters))
        with peak_memory():
            observed()
            timeline, held, after = observed()
    finally:
        for p, gradient in zip(parameters, before):
            p.grad = gradient
    return Memory(
        parameter_bytes=after.parameter_bytes,
        gradient_bytes=after.gradient_bytes,
        optimizer_bytes=after.optimizer_bytes,
        activation_bytes=held.activation_bytes,
        arena_bytes=getattr(plan, "arena_bytes", 0),
        constant_bytes=getattr(plan, "constant_bytes", 0),
        peak_bytes=timeline.peak_bytes,
        resident_bytes=timeline.window.resident_bytes,
        timeline=timeline.moments,
    )


def forward(step: Callable[[], Any], parameters: list[Tensor]) -> Any:
    for p in parameters:
        p.grad = None
    return step()


def backward(result: Any) -> None:
    """Backward where something was recorded, of the sum of all elements."""
    if isinstance(result, Tensor) and result.requires_grad:
        result.backward(np.ones(result.shape, result.dtype))
