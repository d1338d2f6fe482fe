"""The four scripts as a user starts them: what they print, what they leave behind, and how they end."""

from __future__ import annotations

import importlib.metadata
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from milestones import eras
from milestones.run import Run
from milestones.script import main as run_script
from tinytorch import datasets, models, use_backend, weights

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "perceptron": ROOT / "milestones" / "01_1957_perceptron" / "perceptron_trained.py",
    "xor": ROOT / "milestones" / "02_1969_xor_crisis" / "xor_solved.py",
    "mlp": ROOT / "milestones" / "03_1986_mlp_revival" / "mlp_digits.py",
    "cnn": ROOT / "milestones" / "04_1998_cnn_revolution" / "cnn_digits.py",
}
PARAMETERS = {"perceptron": 3, "xor": 17, "mlp": 6570, "cnn": 6090}
REQUIRED = {"perceptron": 0.95, "xor": 1.0, "mlp": 0.97, "cnn": 0.98}
YEARS = {"perceptron": 1957, "xor": 1969, "mlp": 1986, "cnn": 1998}
PARTS = ("memory\n------", "performance\n---", "architecture\n---", "scaling\n---", "to think about\n---")
PNG = b"\x89PNG\r\n\x1a\n"


def environment():
    """NumPy's backend, so that nothing has to be compiled; the checkout is on the path where it is not installed."""
    env = {**os.environ, "TINYTORCH_BACKEND": "numpy"}
    try:
        importlib.metadata.distribution("tinytorch-mlperf")
    except importlib.metadata.PackageNotFoundError:
        env["PYTHONPATH"] = str(ROOT)
    return env


def check_report(line, year):
    """What holds of every report, whatever the machine."""
    found = line["report"]
    for memory in found["memory"].values():
        assert memory["resident_bytes"] > 1e6
    for costs in found["performance"].values():
        assert costs["flops"] > 0 and costs["low_ns"] <= costs["ns"] <= costs["high_ns"]
    assert found["layers"][-1]["layer"] == "outside ops"
    *_, whole = found["performance"].values()
    assert sum(layer["flops"] for layer in found["layers"]) == whole["flops"]
    counted = line.get("parameters", found["here"].get("parameters"))
    assert sum(layer["parameters"] for layer in found["layers"]) == counted
    for sweep in found["scaling"]:
        sizes = [point["size"] for point in sweep["points"]]
        assert len(sizes) >= 5 and sizes == sorted(sizes) and all(point["ns"] > 0 for point in sweep["points"])
        exponents = sweep["exponents"]["FLOPs"]
        assert 0.8 < exponents["all"]["exponent"] < 2.1 and exponents["all"]["points"] == len(sizes)
        assert exponents["last_3"]["spread"] < 0.1, "FLOPs are counted, and nearly a power of the size"
    assert "scaling.png" in {Path(plot).name for plot in line["plots"]}
    assert set(found["here"]) <= set(found["then"]) == {fact.what for fact in eras.ERAS[year]}


