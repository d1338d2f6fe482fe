"""The scripts for MNIST and CIFAR-10 as a user starts them, on small data of the real forms and on the real data."""

from __future__ import annotations

import gzip
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from milestones import plots, vision
from milestones.run import Achievement, Milestone, Part, Version
from milestones.script import main as run_script
from tests.milestones.test_scripts import PARTS, PNG, ROOT, check_report, environment
from tinytorch import datasets, models, use_backend, weights
from tinytorch.datasets import cifar, idx

MNIST = ROOT / "milestones" / "03_1986_mlp_revival" / "mlp_mnist.py"
CIFAR10 = ROOT / "milestones" / "04_1998_cnn_revolution" / "lecun_cifar10.py"
REAL = Path(os.environ.get("TINYTORCH_DATA", ""))
real_mnist = pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="TINYTORCH_DATA has no mnist/")
real_cifar10 = pytest.mark.skipif(
    not [*REAL.glob("cifar-10-b*")], reason="TINYTORCH_DATA has no cifar-10-binary.tar.gz"
)
COUNTS, RECORDS = (1000, 100), 60  # images of the small data sets; records in each of CIFAR's six files


@pytest.fixture
def data(monkeypatch, tmp_path) -> Path:
    """An empty data folder, a cache of one's own, and no way out to a network."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("TINYTORCH_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody listens there
    return folder


def easy(pictures, count, seed) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, ...) of ten classes, each a picture of its own under noise, and their classes (count,)."""
    y, noise = np.arange(count) % 10, np.random.default_rng(seed).integers(0, 56, (count, *pictures.shape[1:]))
    return (pictures[y] + noise).astype(np.uint8), y.astype(np.uint8)


@pytest.fixture
def small_mnist(data, monkeypatch):
    monkeypatch.setattr(idx, "COUNTS", COUNTS)
    pictures = np.random.default_rng(0).integers(0, 200, (10, 4, 4)).repeat(7, 1).repeat(7, 2)  # may be moved a little
    (data / "mnist").mkdir()
    for seed, (stem, count) in enumerate(zip(("train", "t10k"), COUNTS)):
        for kind, array in zip(("images-idx3", "labels-idx1"), easy(pictures, count, seed)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (data / "mnist" / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def small_cifar10(data, monkeypatch):
    monkeypatch.setattr(cifar, "RECORDS", RECORDS)
    colours = np.random.default_rng(0).integers(0, 200, (10, 3, 1, 1)).repeat(32, 2).repeat(32, 3)
    (data / cifar.FOLDER).mkdir()
    for seed, name in enumerate((*cifar.TRAIN, cifar.TEST)):
        x, y = easy(colours, RECORDS, seed)
        (data / cifar.FOLDER / name).write_bytes(np.concatenate([y[:, None], x.reshape(RECORDS, -1)], 1).tobytes())


@pytest.fixture
def start(capsys, monkeypatch):
    """`start(script, *options)`: a script within this process; exit code, JSON line, and what was printed."""

    def run(script, *options):
        monkeypatch.syspath_prepend(str(script.parent))  # as when it is started
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, options)])
        with use_backend("numba"), pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        printed = capsys.readouterr()
        lines = printed.out.splitlines()
        return ended.value.code, json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}, printed

    return run


# -- on small data sets ------------------------------------------------------------------------------------------------


def test_mnist_is_trained_read_and_drawn(start, small_mnist, tmp_path):
    code, line, printed = start(MNIST, "--epochs", 8, "--output", tmp_path / "out", "--save", tmp_path / "w")
    assert code == 0 and line["milestone"] == "mlp-mnist" and line["reached"] == 1
    assert line["parameters"] == 109_386 and line["epochs"] == 8 and len(line["epoch_seconds"]) == 8
    assert line["images_per_s"] > 100 and line["held_out"][-1] == 1 and set(line["by_class"].values()) == {1}
    assert [Path(plot).name for plot in line["plots"]] == ["mnist.png", "mnist_answers.png", "scaling.png"]
    assert all(Path(plot).read_bytes().startswith(PNG) for plot in line["plots"])
    check_report(line, 1986)
    for word in (*PARTS, "images/s", "claim met: 100.00% reached, 98% required"):
        assert word in printed.out
    assert "held_out=100.0%" in printed.err and "img/s" in printed.err and "loss=" in printed.err
    model = models.MODELS["mlp-mnist"]()
    weights.load(model, tmp_path / "w")
    assert line["weights_sha256"] == weights.sha256(tmp_path / "w")
    images = datasets.mnist()
    answers = model.predict(images.normalised(images.x_test).reshape(-1, 784)).argmax(1)
    assert (answers == images.y_test).all(), "the weights are those of the task's net, for flat images"


