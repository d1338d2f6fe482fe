"""Tables as a person reads them, the JSON that programs read, and the plots."""

from __future__ import annotations

import json
import math
import re

import pytest

from benchmarks import plots, table, transformer
from benchmarks.targets import evaluate
from benchmarks.transformer_work import Attention, Gpt, Text
from tests.benchmarks.results import MS, gemm, latency, result, scaling, step

RESULTS = [gemm(), latency(), scaling(17e6), step(1e6)]


def test_tables(golden):
    targets = evaluate(RESULTS)
    parts = [*(table.group_table([result]) for result in RESULTS), table.limits_line(RESULTS)]
    golden("benchmarks", "\n\n".join([*parts, table.target_table(targets)]) + "\n")


def test_the_document_keeps_every_time():
    made = json.loads(json.dumps(table.document(RESULTS, evaluate(RESULTS), {"cpu": None}), allow_nan=False))
    assert made["results"][0]["times_ns"]["torch eager"] == [60_000.0, 60_000.0, 120_000.0]
    assert made["results"][0]["failed"] == {"onnxruntime float32": "not installed"}
    assert made["results"][0]["flops"] == 2 * 128**3
    assert made["targets"][0]["measured"]["median"] == pytest.approx(0.9)


def test_the_last_line_lists_what_is_missed():
    targets = evaluate(RESULTS)
    line = table.last_line(targets, 12.34)
    assert "\n" not in line
    last = json.loads(line)
    assert last["targets"] == len(targets) and last["seconds"] == 12.3
    missed = {one["name"]: one["measured"] for one in last["missed"]}
    assert missed["large kernels: one thread / all"] == 1.7
    assert last["reached"] == last["targets"] - len(missed)


def test_a_busy_machine_is_told():
    quiet, busy = latency(), latency()
    quiet.others_cores, busy.others_cores, busy.repeated = [0.0, 0.1], [0.1, 0.9], 2
    assert table.disturbance_line([quiet]) == ""
    told = table.disturbance_line([quiet, busy])
    assert told.startswith("other processes were busy: 2 rounds were done again, 1 of the 4 that count are disturbed")


def test_what_a_cache_gains():
    assert table.cache_table(RESULTS) == ""
    times = {"tinytorch eager, no cache": [6 * MS, 7 * MS, 8 * MS], "tinytorch eager, cache": [2 * MS] * 3,
             "tinytorch compiled, cache": [1 * MS] * 3}  # fmt: skip
    told = table.cache_table([result("transformer", Text(Gpt(), 16), transformer.WRITERS, times)])
    headers, _, row = told.splitlines()
    assert re.split("  +", headers.strip()) == ["tokens", "eager: no cache / cache", "compiled: no cache / cache"]
    assert row.split() == ["16", "3.50", "(3.00..4.00)", "-"]


def test_memory_is_a_note():
    made = result("transformer", Attention(4, 512), (transformer.EAGER,), {"tinytorch eager": [MS] * 3})
    made.peak_bytes = {"tinytorch eager": 5 << 19}
    assert table.group_table([made]).splitlines()[-1].endswith("holds 2.50 MB")


def test_no_limits_no_line():
    assert table.limits_line([latency()]) == ""


def test_plots_are_written_and_left_out_where_there_is_nothing(tmp_path):
    paths = plots.draw(RESULTS, evaluate(RESULTS), tmp_path / "new")
    assert [path.name for path in paths] == ["benchmarks_targets.png", "benchmarks_times.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert plots.draw([], [], tmp_path) == []


def test_a_plot_shows_each_target_on_its_side_of_the_line():
    targets = evaluate(RESULTS)
    axes = plots.targets_figure(targets).axes[0]
    assert [label.get_text().rsplit(" (", 1)[0] for label in axes.get_yticklabels()] == [t.name for t in targets]
    for bar, target in zip(axes.patches, targets):
        assert math.isclose(1 + bar.get_width(), target.measured.median / target.required)
        assert bool(bar.get_hatch()) != target.reached
