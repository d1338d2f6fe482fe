"""The part the scripts share: failures during a run, and the drawings' own rules."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from milestones import plots
from milestones.options import REFERENCES, parsed
from milestones.run import Achievement, Milestone, Version
from milestones.script import main as run_script
from tinytorch import SGD, DataLoader, Linear, MSELoss, Sequential, TensorDataset, Trainer, models, weights

X = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]


def milestone(folder, required=0.5):
    return Milestone("line", "a line", "it fits", required, length=4, quick_length=2, folder=folder)


def fit(lr=0.1, reached=0.75, figure=True):
    """A run that trains a line and says it reached what it is told."""

    def achieve(run):
        model = Sequential(Linear(1, 1))
        trainer = Trainer(model, SGD(model.parameters(), lr=lr), MSELoss())
        losses = run.train(trainer, DataLoader(TensorDataset(X, 3 * X), 8), "line")
        assert len(losses) == run.length
        if figure:
            drawing, (axes,) = plots.panels("a line", 1)
            plots.loss_curve(axes, {"loss": losses})
            run.save_plot("loss", drawing)
        return Achievement(model, X[:1], reached, {"more": 1})

    return achieve


def test_the_exit_code_is_the_verdict(tmp_path, capsys):
    assert run_script(milestone(tmp_path), fit(), []) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["met"] is True and line["epochs"] == 4 and line["more"] == 1
    assert line["plots"] == [str(tmp_path / "output" / "loss.png")] and os.listdir(tmp_path) == ["output"]
    assert (line["parameters"], line["flops"]) == (2, 2)
    assert run_script(milestone(tmp_path, required=0.76), fit(), []) == 1
    assert run_script(milestone(tmp_path, required=0.75), fit(), ["--quick"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["epochs"] == 2


def test_epochs_win_over_quick(tmp_path, capsys):
    run_script(milestone(tmp_path), fit(), ["--quick", "--epochs", "3"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["epochs"] == 3


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_loss_that_breaks_down_is_reported_and_exits_1(tmp_path, capsys):
    assert run_script(milestone(tmp_path), fit(lr=1e30), []) == 1
    out, err = capsys.readouterr()
    assert "line: train: the loss is" in err and "at step" in err and "lower the learning rate" in err
    assert "claim" not in out and list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_exits_1_and_leaves_no_file(tmp_path, capsys, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run_script(milestone(tmp_path), fit(), []) == 1
    err = capsys.readouterr().err
    assert "loss.png: No space left on device; free some space or choose another directory" in err
    assert list((tmp_path / "output").iterdir()) == []


def test_weights_are_saved_where_asked(tmp_path, capsys):
    assert run_script(milestone(tmp_path), fit(), ["--save", str(tmp_path / "w.safetensors")]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["weights_sha256"] == weights.sha256(tmp_path / "w.safetensors")
    weights.load(Sequential(Linear(1, 1)), tmp_path / "w.safetensors")


def test_save_without_a_file_means_the_competitions_reference(tmp_path):
    versions = {"default": Version(replace(milestone(tmp_path), name="cnn"), fit())}
    assert parsed(versions, ["--save"]).save == REFERENCES / "cnn.safetensors"
    assert (REFERENCES / "cnn.safetensors").is_file()


def test_save_wants_a_file_where_the_competition_has_no_reference(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed({"default": Version(milestone(tmp_path), fit())}, ["--save"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "--save: the competition has no reference line; give a FILE" in said


def test_memory_is_the_peak_of_the_first_epoch(tmp_path):
    def hungry(run):
        loader = DataLoader(TensorDataset(X, X), 8, transform=lambda x: x + np.ones(2_000_000, np.float32)[:1])
        model = Sequential(Linear(1, 1))
        run.train(Trainer(model, SGD(model.parameters()), MSELoss()), loader, "hungry")
        return Achievement(model, X[:1], run.peak_memory_bytes / 8_000_000)

    seen = []
    run_script(milestone(tmp_path), lambda run: seen.append(hungry(run)) or seen[0], [])
    assert seen[0].reached == pytest.approx(1, rel=0.02)


# -- drawings ---------------------------------------------------------------------------------------------------------


def axes():
    return plots.panels("title", 1)[1][0]


def test_the_confusion_matrix_counts():
    drawn = axes()
    plots.confusion_matrix(drawn, np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 2]), "abc", "t")
    texts = {text.get_position(): text.get_text() for text in drawn.texts}
    assert texts == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (2, 2): "2"}  # (predicted, truth)


def test_the_decision_surface_rings_the_points_that_are_wrong():
    model = models.perceptron()
    model[0].weight.data[...], model[0].bias.data[...] = [[1], [0]], 0  # class 1 is right of zero
    drawn = axes()
    x = np.array([[-1, 0], [1, 0], [2, 1], [-2, 1]], np.float32)
    image = plots.decision_surface(drawn, model, x, np.array([0, 1, 0, 0]), "t")
    surface = np.asarray(image.get_array())
    assert surface[0, 0] < 0.5 < surface[0, -1]
    rings = [line for line in drawn.lines if str(line.get_label()).startswith("wrong")]
    assert [line.get_label() for line in rings] == ["wrong: 1"]
    np.testing.assert_array_equal(rings[0].get_xydata(), [[2, 1]])


def test_tiles_take_any_number_of_images():
    for n in (0, 1, 5):
        drawn = axes()
        plots.tiles(drawn, np.zeros((n, 3, 3)), [str(i) for i in range(n)], 2, "t")
        assert len(drawn.images) == n


def test_the_least_loss_of_smoothed_labels():
    assert plots.entropy(0.0, 10) == 0
    assert plots.entropy(1.0, 10) == pytest.approx(np.log(10))
    assert plots.entropy(0.1, 10) == pytest.approx(-(0.91 * np.log(0.91) + 0.09 * np.log(0.01)))