def run(name, *options, cwd=None):
    """The script started in its own folder by its bare name, or elsewhere by its path."""
    script = SCRIPTS[name]
    command = [sys.executable, script.name if cwd is None else str(script), *map(str, options)]
    return subprocess.run(
        command, cwd=cwd or script.parent, env=environment(), capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def main(capsys):
    """`main(name, *options)`: a script without its report, run within this process; exit code, JSON line and output."""

    def start(name, *options):
        script = runpy.run_path(str(SCRIPTS[name]))
        with use_backend("numpy"):
            code = run_script(script["MILESTONE"], script["achieve"], ["--no-report", *map(str, options)])
        out = capsys.readouterr().out
        return code, json.loads(out.splitlines()[-1]), out

    return start


@pytest.mark.slow  # trains four networks and measures what they cost, each in a process
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_quick_run_meets_the_claim_and_says_so(name, tmp_path):
    done = run(name, "--quick", "--output", tmp_path / "new" / "folder")
    assert done.returncode == 0, done.stderr
    *text, last = done.stdout.splitlines()
    line = json.loads(last)
    assert line["milestone"] == name and line["met"] is True and line["quick"] is True and line["seed"] == 0
    assert line["reached"] >= line["required"] == REQUIRED[name]
    assert line["parameters"] == PARAMETERS[name] and line["flops"] > 0 and line["seconds"] > 0
    assert 1000 < line["peak_memory_bytes"] < 50e6
    for plot in map(Path, line["plots"]):
        assert plot.parent == tmp_path / "new" / "folder" and plot.read_bytes().startswith(PNG)
        assert plot.stat().st_size > 10_000
    written = {p.name for p in (tmp_path / "new" / "folder").iterdir()}
    assert written == {Path(p).name for p in line["plots"]} and len(written) == 2
    shown = "\n".join(text)
    for word in ("parameters", "FLOPs", "peak memory", "training", "claim met", "--quick", *PARTS):
        assert word in shown
    check_report(line, YEARS[name])
    assert "100%" in done.stderr and "epoch" in done.stderr, "the progress bar goes to stderr"


def test_it_runs_from_the_root_too(tmp_path):
    script = SCRIPTS["perceptron"].relative_to(ROOT)
    command = [sys.executable, str(script), "--quick", "--output", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, timeout=120).returncode == 0


def test_xor_shows_the_single_layer_failing_and_ten_nets_succeeding(main, tmp_path):
    code, line, _ = main("xor", "--seed", 10, "--output", tmp_path)
    assert code == 0 and line["seed"] == 10
    assert line["single_layer"] < 0.8 and line["accuracies"] == [1.0] * 10


def test_a_claim_that_is_missed_exits_1_and_writes_no_weights(main, tmp_path):
    code, line, out = main("mlp", "--epochs", 1, "--output", tmp_path, "--save", tmp_path / "w.safetensors")
    assert code == 1 and line["met"] is False and line["reached"] < 0.97 and line["epochs"] == 1
    assert "claim NOT met" in out and "not written, since the claim is not met" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["digits.png"]


def test_the_same_seed_makes_the_same_weights_and_another_seed_others(main, tmp_path):
    digests = []
    for i, seed in enumerate((0, 0, 1)):
        file = tmp_path / f"{i}.safetensors"
        _, line, _ = main("perceptron", "--quick", "--seed", seed, "--output", tmp_path, "--save", file)
        assert line["weights_sha256"] == weights.sha256(file)
        digests.append(line["weights_sha256"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--epochs", "0"], "argument --epochs: 0 is not at least 1"),
        (["--epochs", "many"], "argument --epochs: 'many' is not a whole number at least 1"),
        (["--seed", "-1"], "argument --seed: -1 is not from 0 to 2147483647"),
        (["--sed", "1"], "unrecognized arguments: --sed 1"),
        (["--output", "FILE/folder"], "is no writable directory; choose another"),
        (["--save", "FILE/folder/w"], "is no directory; choose one that exists"),
    ],
)
def test_wrong_options_exit_2_before_anything_is_trained(options, text, tmp_path):
    (tmp_path / "FILE").write_text("")
    done = run("cnn", *options, cwd=tmp_path)
    assert done.returncode == 2 and text in done.stderr
    assert done.stdout == "" and [p.name for p in tmp_path.iterdir()] == ["FILE"]


def test_help_says_what_quick_means_and_the_exit_codes():
    done = run("perceptron", "--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert "the same figure is required and decides the exit code" in text
    codes = "0 the claim is met, 1 it is not or the run failed, 2 wrong options or missing data, 130 after Ctrl-C"
    assert f"exit code: {codes}" in text


def test_ctrl_c_exits_130_and_leaves_nothing(tmp_path):
    script = SCRIPTS["mlp"]
    command = [sys.executable, str(script), "--epochs", "100000", "--output", str(tmp_path / "out")]
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        running.stdout.readline()  # the title: options are read, training begins
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 130 and "mlp: interrupted, nothing half written" in errors
    assert "Traceback" not in errors and list(tmp_path.iterdir()) == []


def test_the_settings_for_xor_hold_on_a_validation_split(tmp_path):
    """They were chosen there: a rate of 0.1 is right from each start on data that are not counted."""
    script = runpy.run_path(str(SCRIPTS["xor"]))
    held_out = datasets.validation_split(datasets.load("xor"), seed=4, fraction=0.25)
    for seed in range(3):
        np.random.seed(seed)
        net = models.xor()
        net[0].bias.data[:] = -held_out.x_train.mean(0) @ net[0].weight.data
        with use_backend("numpy"):
            script["trained"](Run(seed, script["MILESTONE"].length, tmp_path), net, held_out, seed, "xor")
        assert script["accuracy"](net, held_out) == 1
