"""The first entry that `new` writes works as it is, and so does each of the ways on that it shows in comments."""

import ast
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from leaderboard import Seeds, load_all
from mlperf import tasks
from mlperf.__main__ import main
from mlperf.commands.terminal import compile_all
from mlperf.entries import building, source, template
from mlperf.harness import PRACTICE
from mlperf.submission import Conditions, ask_workers, quality_of, write_samples
from tests.mlperf.disturbed import DISTURBED

WAYS = (1, 2, 3)


def way(text, number):
    """The text of one way on, as the comment says to take it: without the marks."""
    part = re.split(r"^# -- \d\. .*\n#\n", text, flags=re.M)[number]
    assert all(line.startswith("#") for line in part.strip().splitlines())
    return re.sub(r"^# ?", "", part.strip(), flags=re.M) + "\n"


def test_a_fresh_entry_is_submitted_with_its_source_and_is_faster(tmp_path, capsys):
    compile_all()
    file, board = tmp_path / "my_entry.py", tmp_path / "board"
    assert main(["new", str(file)]) == 0
    written, said = file.read_text(), capsys.readouterr().out
    command = f"python -m mlperf submit --model cnn --entry {file} --fast"
    assert command in said
    assert main([*command.split()[3:], "--leaderboard", str(board)]) == 1  # practice is never VALID
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"PRACTICE_ONLY"} <= set(last["reasons"]) <= {"PRACTICE_ONLY", *DISTURBED}
    assert last["ratio"] > 5 and last["quality"] > 0.99 * last["reference_quality"]
    loaded = load_all(board)
    assert not loaded.problems
    (kept,) = loaded.submissions
    assert kept.entry.main == "entry/my_entry.py" and kept.audits.test_files_read == ()
    (travelled,) = board.rglob("*.files/entry/my_entry.py")
    assert travelled.read_text() == written


@pytest.mark.slow  # trains a network and compiles a kernel, each in a process of its own
@pytest.mark.parametrize("number", WAYS)
def test_each_way_on_answers_right(number, tmp_path):
    task, folder = tasks.find("cnn"), tmp_path / "build"
    folder.mkdir()
    (tmp_path / "mine.py").write_text(way(template.written(task, "mine.py"), number))
    made = building.of_entry(task, source.read(tmp_path / "mine.py"), folder, threads=1)
    samples = write_samples(tmp_path / "samples.npz", task, task.data.x_test, task.data.y_test)
    effort, seeds = replace(PRACTICE, workers=1, pairs=1, queries=0), Seeds(data=0, order=1, schedule=2, audit=None)
    reports = ask_workers(made.making, samples, Conditions(effort, 1, seeds), lambda: None)
    quality = quality_of(reports, task.metric, task.data.y_test)
    assert quality.opt_correct >= 0.98 * quality.ref_correct
    (worker,) = (report.worker for report in reports)
    ref, opt = (np.median(worker[f"{side}_block_ns"]) / worker[f"inner_{side}"] for side in ("ref", "opt"))
    assert opt < ref / 3 and made.candidate.retrained == (number == 3)


@pytest.mark.parametrize("model", tasks.TASKS)
def test_there_is_a_first_entry_for_every_task(model, tmp_path):
    path = tmp_path / "mine.py"
    assert main(["new", str(path), "--model", model]) == 0
    text = path.read_text()
    assert f"--model {model} --entry mine.py" in text and max(map(len, text.splitlines())) <= 120
    assert source.read(path).main == "mine.py"
    for number in WAYS:
        defined = [node.name for node in ast.parse(way(text, number)).body if isinstance(node, ast.FunctionDef)]
        assert defined[-1] == "optimize"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["there.py"], "there.py is there already and stays as it is; choose another name"),
        (["my entry.py"], "'my entry.py' is no name of a Python module: letters, digits and _, then .py"),
        (["entry.txt"], "'entry.txt' is no name of a Python module"),
        (["\u202eyp.py"], r"'\u202eyp.py' is no name"),
        (["none/mine.py"], "none/mine.py cannot be written: No such file or directory"),
        (["mine.py", "--model", "resnet"], "unknown model 'resnet'; known: perceptron, xor"),
        (["numpy.py"], "numpy.py would hide the module numpy; choose another name"),
    ],
)
def test_what_cannot_be_written_is_said_with_exit_code_2(arguments, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main(["new", *arguments])
    assert stopped.value.code == 2 and text in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.py"]
    assert (tmp_path / "there.py").read_text() == "mine"
