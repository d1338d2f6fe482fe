"""Scripts end under the profiler as they end without it, and what was recorded until then is shown."""

from __future__ import annotations

import sys

import pytest

from profiler import scripts

BODY = """import sys
from tinytorch import Linear, Tensor
model = Linear(2, 3)
model(Tensor([[1.0, 2.0]]))
"""


@pytest.fixture
def run(tmp_path):
    def run(code, *arguments):
        path = tmp_path / "script.py"
        path.write_text(BODY + code)
        return scripts.run(path, arguments)

    return run


def test_a_script_is_run_as_main_with_its_arguments_and_neighbours(run, tmp_path, capsys):
    (tmp_path / "neighbour.py").write_text("WORD = 'hello'")
    before = sys.argv, sys.path[:]
    recording, code = run("import neighbour; print(__name__, sys.argv[1:], neighbour.WORD)", "--fast", "3")
    assert capsys.readouterr().out == "__main__ ['--fast', '3'] hello\n"
    assert code == 0 and [(row.layer, row.op) for row in recording.rows] == [("Linear", "linear")]
    assert (sys.argv, sys.path) == before


@pytest.mark.parametrize(
    "end, expected, told",
    [
        ("sys.exit()", 0, ""), ("sys.exit(0)", 0, ""), ("sys.exit(7)", 7, ""), ("sys.exit('no luck')", 1, "no luck\n"),
        ("raise KeyboardInterrupt", 130, "was interrupted"), ("raise SystemExit(True)", 1, ""),
    ],
)  # fmt: skip
def test_exit_codes_are_kept(run, capsys, end, expected, told):
    recording, code = run(end)
    assert code == expected and len(recording.rows) == 1
    assert told in capsys.readouterr().err


def test_its_own_traceback_is_shown_and_the_recording_kept(run, capsys):
    recording, code = run("def deep():\n    1 / 0\ndeep()\n")
    told = capsys.readouterr().err
    assert code == 1 and len(recording.rows) == 1 and recording.ended_ns > recording.began_ns
    assert told.startswith("Traceback (most recent call last):")
    assert told.endswith("ZeroDivisionError: division by zero\n")
    assert "runpy" not in told and "scripts.py" not in told and 'script.py", line' in told


def test_a_script_that_does_not_compile(run, capsys):
    recording, code = run("def (:")
    assert code == 1 and recording.rows == [] and "SyntaxError" in capsys.readouterr().err


def test_no_such_script(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no script .*gone\.py; give the path of a Python file"):
        scripts.run(tmp_path / "gone.py")
