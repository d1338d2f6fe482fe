"""A recording as a trace that Perfetto and chrome://tracing open: a slice for each op on its thread, inside those of
its layers and of its phase, and memory as a counter.

The format is that of the "Trace Event Format" (Google, the Catapult project), its JSON object form: complete events
("X"), counters ("C") and names of processes and threads ("M"). Left out: what runs between ops, which shows as gaps.
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

from profiler.record import Call, Recording
from profiler.report import Moment
from profiler.tables import dimensions
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

    Slices of one thread lie inside each other or apart, and each comes behind those it lies in. `timeline` is that of a
    report's memory; see `spans` for when its moments are shown.
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
    described, told, kinds, thread, origin = about
    for box, group in groupby(calls, key=lambda one: one.boxes[depth] if depth < len(one.boxes) else None):
        if box is None:
            for one in group:
                yield complete(described[one.call].op, "op", one.start_ns, one.end_ns, thread, origin, told[one.call])
            continue
        inside = list(group)
        end = max(one.end_ns for one in inside)
        name, category = (box, "layer") if depth else (box[1], "phase")
        what: dict[str, Any] = {"kind": kinds[name]} if kinds.get(name) else {}
        what["calls"] = len(inside)
        what |= {key: int(sum(getattr(described[one.call], key) for one in inside)) for key in SUMMED}
        yield complete(name, category, inside[0].start_ns, end, thread, origin, what)
        yield from boxed(inside, depth + 1, about)


def complete(
    name: str, category: str, start_ns: int, end_ns: int, thread: int, origin: int, what: dict[str, Any]
) -> dict[str, Any]:
    start, length = microseconds(start_ns - origin), microseconds(end_ns - start_ns)
    return {
        "ph": "X", "name": name, "cat": category, "ts": start, "dur": length, "pid": PROCESS, "tid": thread,
        "args": what,
    }  # fmt: skip


def arguments(call: Call) -> dict[str, Any]:
    """What a viewer shows of an op that is chosen."""
    return {
        "layer": call.layer, "reads": " ".join("-" if shape is None else dimensions(shape) for shape in call.shapes),
        "writes": dimensions(call.out_shape), "kernels": ", ".join(call.kernels) or "NumPy", "flops": int(call.flops),
        "operations": int(call.operations), "arithmetic": call.arithmetic, "bytes": int(call.bytes),
    }  # fmt: skip


def microseconds(ns: int) -> float:
    """The unit of traces. Perfetto multiplies by 1000 and cuts off the rest, so the product must not fall short of
    `ns`: 1.001 * 1000 does, and slices that touch would overlap by a nanosecond.
    """
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
