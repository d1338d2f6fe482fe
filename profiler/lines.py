"""From events to lines: all calls of a signature together, pass by pass, with the median over passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from profiler.doubts import Estimate
from profiler.report import Line
from tinytorch.engine.notes import Note


def lines(calls: Sequence[Note], events: np.ndarray, ends: Sequence[int]) -> tuple[list[Line], np.ndarray]:
    """Lines in the order in which signatures were first seen, and the time inside ops of each pass, in ns.

    events (n, FIELDS) as a `Recording` has them; `ends` says how many there were when each pass ended. A signature that
    only some passes had counts what it had on average, rounded.
    """
    passes, count = len(ends), len(calls)
    of_pass = np.searchsorted(np.asarray(ends), np.arange(len(events)), side="right")
    place = of_pass * count + events[:, 0]
    size = passes * count
    times = np.bincount(place, events[:, 2] - events[:, 1], size).reshape(passes, count)
    numbers = np.bincount(place, minlength=size).reshape(passes, count)
    made = [line(call, times[:, i], round(float(numbers[:, i].mean()))) for i, call in enumerate(calls)]
    return [one for one in made if one.calls], times.sum(1)


def line(call: Note, times_ns: np.ndarray, calls: int) -> Line:
    """One line from the time that all its calls took in each pass."""
    middle, low, high = Estimate.of(times_ns.tolist())
    layer, kind, phase, op, shapes, out_shape, kernels, flops, operations, arithmetic, moved = call
    return Line(
        layer=layer, kind=kind, phase=phase, op=op, kernels=kernels, shapes=shapes, out_shape=out_shape, calls=calls,
        flops=calls * flops, operations=calls * operations, arithmetic=arithmetic, bytes=calls * moved,
        ns=middle, ns_low=low, ns_high=high,
    )  # fmt: skip