@pytest.mark.slow  # the report of the CIFAR-10 net
def test_cifar10_is_trained_read_and_drawn(start, small_cifar10, tmp_path):
    options = "--quick", "--epochs", 8, "--output", tmp_path / "out", "--save", tmp_path / "w"
    code, line, printed = start(CIFAR10, *options)
    assert code == 0 and line["milestone"] == "cnn-cifar10-quick" and line["reached"] == line["first_1000"] > 0.7
    assert line["required"] == 0.5 and "two epochs on 10,000 photographs" in line["claim"]
    assert line["parameters"] == 1_126_026 and line["epochs"] == 8 and set(line["by_class"]) == set(cifar.CLASSES)
    assert [Path(plot).name for plot in line["plots"]] == ["cifar10.png", "cifar10_answers.png", "scaling.png"]
    check_report(line, 1998)
    assert "of the first 1,000" in printed.out and "claim met" in printed.out
    weights.load(models.MODELS["cnn-cifar10"](), tmp_path / "w")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "cifar10.png", "cifar10_answers.png", "scaling.png",
    ], "the checkpoint goes when all that came of it is written"  # fmt: skip


@pytest.mark.slow  # the report of the best net
def test_the_best_net_needs_what_the_first_images_need_too(start, small_cifar10, tmp_path):
    code, line, printed = start(CIFAR10, "--recipe", "best", "--epochs", 1, "--output", tmp_path)
    assert line["milestone"] == "cifar10-best" and line["required"] == 0.87 and line["parameters"] == 1_113_336
    met = line["reached"] >= 0.87 and line["first_1000"] >= 0.9
    assert (code, line["met"]) == (0 if met else 1, met)
    assert f"the first 1,000: {line['first_1000']:.2%}, 90% required" in printed.out
    check_report(line, 1998)


@pytest.mark.parametrize(
    ("script", "name", "needs"), [(MNIST, "mlp-mnist", "mnist"), (CIFAR10, "cnn-cifar10", "cifar10")]
)
@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_without_data_it_says_what_to_do_and_exits_2(start, data, tmp_path, script, name, needs, options):
    code, line, printed = start(script, "--output", tmp_path / "out", *options)
    assert code == 2 and line["needs"] == needs and line["met"] is False and needs in line["why"]
    for word in (f"{needs}: ", "TINYTORCH_DATA", str(data), "https://", "datasets.load('digits-images')"):
        assert word in printed.err
    assert "Traceback" not in printed.err and not (tmp_path / "out").exists()


def test_help_tells_of_recipes_and_of_going_on(start, golden, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    code, _, printed = start(CIFAR10, "--help")
    assert code == 0
    golden("lecun_help", printed.out)


# -- stopped and continued ---------------------------------------------------------------------------------------------

PROGRAM = """
import os, runpy, signal, sys
from tinytorch.core.training import Trainer
from tinytorch.datasets import cifar
cifar.RECORDS, save = {records}, Trainer.save_checkpoint

def and_die(self, *args):
    save(self, *args)
    if self.epoch == 2:
        os.kill(os.getpid(), {signal})

Trainer.save_checkpoint = and_die
sys.argv[1:] = {options}
sys.path.insert(0, {folder!r})
runpy.run_path({script!r}, run_name="__main__")
"""


def stopped(how: signal.Signals, *options) -> subprocess.CompletedProcess:
    """The script for CIFAR-10, which gets a signal when it has saved its second epoch."""
    program = PROGRAM.format(
        records=RECORDS, signal=int(how), options=[*map(str, options)], script=str(CIFAR10), folder=str(CIFAR10.parent)
    )
    env = {**environment(), "TINYTORCH_BACKEND": "numba"}
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)


QUICK = "--quick", "--epochs", 6, "--no-report"


@pytest.mark.slow  # four trainings of the CIFAR-10 net, on few images
def test_a_run_that_was_killed_is_continued_to_the_same_weights(start, small_cifar10, tmp_path):
    _, whole, _ = start(CIFAR10, *QUICK, "--output", tmp_path / "a", "--save", tmp_path / "a.safetensors")
    died = stopped(signal.SIGKILL, *QUICK, "--output", tmp_path / "b")
    assert died.returncode == -signal.SIGKILL, died.stderr
    (checkpoint,) = (tmp_path / "b").iterdir()
    assert checkpoint.suffix == ".checkpoint" and checkpoint.name.startswith("cnn-cifar10-quick-")

    _, other, printed = start(CIFAR10, *QUICK, "--seed", 1, "--output", tmp_path / "b")
    assert "continues" not in printed.out and checkpoint.exists(), "another seed is another run"

    code, line, printed = start(CIFAR10, *QUICK, "--output", tmp_path / "b", "--save", tmp_path / "b.safetensors")
    assert f"after epoch 2 of 6, from {checkpoint}; --anew begins again" in " ".join(printed.out.split())
    assert code == 0 and not checkpoint.exists() and len(line["loss"]) == len(line["epoch_seconds"]) == 6
    assert line["weights_sha256"] == whole["weights_sha256"] and line["loss"] == whole["loss"] != other["loss"]
    assert line["held_out"] == whole["held_out"]


