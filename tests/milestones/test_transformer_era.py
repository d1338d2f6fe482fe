"""The scripts of the transformer era as a user starts them, and what they are made of."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from milestones import language, plots
from milestones.options import REFERENCES, parsed
from milestones.run import Achievement, Curve, Milestone, Run, Version
from milestones.script import main as run_script
from tests.milestones.test_scripts import PARTS, PNG, ROOT, check_report, environment
from tinytorch import (
    GPT,
    CrossEntropyLoss,
    DataLoader,
    Tensor,
    TensorDataset,
    datasets,
    models,
    recipes,
    use_backend,
    weights,
)
from tinytorch.datasets import text as texts

FOLDER = ROOT / "milestones" / "05_2017_transformer_era"
SHAKESPEARE = Path(os.environ.get("TINYTORCH_DATA", "")) / "tinyshakespeare" / "input.txt"
PLAY = "".join(map(chr, range(48, 112))) + "\n"  # as many characters as in Shakespeare


@pytest.fixture
def script(monkeypatch):
    """`script(name)`: what a script defines; its folder is on the path, as it is when the script is started."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return lambda name: runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.fixture
def main(script, capsys):
    """`main(name, *options)`: a script without its report, run within this process; exit code and what it printed."""

    def start(name, *options, **others):
        found = script(name)
        code = run_script(found["MILESTONE"], found["achieve"], ["--no-report", *map(str, options)], **others)
        return code, capsys.readouterr()

    return start


