"""Reports as data, as files and as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from profiler import tables
from profiler.report import Report, ReportError
from tests.profiler.made_up import MACHINE, M, line, report


def test_totals_by_layer_and_by_op():
    made = report()
    layers = {total.name: total for total in made.by_layer()}
    assert list(layers) == ["0", "1", ""] and layers["0"].kind == "Linear"
    assert (layers["0"].ns, layers["0"].flops, layers["0"].bytes) == (1.6e6, 80_000_000, 2 * M)
    assert [total.name for total in made.by_layer("update")] == [""]
    assert [total.name for total in made.by_op()][:2] == ["linear", "linear_weight_grad"]
    assert made.ops_ns == pytest.approx(1.9e6) and made.flops == 80_000_000 + 2 * 16_384 + 2_621_440
    assert made.memory.at_peak.op == "linear_weight_grad"


def test_written_and_read_again_it_is_the_same(tmp_path):
    made = report()
    made.save(tmp_path / "a.json")
    assert Report.load(tmp_path / "a.json") == made
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_another_version_damage_and_what_is_no_json_are_refused(tmp_path):
    path, made = tmp_path / "a.json", report().model_dump(mode="json")
    path.write_text(json.dumps(made | {"schema_version": 2}))
    with pytest.raises(ReportError, match=r"its schema_version is 2, this profiler reads 1; profile again to compare"):
        Report.load(path)
    path.write_text("[1]")
    with pytest.raises(ReportError, match="schema_version is None"):
        Report.load(path)
    path.write_text("{")
    with pytest.raises(ReportError, match=r"not JSON .*; make a report with: python -m profiler cnn -o "):
        Report.load(path)
    made["lines"][0]["flops"] = "many"
    path.write_text(json.dumps(made))
    with pytest.raises(ReportError, match=r"lines\.0\.flops: .*; the file is damaged or was edited: profile again"):
        Report.load(path)
    with pytest.raises(OSError):
        Report.load(tmp_path / "none.json")


@given(st.binary(max_size=200), st.integers(0, 5000))
def test_damaged_files_are_refused_and_nothing_else_happens(tmp_path_factory, junk, at):
    path = tmp_path_factory.mktemp("reports") / "a.json"
    whole = report().model_dump_json().encode()
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    try:
        assert isinstance(Report.load(path), Report)
    except ReportError as error:
        assert str(path) in str(error)


def test_unknown_fields_and_infinity_are_refused():
    with pytest.raises(ValidationError):
        report(mood="good")
    with pytest.raises(ValidationError):
        report(wall_ns=float("inf"))


def test_text(golden):
    golden("profile", tables.text(report(), every_line=True) + "\n")


def test_text_without_ceilings_and_memory(golden):
    golden("profile_bare", str(report(ceilings=None, memory=None, doubts=(), passes=1, form="script")) + "\n")


def test_comparison(golden):
    after = report(
        subject="quicker", form="plan", wall_ns=5e5, outside_ns=0, threads=1,
        lines=(line("0", ns=4e5), line("2", "softmax", 1e5)),
        ceilings=MACHINE.model_copy(update={"cpu": "Other 1"}),
    )  # fmt: skip
    golden("profile_comparison", tables.comparison(report(), after) + "\n")


def test_many_layers_are_summed_up_in_one_row_and_the_rows_still_make_the_whole():
    lines = tuple(line(f"blocks.{i}", ns=1e4 * (i + 1)) for i in range(50))
    made = report(lines=lines, outside_ns=0, wall_ns=sum(one.ns for one in lines), memory=None)
    text = tables.layers_table(made)
    assert "20 others" in text and "blocks.49" in text and "blocks.5 " not in text
    shares = [float(word[:-1]) for row in text.splitlines()[2:-2] for word in row.split() if word.endswith("%")][::2]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))


# -- suggestions -------------------------------------------------------------------------------------------------------


def said(**changes):
    made = report(lines=(line(**changes),), wall_ns=1e6, outside_ns=0)
    (sentence,) = made.suggestions()
    return sentence


@pytest.mark.parametrize(
    "changes, words",
    [
        ({}, ["0 (Linear), 100% of a pass", "bound by compute", "at 40% of", "`quantize`", "`prune`"]),
        ({"flops": 90_000_000}, ["bound by compute, at 90%", "only less work helps"]),
        ({"flops": 10_000_000, "bytes": 100}, ["bound by compute, but only at 10%", "a larger batch"]),
        ({"flops": 1000, "bytes": 10 * M, "kind": "ReLU"}, ["bound by memory, 10.0 MiB", "`quantize` moves a quarter"]),
        ({"flops": 1000, "bytes": 10 * M, "phase": "backward"}, ["bound by memory", "`prune` leaves fewer"]),
        ({"phase": "backward"}, ["bound by compute", ": `prune` leaves out"]),
        ({"flops": 100, "bytes": 100, "calls": 10}, ["bound by overhead, 10 calls of 100 us", "`accelerate`"]),
        ({"kernels": ()}, ["bound by compute", "in NumPy: the numba backend"]),
        ({"arithmetic": "int8", "flops": 200_000_000}, ["on integers: `prune` leaves less"]),
    ],
)
def test_what_bounds_a_layer_and_what_helps(changes, words):
    assert all(word in said(**changes) for word in words), said(**changes)


def test_time_outside_ops_is_spoken_of_first_and_cold_layers_never():
    made = report(lines=(line(ns=9e5), line("1", ns=5e4)), wall_ns=2e6, outside_ns=1.05e6)
    outside, hot = made.suggestions()
    assert outside.startswith("52% of a pass are outside ops, in Python: `accelerate`") and hot.startswith("0 (Linear)")
    assert report(ceilings=None).suggestions() == ()


def test_of_a_deep_network_kinds_are_spoken_of():
    lines = tuple(line(f"blocks.{i}", ns=5e4) for i in range(20))
    (sentence,) = report(lines=lines, wall_ns=1e6, outside_ns=0).suggestions()
    assert sentence.startswith("all Linear, 20 layers, 100% of a pass: ")
