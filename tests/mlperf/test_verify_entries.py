"""Verifying students' own entries: built again without the test part, run again, asked what nobody has seen."""

import builtins
import shutil
from pathlib import Path

import pytest

import mlperf.entries.cheats
from mlperf import tasks
from mlperf.__main__ import main
from tests.mlperf.tampering import DISTURBED, decided, failed, resealed  # noqa: F401

HONEST = """
def optimize(model, calibration, context):
    return context.accelerate(context.taught("net", model, lambda net: None))
"""

# Knows the answers to the public test part and nothing else, in the time of the honest one.
TABLE = """
import numpy as np

TABLE = {table}

def optimize(model, calibration, context):
    def answer(x):
        return np.array([[TABLE.get(x.tobytes(), 0)]], np.float32)

    answer.model = context.taught("net", model, lambda net: None)
    return answer
"""

# Learns from the test part, which it looks up.
PEEKING = """
from tinytorch import datasets

def optimize(model, calibration, context):
    datasets.clusters()
    return context.accelerate(context.taught("net", model, lambda net: None))
"""

UNSTEADY = """
import os
import numpy as np

def optimize(model, calibration, context):
    noise = context.once("noise", lambda: np.frombuffer(os.urandom(8), np.uint8).copy())
    return context.accelerate(model)
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A directory with an honest entry."""
    root = tmp_path_factory.mktemp("entries")
    (root / "mine.py").write_text(HONEST)
    entry = str(root / "mine.py")
    main(["submit", "--model", "perceptron", "--fast", "--entry", entry, "--leaderboard", str(root / "b")])
    assert len(list((root / "b").rglob("*.json"))) == 1
    return root / "b"


@pytest.fixture
def copied(board, tmp_path):
    shutil.copytree(board, tmp_path / "board")
    (path,) = (tmp_path / "board").rglob("*.json")
    return path


def with_source(path, text):
    """The same submission with another source."""
    return resealed(path, files={"entry/mine.py": text.encode()})


def test_an_honest_entry_passes(copied, capsys):
    assert failed(capsys, copied) <= DISTURBED


def test_source_or_weights_that_were_exchanged(copied, capsys):
    folder = copied.with_suffix(".files")
    source, kept = folder / "entry" / "mine.py", folder / "weights" / "net.safetensors"
    source.write_text(HONEST + "\n")
    assert failed(capsys, copied) == {"CODE_HASH"}
    source.write_text(HONEST)
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    assert failed(capsys, copied) == {"CHECKPOINT_HASH"}


def test_a_table_of_the_public_answers_knows_nothing_else(copied, capsys):
    task = tasks.find("perceptron")
    arm = task.answering.reference(task.reference())
    told = task.metric.told(arm, task.answering.queries(task.data.x_test), task.data.x_test, task.data.y_test)
    table = {x.tobytes(): int(label) for x, label in zip(task.data.x_test, told)}
    forged = with_source(copied, TABLE.format(table=table))
    found = failed(capsys, forged, "--no-retrain")
    assert "HIDDEN_QUALITY" in found and "LABELS_MISMATCH" not in found
    assert failed(capsys, forged) == {"RETRAINING_MISMATCH"}  # its source counts, and is larger than the file says


def test_who_remembers_answers_is_found_by_the_audits(copied, capsys):
    memo = (Path(mlperf.entries.cheats.__file__).parent / "answer_memo.py").read_text()
    assert "CACHING_SUSPECTED" in failed(capsys, with_source(copied, memo), "--no-retrain")


def test_who_looks_at_the_test_part_while_it_is_built_is_seen(copied, capsys):
    found = failed(capsys, with_source(copied, PEEKING))
    assert "CALIBRATION_LEAK" in found


def test_what_comes_out_otherwise_each_time_cannot_be_verified(copied, tmp_path, capsys):
    assert "RETRAINING_MISMATCH" in failed(capsys, with_source(copied, UNSTEADY))


def test_an_entry_that_fails_is_told_by_its_own_lines(copied, capsys):
    forged = with_source(copied, "def optimize(model, calibration, context):\n    return model.no_such_thing\n")
    assert main(["verify", str(forged)]) == 1
    out = capsys.readouterr().out
    assert "no_such_thing" in out and '"failed":["RETRAINING_MISMATCH"]' in out


def test_no_entry_is_imported_by_the_process_that_signs(copied, capsys):
    poison = "import builtins\nbuiltins.poisoned = True\n" + HONEST
    assert failed(capsys, with_source(copied, poison)) == {"RETRAINING_MISMATCH"}  # it ran, elsewhere
    assert not hasattr(builtins, "poisoned")
