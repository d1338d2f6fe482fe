"""`tito` as a student and an instructor use it: what is printed, what is written, what it exits with."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from leaderboard import write
from mlperf.confinement import sandbox
from tests.leaderboard.honest import entry
from tests.tito.answers import own, untouched
from tito import terminal, testing
from tito.__main__ import main
from tito.course import find
from tito.workspace import Workspace

needs_sandbox = pytest.mark.skipif(sandbox.available() is not None, reason="there is no sandbox here")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A student's folder; `mine.says(words)` runs a command and gives its exit code and what it printed."""
    monkeypatch.setenv("TITO_WORKSPACE", str(tmp_path / "mine"))
    return Workspace(tmp_path / "mine")


@pytest.fixture
def tito(mine, capfd):
    def run(words):
        capfd.readouterr()
        code = main(words.split())
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run


def put(mine, *names, change=None):
    """Reference solutions in the place of a student's files."""
    for name in names:
        own(find(name), mine.root / "modules", change)


# -- from one's own module to the first milestone ----------------------------------------------------------------------


def test_from_the_first_file_to_the_perceptron(mine, tito):
    code, out, _ = tito("setup")
    assert code == 0 and "Next: tito module start 02" in out
    code, out, _ = tito("module start 02")
    assert code == 0 and "02_tensor.py is yours to fill in" in out and "Next: tito module test 02" in out
    code, out, _ = tito("module complete 02_tensor")
    assert code == 1 and "NotImplementedError: Tensor.item is yours to write" in out
    assert '"completed":false' in out and not mine.progress().completed

    code, _, err = tito("milestone run 01 --mine")
    assert code == 2
    assert "milestone 01 needs these modules of yours first: 02_tensor, 03_activations, 04_layers; `tito module" in err

    put(mine, "02", "03", "04")
    for name in ("02_tensor", "activations", "4"):
        code, out, _ = tito(f"module complete {name}")
        assert code == 0 and "FAILED" not in out and '"completed":true' in out
    assert "Next: tito milestone run 01 --mine" in out

    code, out, _ = tito("checkpoint status")
    lines = [line for line in out.splitlines() if line.rstrip().endswith("done")]
    assert code == 0 and [line.split()[0] for line in lines] == ["02_tensor", "03_activations", "04_layers"]
    assert "3 of 20 answered by your own code." in out and "milestone 01 --mine: ready" in out
    assert "milestone 02 --mine: needs 05_losses, 06_autograd" in out

    code, out, _ = tito("milestone run 01 --mine --quick --no-report --output " + str(mine.root / "out"))
    assert code == 0
    assert "Yours were 02_tensor, 03_activations, 04_layers; everything else is TinyTorch's." in out
    last = json.loads(out.splitlines()[-1])
    assert last["mine"] == ["tinytorch.core.activations", "tinytorch.core.layers", "tinytorch.core.tensor"]
    assert [row["modules"] for row in last["rows"]] == ["yours", "TinyTorch"] and last["met"]
    assert last["rows"][0]["reached"] == last["rows"][1]["reached"]  # the same code gives the same figures

    code, out, _ = tito("checkpoint timeline")
    assert code == 0 and out.index("02_tensor") < out.index("03_activations") < out.index("04_layers")


def test_a_wrong_module_shows_in_the_milestone(mine, tito):
    """It is recorded as completed, and changed afterwards."""
    put(mine, "02", "03", "04")
    for name in ("02", "03", "04"):
        mine.complete(find(name))
    put(mine, "03", change=("tinytorch.core.activations", "apply(ops.sigmoid, floating(x))",
                            "apply(ops.sigmoid, floating(x)) * 0 + 0.3"))  # fmt: skip
    code, out, _ = tito("milestone run 01 --mine --quick --no-report --output " + str(mine.root / "out"))
    last = json.loads(out.splitlines()[-1])
    assert code == 1 and not last["met"] and [row["met"] for row in last["rows"]] == ["NO", "yes"]
    _, out, _ = tito("module status 03")
    assert "changed since" in out


# -- tests of a module -------------------------------------------------------------------------------------------------


