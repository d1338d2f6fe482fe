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

from profiler.holdings import Holdings, holdings
from profiler.memory import peak_memory, settle_peaks
from profiler.record import Recording, record
from profiler.report import Memory, Moment
from tinytorch.core.autograd import no_grad
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
        self._levels = array("q")  # two for each event: live after it, the most since the one before

    def watch(self, event: dispatch.Event) -> None:
        """Keep what an event leaves, and raise the window's base by what keeping it takes.

        Between the two looks at the traced memory no number may be left in a variable: it would be counted, and freed.
        """
        base_bytes = self.window.before_bytes
        self._levels.append(tracemalloc.get_traced_memory()[0] - base_bytes)
        self._levels.append(self.most_since())
        self._recording.watch(event)
        self.window.before_bytes += tracemalloc.get_traced_memory()[0] - base_bytes - self._levels[-2]
        tracemalloc.reset_peak()

    def most_since(self) -> int:
        """The most there was since this was asked last."""
        settle_peaks()
        most, self.window.peak_bytes = self.window.peak_bytes, 0
        self.peak_bytes = max(self.peak_bytes, most)
        return most

    def end(self) -> None:
        """What came after the last op is its own too, so that a peak is always some op's."""
        most = self.most_since()
        if self._levels:
            self._levels[-1] = max(self._levels[-1], most)
        self.window.peak_bytes = self.peak_bytes

    @property
    def moments(self) -> tuple[Moment, ...]:
        """One for each op, in the order they ended. What Python does before an op, or after the last, is the op's."""
        calls, events, levels = self._recording.calls, self._recording.table.tolist(), self._levels
        return tuple([
            Moment(at_ns=at_ns, layer=calls[i].layer, phase=calls[i].phase, op=calls[i].op, bytes=live, peak_bytes=peak)
            for (i, _, at_ns, _), live, peak in zip(events, levels[::2], levels[1::2])
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
                timeline.end()


def memory_of(
    forward: Callable[[], Any], model: Layer | None = None, optimizer: Optimizer | None = None,
    finish: Callable[[Any], None] | None = None, given: Iterable[Any] = (), program: Any = None,
) -> Memory:  # fmt: skip
    """Where the memory of one step goes.

    `finish` takes what `forward` returned, such as the loss, and does what follows: backward, and an update. Without
    it forward is all, and nothing is recorded for gradients. The step is run three times, and what it changes, it
    changes three times: once to compile; once so that the last finds everything as after a step before. Each begins
    without gradients; those that parameters had before are put back at the end.

    `given` are arrays and tensors the step is about, such as the batch, which are no activations. `program` is
    the compiled one that it runs, of a plan or a captured step, for its arena and constants.
    """
    parameters, given = [] if model is None else model.parameters(), list(given)
    before = [p.grad for p in parameters]

    def observed() -> tuple[Timeline, Holdings, Holdings]:
        forget(parameters)
        with record_memory(model) as timeline:
            result = recorded(forward, finish)
            timeline.most_since()
            held = holdings(model, optimizer, result if finish and isinstance(result, Tensor) else None, given)
            tracemalloc.reset_peak()  # looking is not part of the step
            if finish is not None:
                finish(result)
        return timeline, held, holdings(model, optimizer)

    try:
        with record(model):  # whoever is watched takes the long way through the seam, which may compile more
            forget(parameters)
            result = recorded(forward, finish)
            if finish is not None:
                finish(result)
            del result
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
        arena_bytes=0 if program is None else program.arena_bytes,
        constant_bytes=0 if program is None else sum(a.nbytes for a in program.constants),
        peak_bytes=timeline.peak_bytes,
        resident_bytes=timeline.window.resident_bytes,
        timeline=timeline.moments,
    )


def forget(parameters: list[Tensor]) -> None:
    for p in parameters:
        p.grad = None


def recorded(forward: Callable[[], Any], finish: Any) -> Any:
    """What forward returns; with its tape where somebody will walk it."""
    if finish is not None:
        return forward()
    with no_grad():
        return forward()
