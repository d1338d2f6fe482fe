"""The script that optimises all milestones' networks: what it prints, what it leaves behind, and how it ends."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from mlperf import tasks
from tests.milestones.test_scripts import PARTS, PNG, ROOT, check_report, environment
from tinytorch import weights

SCRIPT = ROOT / "milestones" / "06_2024_systems_age" / "optimize_models.py"


def started(*options):
    command = [sys.executable, SCRIPT.name, *map(str, options)]
    return subprocess.run(command, cwd=SCRIPT.parent, env=environment(), capture_output=True, text=True, timeout=300)


@pytest.mark.slow  # optimises four networks, measures them and what one costs
def test_a_quick_run_meets_the_claim_with_files_that_load(tmp_path):
    done = started("--quick", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    *text, last = done.stdout.splitlines()
    line = json.loads(last)
    assert line["met"] and line["quick"] and set(line["models"]) == {"perceptron", "xor", "mlp", "cnn"}
    for name, found in line["models"].items():
        path = tmp_path / f"{name}.safetensors"
        assert found["after"]["bytes"] == path.stat().st_size <= found["before"]["bytes"]
        model, task = tasks.find(name).build(), tasks.find(name)
        weights.load(model, path, resize=True)
        right = int((task.metric.labels(model.predict(task.data.x_test)) == task.data.y_test).sum())
        assert abs(right - found["after"]["correct"]) <= 1
        assert 100 * found["after"]["correct"] >= 99 * found["before"]["correct"]
        assert found["speedup"] > 2 and found["before"]["p50_us"] <= found["before"]["p90_us"]
        assert {"profile", "cache", "accelerate"} <= set(found["log_steps"])
        assert found["retrained"] is (name in ("mlp", "cnn"))
    cnn = line["models"]["cnn"]
    assert cnn["speedup"] >= 12 and cnn["smaller"] >= 8
    for plot in map(Path, line["plots"]):
        assert plot.parent == tmp_path and plot.read_bytes().startswith(PNG) and plot.stat().st_size > 10_000
    shown = "\n".join(text)
    check_report(line, 2024)
    before, after = line["report"]["performance"].values()
    assert after["flops"] < before["flops"] and after["ns"] < before["ns"]
    words = ("claim met", "nothing to shrink", "retrained", "shares of the speed-up", "before and after", "p90 us")
    for word in (*PARTS, *words):
        assert word in shown
    assert "100%" in done.stderr and "stage" in done.stderr


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"speedup": 11.9}, False),
        ({"bytes": 3098}, False),
        ({"bytes": 3097}, True),
        ({"correct": 353}, False),
    ],
)
def test_each_part_of_the_claim_counts(changes, met, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))  # as it is when the script is started
    script = runpy.run_path(str(SCRIPT))
    before = script["Side"](100.0, 120.0, 1e4, 24_776, 357)
    after = script["Side"](2.0, 3.0, 1e6, changes.get("bytes", 3000), changes.get("correct", 354))
    result = script["Result"](tasks.find("cnn"), [], before, after, changes.get("speedup", 12.0), 10.0, None)
    assert result.met is met


def test_help_shows_examples_and_exit_codes_and_wrong_options_exit_2(tmp_path):
    done = started("--help")
    assert done.returncode == 0 and "examples:" in done.stdout and "0 the claim is met" in done.stdout
    done = started("--fast")
    assert done.returncode == 2 and "unrecognized arguments: --fast" in done.stderr
