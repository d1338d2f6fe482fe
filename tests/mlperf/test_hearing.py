"""Reports of foreign code: bounded, and whatever they are, an error that says so."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlperf.confinement.hearing import MOST_TOLD, LimitExceeded, Refused, WorkerError, checked, lines, read, refusal
from mlperf.confinement.limits import Limits

WHOLE = {
    "worker": {}, "queries": {"ref_ns": [1]}, "trace": [0], "ref_told": [1], "opt_told": [1], "pools": {},
    "calibration_kernel_ns": 5,
}  # fmt: skip
LITTLE = Limits(seconds=1, output_bytes=100, reports=3)


@given(st.binary(max_size=300))
def test_a_line_is_an_event_or_an_error_with_the_worker_s_name(line):
    try:
        event = read(line, "worker 7")
    except WorkerError as error:
        assert str(error).startswith("worker 7 reported something that is no ")
    else:
        assert isinstance(event["event"], str)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"[" * 100_000, "no JSON"),
        (b'{"event": "result", "found": NaN}', "NaN is no number"),
        (b'{"event": "result", "found": -Infinity}', "-Infinity is no number"),
        (b'{"event": ' + b"9" * 5000 + b"}", "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b'["event"]', "no event"),
        (b'{"event": 3}', "no event"),
        (b"{}", "no event"),
    ],
)
def test_what_is_no_event_is_an_error(line, text):
    with pytest.raises(WorkerError, match=text):
        read(line, "worker 0")


def test_a_refusal_names_a_rule_that_there_is():
    refused = refusal({"code": "ENTRY", "text": "no" * MOST_TOLD}, "worker 0")
    assert isinstance(refused, Refused) and refused.code == "ENTRY" and len(str(refused)) == MOST_TOLD
    for code, text in (("NO_SUCH_RULE", "no"), ("<b>" * 1000, "no"), (None, "no"), (["ENTRY"], "no"), ("ENTRY", 5)):
        error = refusal({"code": code, "text": text}, "worker 0")
        assert type(error) is WorkerError and len(str(error)) < 200
        assert str(error).startswith("worker 0 reported a breach of a rule that there is not: ")


def test_reading_ends_at_the_limits():
    assert list(lines(io.BytesIO(b"a\nb\nc\n"), LITTLE)) == [b"a\n", b"b\n", b"c\n"]
    with pytest.raises(LimitExceeded, match="stopped at the limit reports: 4 used, 3 allowed"):
        list(lines(io.BytesIO(b"a\nb\nc\nd\n"), LITTLE))
    endless = io.BytesIO(b"x" * 1_000_000)
    with pytest.raises(LimitExceeded, match="stopped at the limit output_bytes"):
        list(lines(endless, LITTLE))
    assert endless.tell() == 101  # no more was read than tells that it is too much
    assert len(list(lines(io.BytesIO(b"x\n" * 1000), Limits(seconds=1)))) == 1000


def test_limits_speak_in_their_units_and_are_a_breach_of_a_rule():
    error = LimitExceeded("memory_bytes", 2e9, 2.5e9)
    assert isinstance(error, Refused) and isinstance(error, WorkerError) and error.code == "LIMIT_EXCEEDED"
    assert str(error) == "stopped at the limit memory_bytes: 2,500.0 MB used, 2,000.0 MB allowed"
    assert "1.6 s used, 1.5 s allowed" in str(LimitExceeded("seconds", 1.5, 1.55))
    assert (error.limit, error.allowed, error.used) == ("memory_bytes", 2e9, 2.5e9)


def test_a_whole_report_is_kept_as_it_is():
    assert checked(WHOLE, "worker 0").queries == {"ref_ns": [1]}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"worker": [1]}, "worker: "),
        ({"queries": {"ref_ns": ["1"]}}, "queries.ref_ns.0: "),
        ({"trace": None}, "trace: "),
        ({"calibration_kernel_ns": 1.5}, "calibration_kernel_ns: "),
        ({"unheard_of": 1}, "unheard_of: "),
    ],
)
def test_a_report_of_another_shape_is_an_error(change, text):
    with pytest.raises(WorkerError, match=f"worker 3 reported something else than a measurement: {text}"):
        checked({**WHOLE, **change}, "worker 3")


VALUES = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3) | st.just({})


@given(st.fixed_dictionaries({}, optional={name: st.just(value) | VALUES for name, value in WHOLE.items()}))
def test_whatever_its_fields_are_it_is_a_report_or_an_error(found):
    try:
        report = checked(found, "worker 0")
    except WorkerError as error:
        assert "worker 0 reported something else than a measurement" in str(error)
    else:
        assert found == {name: value for name, value in report._asdict().items() if name in found}
