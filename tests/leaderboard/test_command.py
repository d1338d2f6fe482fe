"""`python -m leaderboard`: what it prints and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import leaderboard
from leaderboard import __main__ as command
from leaderboard import show, write

ROOT = Path(leaderboard.__file__).parents[1]


@pytest.fixture
def board(entry, tmp_path):
    for submission in (entry("Ada", 4.0, 0.01), entry("Bob", 3.0, 0.01), entry("Cyd", 2.0, 0.01, model="mlp")):
        write(submission, tmp_path)
    return tmp_path


def run(board, *arguments):
    return command.main([*arguments, "--leaderboard", str(board)])


def test_every_board_is_printed(board, capsys):
    assert run(board) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("All-round, closed division, t1")
    boards = shown[shown.index("cnn, closed division") :]
    assert boards.index("Ada") < boards.index("Bob") < boards.index("mlp, closed") < boards.index("Cyd")


def test_one_model_by_another_order(board, capsys):
    assert run(board, "--model", "mlp", "--by", "size") == 0
    shown = capsys.readouterr().out
    assert "mlp, closed division, t1, by size" in shown and "Cyd" in shown
    assert "Ada" not in shown


def test_problems_stand_below_the_table(board, capsys):
    (board / "bad.json").write_bytes(b"{")
    assert run(board) == 0
    above, below = capsys.readouterr().out.split("Not on the board (1):")
    assert "Ada" in above
    assert "bad.json" in below and "NOT_JSON" in below


def test_json_is_one_compact_line(board, capsys):
    (board / "bad\x1b.json").write_bytes(b"{")
    assert run(board, "--json", "--model", "cnn") == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "\x1b" not in line and ", " not in line.replace("): ", "")
    document = json.loads(line)
    assert [[one["submitter"] for one in each["entries"]] for each in document["boards"]] == [["Ada", "Bob"]]
    assert [problem["code"] for problem in document["problems"]] == ["NOT_JSON"]


def test_an_empty_leaderboard_explains_the_first_entry(tmp_path, capsys):
    assert run(tmp_path) == 0
    assert "Make the first entry:\n\n  python -m mlperf submit --model cnn" in capsys.readouterr().out
    assert run(tmp_path, "--model", "mlp") == 0
    assert "python -m mlperf submit --model mlp" in capsys.readouterr().out


def test_a_division_without_entries_says_which_have_some(board, capsys):
    assert run(board, "--division", "open") == 0
    assert capsys.readouterr().out == (
        "No such submission; there are some for cnn closed t1, mlp closed t1.\n"
    )


@pytest.mark.parametrize(("arguments", "message"), [
    (["--model", "resnet"], "unknown model 'resnet': there are submissions for cnn, mlp"),
    (["--model", "\x1b[2J"], r"unknown model '\x1b[2J'"),
    (["--by", "beauty"], "choose from 'score', 'latency', 'size', 'accuracy', 'throughput'"),
    (["--division", "expert"], "choose from 'closed', 'open', 'practice'"),
    (["--modle", "cnn"], "unrecognized arguments: --modle"),
])  # fmt: skip
def test_the_unknown_is_refused_with_what_is_known(board, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run(board, *arguments)
    assert stopped.value.code == 2
    assert message.replace("'", "") in capsys.readouterr().err.replace("'", "")


def test_a_directory_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "none")
    assert stopped.value.code == 2
    assert "none: name the one that was given to `python -m mlperf submit`" in capsys.readouterr().err


def test_ctrl_c_ends_with_130(board, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(show, "list_all", interrupted)
    assert run(board) == 130


def shell(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "leaderboard", *arguments],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def test_help_has_examples_and_a_poor_terminal_shows_every_name(entry, tmp_path):
    assert "python -m leaderboard --by size --division open" in shell("--help").stdout
    write(entry("x", 4.0, 0.01, **{"submitter.display_name": "李"}), tmp_path)
    done = shell("--leaderboard", str(tmp_path), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u674e" in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_causes_no_traceback(board, unbuffered):
    process = subprocess.Popen(
        [sys.executable, "-m", "leaderboard", "--leaderboard", str(board)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_the_leaderboard_imports_none_of_the_other_packages():
    others = ("kernels", "tinytorch", "profiler", "mlperf", "numpy", "numba")
    code = f"import sys, leaderboard.__main__; print([name for name in {others} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_what_is_named_first_is_a_command_with_its_own_help(tmp_path, capsys):
    for name in command.COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            command.main([name, "--help"])
        shown = capsys.readouterr().out
        assert stopped.value.code == 0
        assert f"usage: python -m leaderboard {name}" in shown and f"examples:\n  python -m leaderboard {name}" in shown
        assert f"python -m leaderboard {name} " in command.EXAMPLES
    assert command.main(["merge", str(tmp_path / "none"), "--into", str(tmp_path)]) == 2
    assert "no directory" in capsys.readouterr().err
