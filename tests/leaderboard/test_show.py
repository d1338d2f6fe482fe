"""What can be asked of `python -m leaderboard`, and files by `export`."""

import json

import pytest

from leaderboard import __main__ as command
from leaderboard import write


@pytest.fixture
def board(entry, tmp_path):
    for one in (
        entry("Ada", 3.0, 0.01, created_utc="2025-02-01T12:00:00Z"),
        entry("Ada", 4.0, 0.01),
        entry("Bob", 3.5, 0.01, **{"candidate.bytes_stored": 10}),
        entry("Cyd", 2.0, 0.01, model="mlp", division="open", **{"candidate.retrained": True}),
    ):
        write(one, tmp_path / "board")
    return tmp_path / "board"


def asked(board, capsys, *arguments):
    assert command.main([*arguments, "--leaderboard", str(board)]) == 0
    return capsys.readouterr().out


def test_an_event_comes_with_its_boards_only(board, capsys):
    shown = asked(board, capsys, "--event", "cnn-marathon")
    assert shown.startswith("CNN Marathon, closed division, t1") and "cnn, closed division" in shown
    assert "All-round" not in shown and "mlp, open" not in shown
    assert "weighted geometric mean of cnn 40%, cnn-cifar10 60%" in shown


def test_a_choice_of_what_to_see_leaves_the_figures_as_they_are(board, capsys):
    everything = json.loads(asked(board, capsys, "--json"))
    for arguments in (["--model", "cnn"], ["--division", "closed"], ["--threads", "t1", "--division", "closed"]):
        chosen = json.loads(asked(board, capsys, "--json", *arguments))
        assert chosen["boards"] == [one for one in everything["boards"] if one["model"] == "cnn"]
    assert asked(board, capsys, "--threads", "tN").startswith("No such submission; there are some for cnn closed t1")


def test_trade_offs(board, capsys):
    shown = asked(board, capsys, "--pareto", "--model", "cnn")
    assert "cnn, t1 (benchmark 4f1c0ffee00…): 1 of 3 submissions beaten by nobody" in shown and "Bob" in shown
    (one,) = json.loads(asked(board, capsys, "--pareto", "--model", "cnn", "--json"))["frontiers"]
    assert [row["submitter"] for row in one["best"]] == ["Bob"]


@pytest.mark.parametrize("name", ["ada", "Ada", "ADA"])
def test_a_history(board, capsys, name):
    shown = asked(board, capsys, "--history", name)
    assert "Ada: cnn, closed division, t1 (benchmark 4f1c0ffee00…), 2 steps in 2 attempts" in shown
    assert shown.index("2025-02-01") < shown.index("2025-03-01")
    (course,) = json.loads(asked(board, capsys, "--history", name, "--json"))["courses"]
    assert [step["ratio"] for step in course["steps"]] == pytest.approx([3.0, 4.0])


def test_who_is_not_there_has_no_history(board, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--history", "\x1b[2J", "--leaderboard", str(board)])
    assert stopped.value.code == 2
    assert r"unknown submitter '\x1b[2J': there are ada, bob, cyd" in capsys.readouterr().err


def test_all_shows_what_the_first_rows_leave_out(board, capsys):
    assert "Not shown (--all): 1 try of people who have a better one." in asked(board, capsys)
    shown = asked(board, capsys, "--all", "--wide")
    assert "Not shown" not in shown and "behind " in shown and "of reference" in shown


def test_export_to_a_file_and_to_the_terminal_is_the_same(board, capsys, tmp_path):
    for kind in ("csv", "md", "json"):
        shown, file = asked(board, capsys, "export", kind), tmp_path / f"board.{kind}"
        assert "bytes in" in asked(board, capsys, "export", kind, "--out", str(file))
        assert file.read_text(encoding="utf-8") == shown


def test_export_says_where_it_cannot_write(board, capsys, tmp_path):
    place = tmp_path / "none" / "board.csv"
    assert command.main(["export", "csv", "--out", str(place), "--leaderboard", str(board)]) == 2
    assert (
        f"export: cannot write {place}: No such file or directory; name a file in a folder" in capsys.readouterr().err
    )
