"""A recording as a trace that Perfetto and chrome://tracing open: a slice for each op on its thread, inside those of
its layers and of its phase, and memory as a counter.

The format is that of the "Trace Event Format" (Google, the Catapult project), its JSON object form: begins and ends
("B", "E"), counters ("C") and names of processes and threads ("M"). A slice might also be one complete event ("X"),
with a length instead of an end; but then viewers add up, in floating point, and slices that end together no longer do,
which they take for an overlap. Left out: what runs between ops, which shows as gaps.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, islice
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from profiler.record import Recording
from profiler.report import Moment
from profiler.tables import dimensions
from tinytorch.engine.notes import Note
from tinytorch.files import atomic_file

PROCESS = 1
SUMMED = ("flops", "operations", "bytes")
CHUNK = 10_000  # events that are written at once


class Slice(NamedTuple):
    """A call of an op: when, and in which boxes: the pass and phase, then the layers, the outermost first."""

    start_ns: int
    end_ns: int
    call: int
    boxes: tuple[Any, ...]


def save(recording: Recording, path: str | PathLike, timeline: Sequence[Moment] = ()) -> None:
    """Write the trace, whole or not at all. What is in memory at once is one phase of a pass. OSError says what failed.
    """
    stream = each(recording, timeline)
    separator = b""
    with atomic_file(path) as file:
        file.write(b'{"displayTimeUnit":"ns","traceEvents":[\n')
        while lines := [json.dumps(event, separators=(",", ":")) for event in islice(stream, CHUNK)]:
            file.write(separator + ",\n".join(lines).encode())
            separator = b",\n"
        file.write(b"\n]}\n")


def events(recording: Recording, timeline: Sequence[Moment] = ()) -> list[dict[str, Any]]:
    """The trace's events, as `save` writes them. Times are in microseconds from the beginning of the recording.

    Those of one thread are in the order of time, each end behind the begin it belongs to, like brackets. `timeline` is
    that of a report's memory; see `spans` for when its moments are shown.
    """
    return list(each(recording, timeline))


def each(recording: Recording, timeline: Sequence[Moment] = ()) -> Iterator[dict[str, Any]]:
    table = recording.table
    shown = spans(recording, table, timeline)
    origin = min([recording.began_ns, *(start for start, _ in shown[:1])])
    yield {"ph": "M", "name": "process_name", "pid": PROCESS, "tid": 0, "args": {"name": "tinytorch"}}
    idents, seen = np.unique(table[:, 3], return_index=True)
    threads = idents[np.argsort(seen)].tolist()
    main = threading.main_thread().ident
    for number, thread in enumerate(threads, 1):
        name = "main thread" if thread == main else f"thread {number}"
        yield {"ph": "M", "name": "thread_name", "pid": PROCESS, "tid": number, "args": {"name": name}}
    told = [arguments(call) for call in recording.calls]
    kinds = {call.layer: call.kind for call in recording.calls}
    for number, thread in enumerate(threads, 1):
        yield from boxed(slices(recording, table, thread), 0, (recording.calls, told, kinds, number, origin))
    for (start_ns, end_ns), moment in zip(shown, timeline):
        for at_ns, nbytes in ((start_ns, moment.peak_bytes), (end_ns, moment.bytes)):
            at, count = microseconds(at_ns - origin), {"bytes": int(nbytes)}
            yield {"ph": "C", "name": "memory", "ts": at, "pid": PROCESS, "args": count}


# -- slices ------------------------------------------------------------------------------------------------------------


def slices(recording: Recording, table: np.ndarray, thread: int) -> Iterator[Slice]:
    """The calls of one thread as they began. A call that ran inside another one is in the boxes of that one."""
    rows = np.flatnonzero(table[:, 3] == thread)
    passes = np.searchsorted(np.asarray(recording.ends, np.int64), rows, side="right")
    mine = table[rows]
    order = np.lexsort((-mine[:, 2], mine[:, 1]))
    parts = [call.layer.split(".") if call.layer else () for call in recording.calls]
    layers = [tuple(accumulate(names, "{}.{}".format)) for names in parts]
    until, boxes = -1, ()
    for first in range(0, len(order), CHUNK):
        part = order[first : first + CHUNK]
        for (call, start, end, _), number in zip(mine[part].tolist(), passes[part].tolist()):
            if start >= until:
                until, boxes = end, ((number, recording.calls[call].phase), *layers[call])
            yield Slice(start, end, call, boxes)


def boxed(calls: Iterable[Slice], depth: int, about: tuple) -> Iterator[dict[str, Any]]:
    """A slice for each box at this depth around the calls that follow one another in it, then what is inside."""
    described, _, kinds, thread, origin = about
    for box, group in groupby(calls, key=lambda one: one.boxes[depth] if depth < len(one.boxes) else None):
        if box is None:
            yield from nested(group, about)
            continue
        inside = list(group)
        name, category = (box, "layer") if depth else (box[1], "phase")
        what: dict[str, Any] = {"kind": kinds[name]} if kinds.get(name) else {}
        what["calls"] = len(inside)
        what |= {key: int(sum(getattr(described[one.call], key) for one in inside)) for key in SUMMED}
        yield begin(name, category, inside[0].start_ns - origin, thread, what)
        yield from boxed(inside, depth + 1, about)
        yield end(name, category, max(one.end_ns for one in inside) - origin, thread)


def nested(calls: Iterable[Slice], about: tuple) -> Iterator[dict[str, Any]]:
    """The calls' own slices, those that ran inside another one within it."""
    described, told, _, thread, origin = about
    running: list[Slice] = []
    for one in calls:
        while running and running[-1].end_ns <= one.start_ns and running[-1].end_ns < one.end_ns:
            done = running.pop()
            yield end(described[done.call].op, "op", done.end_ns - origin, thread)
        yield begin(described[one.call].op, "op", one.start_ns - origin, thread, told[one.call])
        running.append(one)
    for done in reversed(running):
        yield end(described[done.call].op, "op", done.end_ns - origin, thread)