def last_line(printed):
    return json.loads(printed.out.splitlines()[-1])


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """No text in a folder or in the cache, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv("TINYTORCH_DATA", raising=False)
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody listens there


@pytest.fixture
def play(monkeypatch):
    """Characters in one order, again and again, in place of tiny Shakespeare."""
    text = texts.Text("play", PLAY * 40, PLAY * 5, "0" * 64)
    monkeypatch.setattr(datasets, "tinyshakespeare", lambda: text)


# -- the scripts ------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # four hundred steps, and the kernels that they load
def test_shakespeare_when_quick_is_the_proof_of_attention(tmp_path):
    env = {**environment(), "TINYTORCH_BACKEND": "numba", "TINYTORCH_DATA": str(tmp_path)}
    command = [sys.executable, "vaswani_shakespeare.py", "--quick", "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=FOLDER, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["milestone"] == "transformer" and line["quick"] and line["steps"] == 400 and line["met"]
    assert line["reached"] >= line["required"] == 0.99
    assert line["weight_on_the_letter"] > 0.9, "the map shows the way only if a head looks at the letter"
    assert line["parameters"] == 105_728 and 5e6 < line["peak_memory_bytes"] < 50e6
    plot, _ = map(Path, line["plots"])
    check_report(line, 2017)
    (sweep,) = line["report"]["scaling"]
    assert sweep["exponents"]["attention FLOPs"]["all"] == {"exponent": 2.0, "spread": 0.0, "points": 5}
    assert plot == tmp_path / "out" / "reversal.png" and plot.read_bytes().startswith(PNG)
    assert "100%" in done.stderr and "held_out" in done.stderr
    for word in (*PARTS, "looks at the letter to be written", "claim met after 400 steps (--quick): 100.00% reached"):
        assert word in done.stdout


@pytest.mark.slow  # two thousand steps: a minute
@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason="TINYTORCH_DATA has no tinyshakespeare/input.txt")
def test_shakespeare_meets_its_claim(main, tmp_path):
    code, printed = main("vaswani_shakespeare", "--output", tmp_path, "--save", tmp_path / "w.safetensors")
    line = last_line(printed)
    assert code == 0 and line["reached"] < 1.7 and line["required"] == 1.8 and line["windows"] == 1742
    speeds = line["tokens_per_s"]
    assert speeds["without cache"] < speeds["with cache"] < speeds["with cache, compiled"]
    assert line["weights_sha256"] == weights.sha256(tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_size < 5e6


def test_without_the_text_it_says_what_to_do(main, tmp_path, unreachable):
    code, printed = main("vaswani_shakespeare", "--output", tmp_path / "out")
    assert code == 2
    there = "gpt-shakespeare: tinyshakespeare: there is no tinyshakespeare/input.txt in"
    for word in (there, "could not be downloaded", "TINYTORCH_DATA", "--quick"):
        assert word in printed.err
    assert not (tmp_path / "out").exists() and "Traceback" not in printed.err
    line = last_line(printed)
    assert there in f"gpt-shakespeare: {line.pop('why')}"
    assert line == {"milestone": "gpt-shakespeare", "met": False, "needs": "tinyshakespeare"}


def test_a_short_run_trains_writes_and_draws(main, tmp_path, play):
    with use_backend("numba"):
        code, printed = main("vaswani_shakespeare", "--steps", 60, "--output", tmp_path)
    line = last_line(printed)
    assert line["steps"] == 60 and line["milestone"] == "gpt-shakespeare" and not line["quick"]
    assert code == 0 and line["reached"] < 1, "an order of 65 characters is soon learned"
    assert line["sample"].startswith("ROMEO:\n") and len(line["sample"]) == 7 + 600
    assert line["parameters"] == 810_240 and line["windows"] == 5 and line["same_text"] is True
    assert list(line["tokens_per_s"]) == ["without cache", "with cache", "with cache, compiled"]
    assert [Path(plot).name for plot in line["plots"]] == ["shakespeare.png", "attention.png"]
    assert all(Path(plot).read_bytes().startswith(PNG) for plot in line["plots"])
    assert "claim met: a loss of 0." in printed.out and "at most 1.80 required" in printed.out
    assert "    ROMEO:" in printed.out.splitlines()


def test_a_run_that_is_too_short_misses_the_claim(main, tmp_path):
    with use_backend("numpy"):
        code, printed = main("attention_proof", "--steps", 1, "--output", tmp_path, "--save", tmp_path / "w")
    assert code == 1 and last_line(printed)["reached"] < 0.01 and "claim NOT met" in printed.out
    assert "not written, since the claim is not met" in printed.out and not (tmp_path / "w").exists()


@pytest.mark.parametrize("name", ["vaswani_shakespeare", "attention_proof"])
def test_help_counts_steps_and_says_what_quick_does(name):
    command = [sys.executable, f"{name}.py", "--help"]
    done = subprocess.run(command, cwd=FOLDER, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    shown = " ".join(done.stdout.split())
    assert f"how many steps to train (default: {2000 if name[0] == 'v' else 600})" in shown
    assert ("do another task, transformer, which needs no download" in shown) is (name[0] == "v")
    assert "for 400 steps only" in shown and "--epochs" not in shown


# -- what they are made of --------------------------------------------------------------------------------------------


def test_what_quick_does_instead_decides_where_weights_go(tmp_path):
    mine = Milestone("mlp", "t", "c", 0.5, 4, 2, tmp_path)
    other = Milestone("xor", "t", "c", 0.5, 40, 20, tmp_path)
    versions = {"default": Version(mine, print, (other, print))}
    assert parsed(versions, ["--save"]).save == REFERENCES / "mlp.safetensors"
    assert parsed(versions, ["--save", "--quick"]).save == REFERENCES / "xor.safetensors"


@pytest.mark.parametrize(("is_loss", "reached", "met"), [(False, 0.5, True), (False, 0.4, False), (True, 0.5, True),
                                                         (True, 0.51, False), (True, float("nan"), False)])  # fmt: skip
def test_a_loss_is_to_be_small(is_loss, reached, met, tmp_path):
    milestone = Milestone("m", "t", "c", 0.5, 4, 2, tmp_path, is_loss=is_loss)
    achieved = Achievement(models.perceptron(), np.zeros((1, 2)), reached)
    assert milestone.met(achieved) is met
    assert ("at most 0.50 required" in milestone.verdict(achieved)) is is_loss


def small():
    np.random.seed(0)
    tokens = np.random.default_rng(0).integers(0, 28, (7, 32))
    return GPT(28, 8, 1, 2, 32), tokens, tokens[:, -16:]


def test_weight_on_the_line_is_that_of_the_letters_place(script):
    data = datasets.load("reversal")
    maps = [np.zeros((500, 2, 32, 32)), np.zeros((500, 2, 32, 32))]
    for n, answer in enumerate(data.y_test):
        for i, letter in enumerate(answer):
            (place,) = [p for p in range(16) if p == 15 - i]
            assert data.x_test[n, place] == letter, "what stands there is what is to be written"
            maps[1][n, 0, 16 + i, place] = 1 if letter else 0  # padding does not count
            maps[0][n, 1, 16 + i, place] = 0.25
    np.testing.assert_allclose(script("attention_proof")["on_the_line"](maps, data.y_test), [[0, 0.25], [1, 0]])


def test_mean_loss_counts_sequences_and_not_batches(monkeypatch):
    model, x, _ = small()
    whole = CrossEntropyLoss()(model(Tensor(x)), Tensor(x)).item()
    monkeypatch.setattr(language, "AT_ONCE", 3)  # three, three and one
    assert language.mean_loss(model, CrossEntropyLoss(), x, x) == pytest.approx(whole, rel=1e-5)


def test_single_steps_are_watched_and_timed_without_the_watching(tmp_path):
    model, x, _ = small()
    batches = language.forever(DataLoader(TensorDataset(x, x), 3))
    run, watched = Run(0, 5, tmp_path), []
    with use_backend("numpy"):
        trainer = language.trainer(model, recipes.Language(5, 3, 0.01), 5, CrossEntropyLoss(), x[:3], x[:3])
    assert trainer.captured is None, "there is nothing to capture for"

    def watch():
        watched.append(trainer.step)
        run.seconds -= 1000.0 if len(watched) == 1 else 0.0
        return float(len(watched))

    curve = run.train_steps(trainer, batches, "t", watch, 2)
    assert watched == [2, 4, 5] and curve.watched == {2: 1.0, 4: 2.0, 5: 3.0} and len(curve.losses) == 5
    assert -1000 < run.seconds < -900 and run.peak_memory_bytes > 1000


def test_a_captured_step_holds_its_memory_all_the_time(tmp_path):
    model, x, _ = small()
    with use_backend("numba"):
        trainer = language.trainer(model, recipes.Language(2, 7, 0.01), 2, CrossEntropyLoss(), x, x)
        run = Run(0, 2, tmp_path)
        run.train_steps(trainer, language.forever(DataLoader(TensorDataset(x, x), 7)), "t", lambda: 0.0, 1)
    assert trainer.captured is not None and trainer.step == 2
    assert trainer.captured.arena_bytes < run.peak_memory_bytes < trainer.captured.arena_bytes + 1e6


def test_attention_maps_show_every_weight():
    _, (axes,) = plots.panels("t", 1)
    seen = np.random.default_rng(0).random((3, 5))
    image = plots.attention_map(axes, seen, list("abc"), list("abcde"), "t")
    np.testing.assert_array_equal(image.get_array(), seen)
    assert image.get_clim() == (0, 1), "a weight has the same colour on every map"
    assert [label.get_text() for label in axes.get_yticklabels()] == list("abc")


def test_the_curve_of_steps_means_over_whole_windows():
    _, (axes,) = plots.panels("t", 1)
    plots.step_curve(axes, Curve([4.0, 2.0, 1.0, 1.0, 9.0], {2: 3.0, 5: 1.0}), 2, required=1.5)
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in axes.lines}
    assert lines["training"] == [[1.5, 3.0], [3.5, 1.0]] and lines["held out"] == [[2, 3.0], [5, 1.0]]
    assert [text.get_text() for text in axes.texts] == ["required: 1.50"]
