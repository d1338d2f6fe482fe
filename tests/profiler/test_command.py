"""`python -m profiler`: every name works, wrong ones are told of, and the last line is JSON."""

from __future__ import annotations

import json

import pytest

from profiler.__main__ import main
from profiler.known import KNOWN, milestones
from profiler.report import Report
from tinytorch.models import MODELS

QUICK = ["--seconds", "0.02", "--no-roofline", "--batch", "2"]


def last(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_all_tasks_and_all_six_milestones_are_known():
    assert set(MODELS) <= set(KNOWN) and sorted(milestones()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("form", [[], ["--inference"], ["--train"], ["--plan"], ["--plan", "--train"]])
def test_every_network_in_every_form(capsys, name, form):
    assert main([name, *QUICK, "--no-memory", *form]) == 0
    line = last(capsys)
    assert line["subject"] == name and line["flops"] > 0 and line["wall_ns"] > 0
    assert line["form"] == ("plan" if "--plan" in form else "eager")


def test_options_may_stand_before_and_after_and_files_are_written(capsys, tmp_path):
    report, trace, plots = tmp_path / "a.json", tmp_path / "t.json", tmp_path / "plots"
    assert main(["--batch", "2", "xor", *QUICK, "-o", str(report), "--trace", str(trace), "--plot", str(plots)]) == 0
    line = last(capsys)
    assert Report.load(report).subject == "xor" and json.loads(trace.read_text())["traceEvents"]
    assert {str(report), str(trace)} < set(line["written"])
    assert {path.suffix for path in plots.iterdir()} == {".png", ".svg"}
    assert main(["compare", str(report), str(report), "--plot", str(tmp_path / "both")]) == 0
    assert last(capsys)["wall_ratio"] == 1


def test_a_script_keeps_its_exit_code_and_options(capsys, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nfrom tinytorch import Tensor\nTensor([1.0]) + 1\nsys.exit(int(sys.argv[2]))\n")
    assert main(["--no-roofline", str(script), "--code", "5"]) == 5
    line = last(capsys)
    assert line["form"] == "script" and line["passes"] == 1


def test_a_failing_script_shows_its_traceback_then_the_report(capsys, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from tinytorch import Tensor\nTensor([1.0]) + 1\nraise ValueError('my own')\n")
    assert main(["--no-roofline", str(script)]) == 1
    told = capsys.readouterr()
    assert "ValueError: my own" in told.err and "add" in told.out and json.loads(told.out.splitlines()[-1])


@pytest.mark.parametrize(
    "argv, code, text",
    [
        (["resnet"], 2, "unknown model 'resnet'; known: perceptron, xor, mlp, cnn, transformer, gpt-shakespeare"),
        (["7"], 2, "milestones: 1, 2, 3, 4, 5, 6; or the path of a script"),
        (["cnn", "--batch", "0"], 2, "'0' is not a whole number of at least 1"),
        (["cnn", "--train", "--inference"], 2, "not allowed with"),
        (["cnn", "--seconds", "0"], 2, "argument --seconds: 0.0 is not positive"),
        (["cnn", "-o", "/nowhere/at/all.json"], 2, "/nowhere/at is no directory"),
        (["compare", "/nowhere.json", "/nowhere.json"], 1, "profiler: "),
        ([], 2, "the following arguments are required"),
    ],
)
def test_wrong_use(capsys, argv, code, text):
    try:
        got = main(argv)
    except SystemExit as stop:
        got = stop.code
    told = capsys.readouterr()
    assert got == code and text in told.err and not told.out