def begin(name: str, category: str, ns: int, thread: int, what: dict[str, Any]) -> dict[str, Any]:
    common = {"ph": "B", "name": name, "cat": category, "ts": microseconds(ns)}
    return {**common, "pid": PROCESS, "tid": thread, "args": what}


def end(name: str, category: str, ns: int, thread: int) -> dict[str, Any]:
    return {"ph": "E", "name": name, "cat": category, "ts": microseconds(ns), "pid": PROCESS, "tid": thread}


def arguments(call: Note) -> dict[str, Any]:
    """What a viewer shows of an op that is chosen."""
    return {
        "layer": call.layer, "reads": " ".join("-" if shape is None else dimensions(shape) for shape in call.shapes),
        "writes": dimensions(call.out_shape), "kernels": ", ".join(call.kernels) or "NumPy", "flops": int(call.flops),
        "operations": int(call.operations), "arithmetic": call.arithmetic, "bytes": int(call.bytes),
    }  # fmt: skip


def microseconds(ns: int) -> float:
    """The unit of traces. Perfetto multiplies by 1000 and cuts off the rest, and 1.001 * 1000 falls short of 1001."""
    value = ns / 1000
    return value if int(value * 1000) == ns else math.nextafter(value, math.inf)


# -- memory ------------------------------------------------------------------------------------------------------------


def spans(recording: Recording, table: np.ndarray, timeline: Sequence[Moment]) -> list[tuple[int, int]]:
    """When each moment's op began and ended; the counter shows the most while it ran, then what lives after it.

    Memory is measured in a pass of its own. Where the same ops ran in the recording one after another, its moments are
    shown at the first of these; otherwise when they were.
    """
    first = place(recording, table, timeline)
    if first is not None:
        return [(start, end) for _, start, end, _ in table[first : first + len(timeline)].tolist()]
    ends = [moment.at_ns for moment in timeline]
    return list(zip([*ends[:1], *ends], ends))


def place(recording: Recording, table: np.ndarray, timeline: Sequence[Moment]) -> int | None:
    """Where in the events the timeline's ops run one after another for the first time."""
    codes: dict[tuple[str, str, str], int] = {}
    of_call = [codes.setdefault((call.layer, call.phase, call.op), len(codes)) for call in recording.calls]
    wanted = [codes.get((moment.layer, moment.phase, moment.op), -1) for moment in timeline]
    if not wanted or -1 in wanted:
        return None
    ran = np.asarray(of_call, np.int32)[table[:, 0]].tobytes()
    pattern, at = np.asarray(wanted, np.int32).tobytes(), -1
    while (at := ran.find(pattern, at + 1)) >= 0:
        if at % 4 == 0:  # at the beginning of a code
            return at // 4
    return None