@pytest.mark.slow  # trainings of the CIFAR-10 net, on few images
def test_what_can_be_continued_is_said_and_can_be_begun_anew(start, small_cifar10, tmp_path):
    died = stopped(signal.SIGINT, *QUICK, "--output", tmp_path)
    assert died.returncode == 130 and "the same command continues after the last whole epoch" in died.stderr
    assert "Traceback" not in died.stderr
    (checkpoint,) = tmp_path.glob("*.checkpoint")

    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1000])
    code, _, printed = start(CIFAR10, *QUICK, "--output", tmp_path)
    assert code == 1 and str(checkpoint) in printed.err and "or begin again with --anew" in printed.err
    assert checkpoint.read_bytes() == whole[:-1000]

    code, line, printed = start(CIFAR10, *QUICK, "--output", tmp_path, "--anew")
    assert code == 0 and "continues" not in printed.out and line["epochs"] == 6 and not checkpoint.exists()


# -- on the real ones --------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.slow  # eight epochs of MNIST: six seconds
@real_mnist
def test_mnist_meets_its_claim_even_when_quick(start, tmp_path):
    code, line, _ = start(MNIST, "--quick", "--no-report", "--output", tmp_path)
    assert code == 0 and line["reached"] >= line["required"] == 0.98 and line["seconds"] < 60


@pytest.mark.data
@pytest.mark.slow  # two epochs on 10,000 photographs: ten seconds
@real_cifar10
def test_cifar10_meets_its_quick_claim(start, tmp_path):
    code, line, _ = start(CIFAR10, "--quick", "--no-report", "--output", tmp_path)
    assert code == 0 and line["met"] and line["first_1000"] > 0.3


# -- what they are made of ---------------------------------------------------------------------------------------------


def test_a_claim_with_parts_is_met_if_all_are(tmp_path):
    milestone = Milestone("m", "t", "c", 0.5, 4, 2, tmp_path)
    for first, met in ((0.9, True), (0.8, False)):
        achieved = Achievement(models.perceptron(), np.zeros((1, 2)), 0.6, parts=(Part("the first 1,000", first, 0.9),))
        assert milestone.met(achieved) is met
        said = f"60.00% reached, 50% required; the first 1,000: {first:.2%}, 90% required"
        assert milestone.verdict(achieved) == said


def test_a_recipe_is_chosen_by_name_and_has_its_own_length(tmp_path, capsys):
    def fake(run):
        return Achievement(models.perceptron(), np.zeros((1, 2), np.float32), run.length / 100)

    one = Milestone("one", "t", "it does one", 0.05, 4, 2, tmp_path)
    best = Milestone("best", "t", "it does better: 7 %", 0.07, 7, 3, tmp_path)
    versions = {"best": Version(best, fake)}
    for options, name, code in ((["--recipe", "best"], "best", 0), ([], "one", 1), (["--recipe", "default"], "one", 1)):
        assert run_script(one, fake, options, recipes=versions) == code
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["milestone"] == name
    with pytest.raises(SystemExit) as ended:
        run_script(one, fake, ["--help"], recipes=versions)
    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "how many epochs to train (default: 4, 7 with --recipe best)" in shown
    assert "default; or best: it does better: 7 %" in shown
    with pytest.raises(SystemExit):
        run_script(one, fake, ["--recipe", "worst"], recipes=versions)
    assert "invalid choice: 'worst'" in capsys.readouterr().err


def test_answers_by_class_leave_out_what_is_not_there():
    found = vision.Answers(("a", "b", "c"), np.array([0, 0, 2]), np.array([0, 0, 0]))
    assert found.by_class == {"a": pytest.approx(2 / 3)} and found.accuracy == pytest.approx(2 / 3)


def test_filters_are_shown_around_grey():
    filters = np.zeros((2, 3, 2, 2))
    filters[0, 0, 1, 0] = -4
    shown = vision.as_colours(filters)
    assert shown.shape == (2, 2, 2, 3) and (shown[1] == 0.5).all()
    assert shown[0, 1, 0].tolist() == [0, 0.5, 0.5]


def test_the_accuracy_curve_says_where_it_ends_and_what_is_required():
    _, (axes,) = plots.panels("t", 1)
    plots.accuracy_curve(axes, [0.5, 0.75], "t", required=0.6)
    assert {text.get_text() for text in axes.texts} == {"75.0", "required of the test part: 60%"}
    assert axes.lines[-1].get_xydata().tolist() == [[1, 50], [2, 75]]


def test_class_accuracies_stand_from_top_to_bottom():
    _, (axes,) = plots.panels("t", 1)
    plots.class_accuracies(axes, {"cat": 0.5, "dog": 1.0}, "t")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dog", "cat"]
    assert sorted(text.get_text() for text in axes.texts) == ["100.0", "50.0"]
