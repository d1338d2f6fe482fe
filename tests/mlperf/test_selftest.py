"""`mlperf selftest`: what is printed, what it exits with, and that the cheats are told from the honest.

That each is caught every time is the command's own test, over twenty full runs; here each is tried once with as little
effort as the audits bear, in short blocks of one worker.
"""

import json
from dataclasses import replace

import pytest

from mlperf import submission
from mlperf.__main__ import main
from mlperf.commands import selftest
from mlperf.commands.terminal import compile_all
from mlperf.entries.cheats import CHEATS
from mlperf.harness import PRACTICE

# Caught by what they tell or do. Those left out are caught by times, which need a quiet machine and full runs.
BY_DEEDS = ("only_when_timed", "weights_of_before", "background", "lazy", "smaller_test_set", "trains_on_test")


@pytest.fixture
def little(monkeypatch):
    compile_all()
    monkeypatch.setattr(submission, "PRACTICE", replace(PRACTICE, workers=1, pairs=3, queries=8))


def last_line(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("name", BY_DEEDS)
def test_a_cheat_is_caught(little, name, capsys):
    assert main(["selftest", "cheats", "--cheat", name, "--runs", "1"]) == 0
    (row,) = last_line(capsys)["rows"]
    assert (row["cheat"], row["caught"]) == (name, 1)


def test_each_cheat_is_a_file_with_words_on_how_it_cheats():
    assert len({cheat.name for cheat in CHEATS}) == len({cheat.code for cheat in CHEATS}) == len(CHEATS) == 10
    for cheat in CHEATS:
        assert cheat.path.read_text().startswith('"""')


def test_who_is_not_caught_is_a_failure(little, monkeypatch, capsys):
    monkeypatch.setattr(selftest, "enter", lambda task, path: {"NOISY"})
    assert main(["selftest", "cheats", "--cheat", "lazy", "--runs", "3"]) == 1
    shown = capsys.readouterr().out
    assert "0 of 3" in shown and "NOISY 3" in shown and '"passed":false' in shown


def test_who_is_honest_and_suspected_is_a_failure(little, monkeypatch, capsys):
    monkeypatch.setattr(selftest, "enter", lambda task, path: {"CACHING_SUSPECTED"} if path else set())
    assert main(["selftest", "honest", "--runs", "2"]) == 1
    rows = last_line(capsys)["rows"]
    assert [row["passed"] for row in rows] == [2, 2, 2, 2, 2, 0]
    assert rows[-1]["against"] == {"CACHING_SUSPECTED": 2}


def test_the_reference_beside_itself(monkeypatch, capsys):
    monkeypatch.setattr(selftest, "RANKED", replace(PRACTICE, workers=1, pairs=3, queries=4))
    main(["selftest", "aa", "--model", "perceptron", "--runs", "2"])  # so short that noise decides whether it passes
    (row,) = last_line(capsys)["rows"]
    assert row["least"] <= row["median"] <= row["greatest"] and 0.5 < row["median"] < 2


def test_the_harness_adds_little_to_a_query(capsys):
    assert main(["selftest", "overhead", "--model", "mlp", "--runs", "1"]) == 0
    (row,) = last_line(capsys)["rows"]
    assert 0 < row["empty_ns"] < row["reference_ns"] / 10


@pytest.mark.parametrize(("words", "text"), [
    (["cheats", "--cheat", "bribe"], "unknown cheat 'bribe'; known: answer_memo, only_when_timed"),
    (["aa", "--runs", "0"], "--runs is 0; at least 1 is needed"),
    (["honest", "--model", "mlpp"], "mlpp"),
])  # fmt: skip
def test_what_cannot_be_tried(words, text, capsys):
    try:
        code = main(["selftest", *words])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2 and text in capsys.readouterr().err