def test_a_wrong_rule_of_autograd_is_pointed_at(mine, tito, golden):
    put(mine, "06", change=("tinytorch.core.autograd", "ops.add(pending[below], owed) if below in pending else owed",
                            "owed"))  # fmt: skip
    code, out, _ = tito("module test autograd")
    assert code == 1
    last = json.loads(out.splitlines()[-1])
    assert (last["checks"], last["checks_passed"]) == (11, 9) and not last["passed"]
    golden("tito_autograd", "\n".join(out.splitlines()[:-1]).replace(str(mine.root), "mine") + "\n")


@pytest.mark.parametrize(("text", "got"), [
    ("def f(:", "SyntaxError: "),
    ("raise SystemExit(3)", "SystemExit: 3"),
    ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ("x = 1", "ImportError: cannot import name"),
])  # fmt: skip
def test_a_file_that_cannot_be_imported(mine, tito, text, got):
    put(mine, "03")
    (mine.root / "modules" / "03_activations.py").write_text(text)
    code, out, _ = tito("module test 03")
    assert code == 1 and got.split(":")[0] in out
    assert not json.loads(out.splitlines()[-1])["passed"]


@pytest.mark.parametrize(("text", "ended"), [
    ("while True:\n    pass\n", "stopped at the limit seconds"),
    ("import os\nos._exit(0)\n", "ended without a result (exit code 0)"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "ended without a result"),
    ("print('x' * 9_000_000)\n", "stopped at the limit output_bytes"),
])  # fmt: skip
def test_a_file_that_does_not_end(mine, tito, monkeypatch, text, ended):
    monkeypatch.setattr(testing, "LIMITS", replace(testing.LIMITS, seconds=5))
    put(mine, "01")
    (mine.root / "modules" / "01_setup.py").write_text(text)
    code, out, _ = tito("module test 01")
    assert code == 1 and ended in out
    assert ended in json.loads(out.splitlines()[-1])["ended"]


def test_results_that_are_not_the_checkpoint_s_are_no_pass(mine, tito):
    """A student's file may write to whatever its process has open."""
    put(mine, "01")
    lie = '{"event": "result", "found": {"checks": [["nbytes", "all is well", null]]}}\n'
    text = "import os\nfrom contextlib import suppress\nfor i in range(3, 20):\n    with suppress(OSError):\n"
    (mine.root / "modules" / "01_setup.py").write_text(f"{text}        os.write(i, {lie!r}.encode())\n")
    code, out, _ = tito("module test 01")
    assert code == 1 and not json.loads(out.splitlines()[-1])["passed"]


@pytest.mark.parametrize("words", ["module start 03", "module reset 02", "milestone run 9", "checkpoint status"])
def test_a_broken_record_stops_no_command(mine, tito, words):
    put(mine, "02")
    mine.record.write_text("{")
    code, _, err = tito(words)
    assert code == (2 if "9" in words else 0) and "Traceback" not in err
    assert words == "milestone run 9" or "progress.json is broken" in err


def test_reset_puts_the_file_aside(mine, tito):
    put(mine, "05")
    code, out, _ = tito("module reset losses")
    assert code == 0 and "What you wrote is at " in out
    assert "NotImplementedError" in (mine.root / "modules" / "05_losses.py").read_text()


