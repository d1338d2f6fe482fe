"""Entries built and measured in real processes: what they leave, what is refused, and in which words."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from leaderboard import Seeds
from mlperf import submission, tasks
from mlperf.__main__ import main
from mlperf.commands.terminal import compile_all
from mlperf.confinement import limits
from mlperf.confinement.hearing import Refused
from mlperf.entries import building, source
from mlperf.harness import PRACTICE
from mlperf.submission import Conditions, ask_workers, write_samples


def optimize(body, top=""):
    return f"{top}\n\n\ndef optimize(model, calibration, context):\n    " + body.replace("\n", "\n    ") + "\n"


@pytest.fixture
def built(tmp_path, monkeypatch):
    """`built(text)` is what an entry with this text becomes; `seconds` it may take."""

    def build(text, model="perceptron", seconds=60):
        monkeypatch.setattr(building, "BUILDING", replace(limits.ENTRY, seconds=seconds))
        (tmp_path / "mine.py").write_text(text)
        folder = tmp_path / "build"
        folder.mkdir()
        return building.of_entry(tasks.find(model), source.read(tmp_path / "mine.py"), folder, threads=1)

    return build


def measured(contestant, tmp_path, model="perceptron"):
    task = tasks.find(model)
    samples = write_samples(tmp_path / "samples.npz", task, task.data.x_test, task.data.y_test)
    effort = replace(PRACTICE, workers=1, pairs=1, queries=0)
    seeds = Seeds(data=0, order=1, schedule=2, audit=None)
    return ask_workers(contestant.making, samples, Conditions(effort, 1, seeds), lambda: None)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (
            optimize("return inner(3)", "def inner(n):\n    return [1, 2][n]"),
            "ENTRY",
            r'the entry failed:\n  File "mine.py", line 6, in optimize\n    return inner\(3\)\n(?s:.*)'
            r'File "mine.py", line 2, in inner\n(?s:.*)IndexError: list index out of range',
        ),
        (optimize("return None"), "ENTRY", r"optimize returned NoneType; return something that is called with a query, "
         r"an array \(1, 2\), and gives an array"),
        (optimize("return lambda x: x.tolist()"), "OUTPUT_TYPE", "answered with list; it must give a NumPy array"),
        (optimize("return lambda x: x"), "ENTRY", r"answered with \(1, 2\); the reference's answer is \(1, 1\)"),
        (optimize("return lambda x: 1 / 0"), "ENTRY", r"callable failed on one query \(1, 2\): ZeroDivisionError"),
        (optimize("return 1", "import nowhere"), "ENTRY", "ModuleNotFoundError: No module named 'nowhere'"),
        (optimize("raise ValueError('much ' * 9999)"), "ENTRY", r"(?s)the entry failed:.*Error: much.* \.\.\. .*much$"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_lines_of_the_entry_alone(built, text, code, words):
    with pytest.raises(Refused, match=words) as refused:
        built(text)
    assert refused.value.code == code and len(str(refused.value)) <= 4000
    assert "mlperf/" not in str(refused.value) and "/build" not in str(refused.value)


def test_an_entry_without_end_is_ended(built):
    with pytest.raises(Refused, match=r"the limit seconds: .* used, 3.0 s allowed") as refused:
        built(optimize("while True:\n    pass"), seconds=3)
    assert refused.value.code == "LIMIT_EXCEEDED"


def test_an_entry_that_leaves_does_not_pass_for_one_that_answers(built):
    with pytest.raises(RuntimeError, match=r"the entry's build ended without a result \(exit code 0\)"):
        built(optimize("os._exit(0)", "import os"))


@pytest.mark.parametrize("what", ["weights/a.safetensors", "weights"])
def test_links_among_what_is_kept_are_not_followed(built, tmp_path, what):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.safetensors").write_text("not yours")
    target = tmp_path / "secret" / ("a.safetensors" if what != "weights" else "")
    text = optimize(
        "context.once('a', lambda: np.ones(1))\n"
        f"shutil.move({what!r}, 'moved')\nos.symlink({str(target)!r}, {what!r})\n"
        "return context.eager(model)",
        "import os\nimport shutil\n\nimport numpy as np",
    )
    told = r"weights/a\.safetensors is no plain file; keep things by `context.once` and leave them there"
    with pytest.raises(Refused, match=told):
        built(text)


def test_files_of_the_test_data_are_seen_however_they_are_reached(built):
    text = optimize("digits()\nload('reversal')\nreturn context.eager(model)", "from tinytorch.datasets import *")
    read = built(text, "mlp").test_files_read
    assert "the data set reversal" in read
    assert any("digits" in name for name in read)


def test_who_reads_the_training_part_alone_has_read_no_test_data(built):
    text = optimize("y = sum(context.y_train)\nnext(iter(context.batches(0)))\nreturn context.eager(model)")
    assert built(text, "mlp").test_files_read == ()


def test_what_an_entry_is_said_to_be(built, tmp_path):
    made = built(
        optimize("context.once('mine', lambda: np.ones(3))\nreturn context.quantize(model)", "import numpy as np")
    )
    assert set(made.files) == {"entry/mine.py", "weights/mine.safetensors", "candidate.safetensors"}
    candidate, weights = made.candidate, len(made.files["candidate.safetensors"])
    assert candidate.bytes_stored == weights + len(made.files["entry/mine.py"])
    assert candidate.form == "entry" and "int8" in candidate.weight_dtypes and candidate.flops > 0
    assert made.entry.main == "entry/mine.py" and made.hashes.keys() == made.files.keys()
    assert measured(made, tmp_path)[0].opt_told


def test_own_weights_count_and_a_function_without_any_counts_as_the_reference(built):
    plain = built(optimize("return lambda x: model.predict(x)"))
    reference = tasks.find("perceptron").checkpoint.stat().st_size
    assert plain.candidate.bytes_stored == reference + len(plain.files["entry/mine.py"])
    assert plain.candidate.nonzero_params is None and plain.candidate.weight_dtypes == ()


def test_what_is_random_must_be_kept(built, tmp_path):
    text = optimize(
        "model.layers[0].weight.data[...] = {}\nreturn context.eager(model)", "import numpy as np\nimport random"
    )
    made = built(text.format("random.random()"))
    with pytest.raises(
        Refused, match=r"made other weights than when the entry was built; .* `context.once`"
    ) as refused:
        measured(made, tmp_path)
    assert refused.value.code == "ENTRY"


def test_what_is_random_and_kept_is_the_same_everywhere(built, tmp_path):
    made = built(
        optimize(
            "w = context.once('w', lambda: np.random.rand(2, 1))\nmodel.layers[0].weight.data[...] = w\n"
            "return context.eager(model)",
            "import numpy as np",
        )
    )
    one, other = (np.asarray(measured(made, tmp_path)[0].opt_told) for _ in range(2))
    np.testing.assert_array_equal(one, other)


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--division", "closed"], "--division closed takes recipes alone, so that all start from the given weights"),
        (["--skip", "prune"], "--entry composes the stages itself; leave out --recipe and --skip"),
        (["--recipe", "x.toml"], "--entry composes the stages itself"),
        ([], "mine.py: cannot be read: No such file or directory"),
    ],
)
def test_what_does_not_go_with_an_entry(options, text, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["submit", "--model", "perceptron", "--entry", str(tmp_path / "mine.py"), *options])
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


def test_a_dry_run_measures_and_writes_nothing(tmp_path, capsys, monkeypatch):
    compile_all()
    monkeypatch.setattr(submission, "PRACTICE", replace(PRACTICE, workers=1, pairs=1, queries=4))
    (tmp_path / "mine.py").write_text(optimize("return context.accelerate(model)"))
    command = ["submit", "--model", "perceptron", "--fast", "--entry", str(tmp_path / "mine.py"), "--dry-run"]
    assert main([*command, "--leaderboard", str(tmp_path / "board")]) == 1  # practice is never VALID
    shown = capsys.readouterr()
    assert not (tmp_path / "board").exists() and "A dry run: nothing was written." in shown.out
    assert "build the entry" in shown.err and re.search(r"reference +1\.00x.*\nentry +\d", shown.out)
    assert json.loads(shown.out.splitlines()[-1])["submission"] is None


def test_a_failing_entry_ends_the_command_with_its_words_and_a_remedy(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(optimize("return context.fly(model)"))
    command = ["submit", "--model", "perceptron", "--fast", "--entry", str(tmp_path / "mine.py")]
    assert main([*command, "--leaderboard", str(tmp_path / "board")]) == 1
    err = capsys.readouterr().err
    assert 'mlperf: ENTRY: the entry failed:\n  File "mine.py"' in err
    assert "AttributeError: 'Context' object has no attribute 'fly'" in err and "Read the message" in err
    assert not (tmp_path / "board").exists() or not list((tmp_path / "board").rglob("*.json"))
