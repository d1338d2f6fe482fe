"""One row for every op that runs, forward, backward or update, taken at the seam; the code under measurement runs
unchanged.

What is the same for all calls of one signature is worked out once (`Note`); of each call only times and thread are
kept, 32 bytes, so that a script of a million calls can be watched. Left out: totals, tables and plots (`report.py`),
and time spent outside ops.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from time import perf_counter_ns
from typing import Any, Literal, NamedTuple

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.engine import dispatch
from tinytorch.engine.dispatch import Event, Phase
from tinytorch.engine.names import Names
from tinytorch.engine.notes import Note
from tinytorch.engine.watching import Ran, watch_plans

Shape = tuple[int, ...]


class Row(NamedTuple):
    """One call of an op: the fields of its `Note`, then when it began on the clock of `time.perf_counter_ns`, how long
    it took, and the thread it ran in.
    """

    layer: str
    kind: str
    phase: Phase
    op: str
    shapes: tuple[Shape | None, ...]
    out_shape: Shape
    kernels: tuple[str, ...]
    flops: int
    operations: int
    arithmetic: Literal["float32", "int8"]
    bytes: int
    start_ns: int
    ns: int
    thread: int


FIELDS = 4  # of an event: which call, begin, end, thread


class Recording:
    """What was watched: `calls`, one for each signature; `events` of FIELDS integers, in the order they ended.

    `began_ns` and `ended_ns` are the ends of the window; `ends` says how many events there were when each block that
    was watched ended.
    """

    def __init__(self, model: Layer | None = None) -> None:
        self.calls: list[Note] = []
        self.events = array("q")
        self.ends: list[int] = []
        self.began_ns = self.ended_ns = 0
        self._names = Names(model)
        self._known: dict[tuple, int] = {}
        self._plans: dict[int, tuple[int, tuple[Note, ...]]] = {}  # id of a plan's notes -> number of its first call

    @property
    def rows(self) -> list[Row]:
        """One for each call, in the order they ended."""
        of = self.calls
        events = self.table.tolist()
        return [Row._make((*of[i], start, end - start, thread)) for i, start, end, thread in events]

    @property
    def table(self) -> np.ndarray:
        """The events, (calls, FIELDS) int64."""
        return np.array(self.events, np.int64).reshape(-1, FIELDS)

    def __len__(self) -> int:
        return len(self.events) // FIELDS

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch the block; what several blocks do is kept behind one another."""
        with dispatch.watch(self.watch), watch_plans(self.watch_plan):
            self.began_ns = self.began_ns or perf_counter_ns()
            try:
                yield
            finally:
                self.ended_ns = perf_counter_ns()
                self.ends.append(len(self))

    def watch(self, event: Event) -> None:
        """Keep one event. Holds no array, so memory is freed as it would be without recording."""
        op, arrays, params, out, start_ns, end_ns, _, _, phase, _ = event
        where = self._names.of(event)
        signature: list[Any] = [None if a is None else (a.shape, a.strides, a.dtype) for a in arrays]
        packed = [id(a) for a in arrays if type(a) is not np.ndarray and a is not None]
        if op.flops_of_values:
            signature.append((op.flops(out, *arrays, **params),))
        key: tuple = (op, where, phase, *signature, *packed, *params.items())
        try:
            index = self._known.get(key)
        except TypeError:  # a parameter that cannot be hashed, such as an index made of slices
            key = (op, where, phase, *signature, str(params))
            index = self._known.get(key)
        if index is None:
            index = self._known[key] = len(self.calls)
            self.calls.append(described(event, *where))
        self.events.extend((index, start_ns, end_ns, get_ident()))

    def watch_plan(self, ran: Ran) -> None:
        """Keep the steps of a plan or captured step that ran; they are named as within its own model."""
        if id(ran.notes) not in self._plans:
            self._plans[id(ran.notes)] = len(self.calls), ran.notes
            self.calls += ran.notes
        first = self._plans[id(ran.notes)][0]
        events = np.empty((len(ran.notes), FIELDS), np.int64)
        events[:, 0] = np.arange(first, first + len(events))
        events[:, 1], events[:, 2] = ran.spans_ns
        events[:, 3] = get_ident()
        self.events.frombytes(events.tobytes())


def described(event: Event, layer: str, kind: str) -> Note:
    """What is the same whenever the op is called so."""
    op, arrays, params, out, *_ = event
    shapes = tuple([None if a is None else a.shape for a in arrays])
    flops = op.flops(out, *arrays, **params)
    kernels, operations, arithmetic = dispatch.executed(op, arrays, params, flops)
    moved = bytes_moved(flops, out, arrays)
    return Note(
        layer, kind, event.phase, op.name, shapes, out.shape, kernels, flops, operations, arithmetic, moved
    )  # fmt: skip


def bytes_moved(flops: int, out: np.ndarray, arrays: tuple[Any, ...]) -> int:
    """Bytes of the inputs and the output; none where the output only shows an input's memory under another shape."""
    if not flops and any(np.may_share_memory(out, a) for a in arrays if isinstance(a, np.ndarray)):
        return 0
    return out.nbytes + sum(a.nbytes for a in arrays if a is not None)


@contextmanager
def record(model: Layer | None = None) -> Iterator[Recording]:
    """Watch all ops that run inside the block, in any thread: `with record(model) as r: model(x)`, then `r.rows`.

    Recordings may lie inside each other; each sees what runs in its block. Names of layers: see `Names`.
    """
    recording = Recording(model)
    with recording.on():
        yield recording
