"""Duels: something with itself ties, something clearly quicker wins, and whatever cannot be compared is refused."""

import json

import pytest

import mlperf.commands.duel
from mlperf.__main__ import main

EAGER = "def optimize(model, calibration, context):\n    return context.eager(model)\n"
PLAN = "import helper\n\ndef optimize(model, calibration, context):\n    return helper.quick(context, model)\n"
HELPERS = {
    "one": "def quick(context, model):\n    return context.accelerate(model)\n",
    "two": "def quick(context, model):\n    return context.eager(model)\n",
}


@pytest.fixture
def submission(perceptron_board):
    (path,) = perceptron_board.rglob("*.json")
    return path


@pytest.fixture
def few(monkeypatch):
    """Two processes are enough where one side is three times as quick."""
    monkeypatch.setattr(mlperf.commands.duel, "WORKERS", 2)


def duel(capsys, *arguments):
    capsys.readouterr()
    assert main(["duel", *map(str, arguments), "--fast"]) == 0
    out = capsys.readouterr().out
    return json.loads(out.splitlines()[-1]), out


def test_with_itself_it_is_a_tie(submission, capsys):
    """Bounds of six processes exclude 1 in 3 % of such duels by construction, so a second one may decide."""
    assert mlperf.commands.duel.WORKERS == 6
    line, out = duel(capsys, submission, submission)
    if line["verdict"] != "tie":
        line, out = duel(capsys, submission, submission)
    assert line["verdict"] == "tie" and "tie" in out
    assert line["ratio_lo"] <= 1 <= line["ratio_hi"]
    assert line["quality"]["a"] == line["quality"]["b"] == 0.99
    assert line["bytes"]["a"] == line["bytes"]["b"] > 0


def test_what_is_clearly_quicker_wins_on_either_side(submission, tmp_path, capsys, few):
    (tmp_path / "slow.py").write_text(EAGER)
    line, out = duel(capsys, tmp_path / "slow.py", submission)
    assert line["verdict"] == "B faster" and line["ratio_lo"] > 2
    assert "A takes" in out and "B faster" in out


def test_two_entries_with_files_of_the_same_name_and_a_recipe(tmp_path, capsys, few):
    for name, text in HELPERS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(PLAN)
        (tmp_path / name / "helper.py").write_text(text)
    line, _ = duel(capsys, tmp_path / "one", tmp_path / "two", "--model", "perceptron")
    assert line["verdict"] == "A faster" and line["ratio_hi"] < 0.5
    (tmp_path / "plain.toml").write_text("[accelerate]\nenabled = false\n[cache]\nenabled = false\n")
    line, _ = duel(capsys, tmp_path / "plain.toml", tmp_path / "one", "--model", "perceptron")
    assert line["verdict"] == "B faster"


def test_what_cannot_be_compared_is_refused(submission, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(EAGER)
    (tmp_path / "broken.json").write_text("{")
    edited = tmp_path / "edited.json"
    edited.write_text(submission.read_text().replace('"Ada"', '"Bob"'))
    lonely = tmp_path / submission.name
    lonely.write_bytes(submission.read_bytes())
    for arguments, words in (
        ([tmp_path / "mine.py", tmp_path / "mine.py"], "no submission names it; name it with --model, one of"),
        ([submission, tmp_path / "mine.py", "--model", "mlp"], "they are for mlp and perceptron"),
        ([submission, tmp_path / "gone.py"], "no file"),
        ([submission, tmp_path / "broken.json"], "neither a submission nor a recipe"),
        ([submission, edited], "HASH_MISMATCH"),
        ([submission, lonely], "FILE_HASH"),
    ):
        with pytest.raises(SystemExit) as error:
            main(["duel", *map(str, arguments)])
        assert error.value.code == 2
        assert words in capsys.readouterr().err.replace("\n", " ")
