"""Traces: valid by the format's own description, slices that nest, and the figures of the recording they show."""

from __future__ import annotations

import json
import os
import threading
from itertools import count
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

import profiler
from profiler import trace
from profiler.record import Recording
from profiler.report import Moment
from tinytorch import SGD, CrossEntropyLoss, Linear, ReLU, Sequential, Tensor, models, no_grad
from tinytorch.engine.notes import Note

# -- the format: "Trace Event Format", section "Event Descriptions" (Google, Catapult project), as far as it is used ---


class Part(BaseModel):
    """Unknown keys are allowed by the format, but not here: a misspelt one would be silently ignored by viewers."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class DurationEvent(Part):
    """`ts` in microseconds of the tracing clock. Those of a thread have to be in the order of time, and nest."""

    name: Annotated[str, Field(min_length=1)]
    cat: Literal["phase", "layer", "op"]  # comma separated in general
    ts: Annotated[float, Field(ge=0)]
    pid: int
    tid: Annotated[int, Field(ge=1, lt=2**31)]  # Perfetto reads 32 bits


class BeginEvent(DurationEvent):
    """What is in `args` is shown."""

    ph: Literal["B"]
    args: dict[str, str | int]


class EndEvent(DurationEvent):
    ph: Literal["E"]


class CounterEvent(Part):
    """Each key of `args` is a series of numbers; counters belong to a process."""

    ph: Literal["C"]
    name: Annotated[str, Field(min_length=1)]
    ts: Annotated[float, Field(ge=0)]
    pid: int
    args: Annotated[dict[str, int | float], Field(min_length=1)]


class MetadataName(Part):
    name: str


class MetadataEvent(Part):
    ph: Literal["M"]
    name: Literal["process_name", "thread_name"]
    pid: int
    tid: int
    args: MetadataName


class TraceFile(Part):
    """The JSON object form."""

    traceEvents: list[Annotated[BeginEvent | EndEvent | CounterEvent | MetadataEvent, Field(discriminator="ph")]]
    displayTimeUnit: Literal["ms", "ns"]


def checked(text: str | bytes) -> list[dict[str, Any]]:
    """The events of a valid file."""
    TraceFile.model_validate_json(text)
    return json.loads(text)["traceEvents"]


def nanoseconds(us: float) -> int:
    """As Perfetto reads a time: what is left of the point, times 1000."""
    return int(us * 1000)


def slices_of(events: list[dict[str, Any]]) -> dict[int, list[tuple[int, int, str, str]]]:
    """(begin, end, category, name) by thread, as they begin. Asserts what viewers demand: begins and ends of a thread
    are in the order of time, and each end is that of the slice which began last of those still open.
    """
    found: dict[int, list[tuple[int, int, str, str]]] = {}
    opened: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    now: dict[int, float] = {}
    for event in (event for event in events if event["ph"] in "BE"):
        tid = event["tid"]
        slices, stack = found.setdefault(tid, []), opened.setdefault(tid, [])
        assert event["ts"] >= now.get(tid, 0)
        now[tid] = event["ts"]
        if event["ph"] == "B":
            stack.append((len(slices), event))
            slices.append((nanoseconds(event["ts"]), -1, event["cat"], event["name"]))
        else:
            at, begun = stack.pop()
            assert (event["name"], event["cat"]) == (begun["name"], begun["cat"])
            slices[at] = (slices[at][0], nanoseconds(event["ts"]), *slices[at][2:])
    assert not any(opened.values())
    return found


# -- recordings made up ------------------------------------------------------------------------------------------------


def call(layer: str, op: str = "relu", phase: str = "forward") -> Note:
    return Note(layer, layer.title(), phase, op, ((2, 3), None), (2, 3), (), 6, 6, "float32", 48)


def recording(calls: list[Note], events: list[tuple[int, int, int, int]], ends: tuple[int, ...] = ()) -> Recording:
    made = Recording()
    made.calls += calls
    for event in events:
        made.events.extend(event)
    made.ends += ends or (len(events),)
    made.began_ns = 0
    made.ended_ns = max([end for _, _, end, _ in events], default=0)
    return made


def test_layers_enclose_their_ops_and_a_layer_entered_again_is_a_new_slice():
    calls = [call("a.b"), call("a.c"), call(""), call("a.b", "relu_grad", "backward")]
    times = [(0, 10, 20), (0, 20, 31), (1, 40, 50), (0, 50, 60), (2, 61, 70), (0, 71, 80), (3, 80, 90)]
    made = recording(calls, [(*each, 7) for each in times])
    assert slices_of(trace.events(made)) == {
        1: [
            (10, 80, "phase", "forward"),
            (10, 60, "layer", "a"), (10, 31, "layer", "a.b"), (10, 20, "op", "relu"), (20, 31, "op", "relu"),
            (40, 50, "layer", "a.c"), (40, 50, "op", "relu"), (50, 60, "layer", "a.b"), (50, 60, "op", "relu"),
            (61, 70, "op", "relu"),
            (71, 80, "layer", "a"), (71, 80, "layer", "a.b"), (71, 80, "op", "relu"),
            (80, 90, "phase", "backward"), (80, 90, "layer", "a"), (80, 90, "layer", "a.b"),
            (80, 90, "op", "relu_grad"),
        ]
    }  # fmt: skip


def test_each_pass_has_its_phases():
    made = recording([call("a")], [(0, 10 * i, 10 * i + 5, 7) for i in range(4)], ends=(2, 4))
    assert [one for one in slices_of(trace.events(made))[1] if one[2] != "op"] == [
        (0, 15, "phase", "forward"), (0, 15, "layer", "a"), (20, 35, "phase", "forward"), (20, 35, "layer", "a"),
    ]  # fmt: skip


def test_what_is_shown_of_a_slice():
    kernels = call("a.b")._replace(kernels=("gemm", "bias"), operations=5, flops=np.int64(6))
    made = recording([kernels], [(0, 1001, 3002, 7), (0, 4000, 4001, 7)])
    _, _, phase, above, layer, op, done, *_ = trace.events(made)
    total = {"calls": 2, "flops": 12, "operations": 10, "bytes": 96}
    assert phase["args"] == total == above["args"] and layer["args"] == {"kind": "A.B", **total}
    assert op == {
        "ph": "B", "name": "relu", "cat": "op", "ts": pytest.approx(1.001), "pid": 1, "tid": 1,
        "args": {
            "layer": "a.b", "reads": "2x3 -", "writes": "2x3", "kernels": "gemm, bias", "flops": 6, "operations": 5,
            "arithmetic": "float32", "bytes": 48,
        },
    }  # fmt: skip
    assert done == {"ph": "E", "name": "relu", "cat": "op", "ts": 3.002, "pid": 1, "tid": 1}
    json.dumps(trace.events(made))  # no number of NumPy's is left


def test_threads_have_small_numbers_and_names():
    made = recording([call("a")], [(0, 5, 9, 2**47), (0, 0, 10, threading.main_thread().ident), (0, 12, 13, 2**47)])
    named = {event["tid"]: event["args"]["name"] for event in trace.events(made) if event["name"] == "thread_name"}
    assert named == {1: "thread 1", 2: "main thread"}
    assert {tid: len(slices) for tid, slices in slices_of(trace.events(made)).items()} == {1: 4, 2: 3}


def test_a_recording_of_nothing_is_a_valid_trace(tmp_path):
    with profiler.record() as made:
        pass
    trace.save(made, tmp_path / "t.json")
    assert [event["name"] for event in checked((tmp_path / "t.json").read_bytes())] == ["process_name"]


# -- memory ------------------------------------------------------------------------------------------------------------


def counted(events: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(nanoseconds(event["ts"]), event["args"]["bytes"]) for event in events if event["ph"] == "C"]


def moment(at_ns: int, layer: str, op: str, live: int, peak: int) -> Moment:
    return Moment(at_ns=at_ns, layer=layer, phase="forward", op=op, bytes=live, peak_bytes=peak)


def test_memory_is_shown_at_the_ops_of_the_first_pass_that_has_them():
    calls = [call("a"), call("b")]
    made = recording(calls, [(1, 1, 2, 7), (0, 10, 20, 7), (1, 30, 40, 7), (0, 50, 60, 7), (1, 70, 80, 7)])
    timeline = (moment(990, "a", "relu", 5, 8), moment(999, "b", "relu", 3, 9))
    assert counted(trace.events(made, timeline)) == [(10, 8), (20, 5), (30, 9), (40, 3)]


def test_memory_of_other_ops_is_shown_when_it_was():
    made = recording([call("a")], [(0, 10, 20, 7)])
    timeline = (moment(990, "a", "exp", 5, 8), moment(999, "b", "relu", 3, 9))
    assert counted(trace.events(made, timeline)) == [(990, 8), (990, 5), (990, 9), (999, 3)]
    made.began_ns = 1000  # measured before
    assert counted(trace.events(made, timeline)) == [(0, 8), (0, 5), (0, 9), (9, 3)]


# -- any recording -----------------------------------------------------------------------------------------------------

NAMES = ["", "a", "a.b", "a.b.c", "a.bc", "d", "d.0", "d.0.b"]
step = st.integers(0, 3) | st.integers(0, 10**7)
tree = st.recursive(st.tuples(st.integers(0, 15), step, step), lambda inner: st.tuples(
    st.integers(0, 15), step, step, st.lists(inner, max_size=3)), max_leaves=8)  # fmt: skip


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Recording, list[int]]:
    """Ops after one another and inside one another on up to three threads, kept in the order they ended."""
    calls = [call(name, f"op{i}", phase) for i, (name, phase) in enumerate(
        (name, phase) for name in NAMES for phase in ("forward", "backward"))]  # fmt: skip
    events: list[tuple[int, int, int, int]] = []

    def run(node: tuple, now: int, thread: int) -> int:
        index, before, inside, *rest = node
        start = now + before
        now = start + inside
        for child in rest[0] if rest else ():
            now = run(child, now, thread)
        events.append((index, start, now, thread))
        return now

    for thread in draw(st.sets(st.sampled_from([3, 2**47, 2**62]), max_size=3)):
        now = draw(step)
        for node in draw(st.lists(tree, max_size=6)):
            now = run(node, now, thread)
    events.sort(key=lambda event: event[2])
    ends = sorted({*draw(st.lists(st.integers(0, len(events)), max_size=3)), len(events)})
    return recording(calls, events, tuple(ends)), ends


@given(recordings())
def test_slices_nest_and_every_op_is_there_once_inside_its_layers(drawn):
    made, _ = drawn
    events = trace.events(made)
    TypeAdapter(TraceFile).validate_python({"traceEvents": events, "displayTimeUnit": "ns"})
    by_thread = slices_of(events)
    ops = [one for slices in by_thread.values() for one in slices if one[2] == "op"]
    assert sorted((begin, end, name) for begin, end, _, name in ops) == sorted(
        (row.start_ns, row.start_ns + row.ns, row.op) for row in made.rows)  # fmt: skip

@given(st.integers(0, 10**16))
def test_times_are_read_to_the_nanosecond(ns):
    assert nanoseconds(trace.microseconds(ns)) == ns
    assert trace.microseconds(ns) == pytest.approx(ns / 1000, rel=1e-15, abs=0)


# -- real ones ---------------------------------------------------------------------------------------------------------


def test_a_training_step_saved(tmp_path):
    model = models.mlp()
    optimizer = SGD(model.parameters(), lr=0.1)
    with profiler.record(model) as made:
        CrossEntropyLoss()(model(Tensor(np.ones((4, 64)))), [1, 2, 3, 4]).backward()
        optimizer.step()
    timeline = [moment(0, row.layer, row.op, 1, 2).model_copy(update={"phase": row.phase}) for row in made.rows]
    trace.save(made, tmp_path / "t.json", timeline)
    events = checked((tmp_path / "t.json").read_bytes())
    assert events == trace.events(made, timeline)
    slices = slices_of(events)[1]
    assert [name for _, _, category, name in slices if category == "phase"] == ["forward", "backward", "update"]
    forward = [(category, name) for _, _, category, name in slices[: 1 + 2 * 6]]
    assert forward == [
        ("phase", "forward"), ("layer", "0"), ("op", "linear"), ("layer", "1"), ("op", "relu"), ("layer", "2"),
        ("op", "linear"), ("layer", "3"), ("op", "relu"), ("layer", "4"), ("op", "linear"),
        ("layer", "CrossEntropyLoss"), ("op", "cross_entropy"),
    ]  # fmt: skip
    assert len(counted(events)) == 2 * len(made.rows)


def test_ops_of_several_threads(tmp_path):
    model, x = Sequential(Linear(8, 8), ReLU()), Tensor(np.ones((2, 8)))
    both = threading.Barrier(2)

    def work() -> None:
        both.wait()
        with no_grad():
            for _ in range(20):
                model(x)

    with profiler.record(model) as made:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    slices = slices_of(trace.events(made))
    assert sorted(slices) == [1, 2] and sum(one[2] == "op" for all_ in slices.values() for one in all_) == 80


@pytest.mark.parametrize("chunk", [1, 3, 10_000])
def test_the_file_does_not_depend_on_how_it_is_cut(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(trace, "CHUNK", chunk)
    made = recording([call("a"), call("b")], [(i % 2, 10 * i, 10 * i + 5, 7) for i in range(10)])
    trace.save(made, tmp_path / "t.json")
    assert checked((tmp_path / "t.json").read_bytes()) == trace.events(made)


def test_what_fails_midway_leaves_nothing(tmp_path, monkeypatch):
    made = recording([call("a")], [(0, 10 * i, 10 * i + 5, 7) for i in range(10)])
    monkeypatch.setattr(trace, "CHUNK", 4)
    numbers, dumps = count(), json.dumps
    monkeypatch.setattr(trace.json, "dumps", lambda *a, **k: dumps(*a, **k) if next(numbers) < 8 else 1 / 0)
    (tmp_path / "t.json").write_text("old")
    with pytest.raises(ZeroDivisionError):
        trace.save(made, tmp_path / "t.json")
    assert os.listdir(tmp_path) == ["t.json"] and (tmp_path / "t.json").read_text() == "old"
    with pytest.raises(OSError, match=r"cannot write .*t.json: .*; choose a directory that exists"):
        trace.save(made, tmp_path / "missing" / "t.json")