@pytest.mark.parametrize(("words", "text"), [
    ("module test 02", "02_tensor has not been started; `tito module start 02` writes the file"),
    ("module start 99", "unknown module '99'; known by number, name or both: 01_setup"),
    ("milestone run 9", "unknown milestone '9'; known: 01, 02, 03, 04, 05, 06"),
    ("grade /no/such/folder", "/no/such/folder is no folder"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_with_exit_code_2(tito, words, text):
    code, _, err = tito(words)
    assert code == 2 and text in err


def test_a_file_that_is_there_stays(mine, tito):
    put(mine, "02")
    code, _, err = tito("module start 02")
    assert code == 2 and "is there already and stays as it is; `tito module reset 02`" in err


@pytest.mark.parametrize("words", ["--help", "module --help", "checkpoint --help", "milestone --help", "grade --help"])
def test_help_has_examples(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 0 and "examples:\n  tito " in capsys.readouterr().out


def test_every_command_ends_with_a_next_step(tito):
    for words in ("setup", "module list", "module status", "checkpoint status", "checkpoint timeline",
                  "milestone list", "milestone status"):  # fmt: skip
        code, out, _ = tito(words)
        assert code == 0 and out.rstrip().splitlines()[-1].startswith("Next: tito "), words


def test_others_are_forwarded():
    with pytest.raises(SystemExit) as stopped:
        main(["submit", "--help"])
    assert stopped.value.code == 0
    with pytest.raises(SystemExit) as stopped:
        main(["leaderboard", "--help"])
    assert stopped.value.code == 0
    assert main(["doctor"]) in (0, 1)


def test_colours_only_where_a_person_looks(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.paint("done", "green") == "\x1b[32mdone\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.paint("done", "green") == "done"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert terminal.paint("done", "green") == "done"


# -- a whole class -----------------------------------------------------------------------------------------------------


@needs_sandbox
def test_one_broken_folder_does_not_stop_the_others(tmp_path, tito, monkeypatch):
    monkeypatch.setattr(testing, "LIMITS", replace(testing.LIMITS, seconds=10))
    own(find("01"), tmp_path / "class" / "ada" / "modules")
    own(find("20"), tmp_path / "class" / "ada" / "modules")
    untouched(find("01"), tmp_path / "class" / "bob")  # without `modules`
    (tmp_path / "class" / "=cmd()").mkdir()
    (tmp_path / "class" / "=cmd()" / "01_setup.py").write_text("while True:\n    pass\n")
    (tmp_path / "class" / "dan").mkdir()
    (tmp_path / "class" / "dan" / "01_setup.py").symlink_to(tmp_path / "class" / "ada" / "modules" / "01_setup.py")
    (tmp_path / "class" / "eve").mkdir()
    secret = tmp_path / "class" / "ada" / "modules" / "01_setup.py"
    (tmp_path / "class" / "eve" / "01_setup.py").write_text(f"raise ValueError(open({str(secret)!r}).read())")
    code, out, _ = tito(f"grade {tmp_path / 'class'} --output {tmp_path / 'out'}")
    assert code == 0
    last = json.loads(out.splitlines()[-1])
    assert (last["students"], last["modules"], last["passed"]) == (5, 5, 2)
    grades = json.loads((tmp_path / "out" / "grades.json").read_text())
    assert [row["passed"] for row in grades["ada"]] == [True, True] and grades["dan"] == []
    assert grades["bob"][0]["first"].startswith("nbytes: nbytes('7'): NotImplementedError")
    assert "stopped at the limit seconds" in grades["=cmd()"][0]["first"]
    assert "FileNotFoundError" in grades["eve"][0]["first"]  # nobody sees another's file
    rows = list(csv.reader(io.StringIO((tmp_path / "out" / "grades.csv").read_text())))
    assert rows[0][:3] == ["student", "module", "passed"] and len(rows) == 6 and rows[1][0] == "'=cmd()"


# -- what was reached --------------------------------------------------------------------------------------------------


def test_a_page_of_what_was_reached(mine, tito, tmp_path):
    board = tmp_path / "board"
    write(entry("Ada", 4.0, 0.05), board)
    put(mine, "02", "03", "04")
    for name in ("02", "03", "04"):
        mine.complete(find(name))
    options = f"--submitter Ada --leaderboard {board} --no-roofline"
    code, out, _ = tito(f"capstone report {options}")
    assert code == 0
    last = json.loads(out.splitlines()[-1])
    text, page = (Path(last[kind]).read_text() for kind in ("markdown", "html"))
    for words in ("3 of 20 modules are my own code", "Can I make arrays", "The best valid submissions of Ada.",
                  "<td>3.8", "Waterfall of cnn, closed"):  # fmt: skip
        assert words in page
    assert "## My own code" in text and "| 02&#95;tensor" in text
    code, _, _ = tito(f"capstone report {options.replace('Ada', '<script>alert(1)</script>')}")
    page = (mine.root / "capstone.html").read_text()
    assert "has no valid submission of" in page
    assert code == 0 and "<script>" not in page and "&lt;script&gt;" in page
    assert "<script>" not in (mine.root / "capstone.md").read_text()


@pytest.mark.slow  # the profiler measures what the machine can do at most
def test_the_page_has_a_roofline(mine, tito, tmp_path):
    code, _, err = tito(f"capstone report --model mlp --leaderboard {tmp_path} --output {tmp_path}")
    assert code == 0, err
    assert (tmp_path / "roofline.png").read_bytes()[:4] == b"\x89PNG"
    assert '<img src="roofline.png"' in (tmp_path / "capstone.html").read_text()
