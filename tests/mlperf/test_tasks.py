"""The tasks: pinned, complete, and what the references really execute."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tinytorch
from mlperf import sources, tasks
from mlperf.answering import likeliest
from mlperf.pipeline import Meter
from mlperf.tasks import TASKS, UnknownTask, binary_label, find
from profiler.known import KNOWN
from tinytorch import weights
from tinytorch.core import autograd
from tinytorch.engine import dispatch

REPIN = (
    "the yard-stick changed; if the change was meant, write what `python -m mlperf.tasks` prints into mlperf/tasks.py"
)


def test_reference_code_is_the_pinned_one():
    assert tasks.reference_code_sha256() == tasks.REFERENCE_CODE_SHA256, REPIN


@pytest.fixture(params=TASKS)
def task(request):
    """Each task; one whose data are not here is skipped, and says so: nothing is downloaded."""
    chosen = TASKS[request.param]
    if not sources.here(chosen.dataset):
        pytest.skip(f"{chosen.dataset} is not here; TINYTORCH_DATA names the folder that has it")
    return chosen


def test_weights_and_data_are_the_pinned_ones(task):
    assert weights.sha256(task.checkpoint) == task.weights_sha256, REPIN
    assert task.dataset_sha256 in (task.data_sha256, None), REPIN
    assert task.checkpoint.stat().st_size <= 5_000_000  # what a checkout may carry for one task


def test_reference_is_well_above_its_floor(task):
    value = Meter(task, None, None).score(task.answering.reference(task.reference())).value
    assert value >= task.floor + 0.01 or value == 1 if task.metric.higher_is_better else value <= task.floor - 0.01


def test_every_source_file_that_a_reference_executes_is_in_the_hash():
    executed = set()
    for task in TASKS.values():
        model = task.build()
        arm = task.answering.reference(model)
        writes = task.answering.output_tokens is not None
        query = np.zeros((1, task.answering.prompt_tokens), np.int64) if writes else KNOWN[task.name].batch(1)[0]
        with arm.around():
            sys.setprofile(lambda frame, event, argument: executed.add(frame.f_code.co_filename))
            try:
                arm.run(query)
                if arm.forced is not None:
                    arm.forced(query)
            finally:
                sys.setprofile(None)
    package = Path(tinytorch.__file__).parent
    ours = {Path(name).relative_to(package).as_posix() for name in executed if Path(name).is_relative_to(package)}
    assert ours <= set(tasks.REFERENCE_FILES), REPIN
    # A shape rule runs once per process, so a file may have been executed before this test looked.
    assert {"core/layers.py", "core/tensor.py", "engine/dispatch.py"} <= ours


def test_the_hash_notices_a_change_but_no_line_ends(tmp_path, monkeypatch):
    for name in tasks.REFERENCE_FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        source = Path(tinytorch.__file__).parent / name
        (tmp_path / name).write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    original = tasks.reference_code_sha256()
    monkeypatch.setattr(tasks.tinytorch, "__file__", str(tmp_path / "__init__.py"))
    assert tasks.reference_code_sha256() == original
    with open(tmp_path / tasks.REFERENCE_FILES[3], "ab") as file:
        file.write(b"# slower\n")
    assert tasks.reference_code_sha256() != original


def test_reference_runs_on_numpy_without_a_tape(untrained):
    task = untrained("cnn")
    model = task.reference()
    arm = task.answering.reference(model)
    seen, original = [], model.forward
    model.forward = lambda x: seen.append((dispatch.backend(), autograd.recording())) or original(x)
    with arm.around():
        arm.run(task.data.x_test[:1])
    assert seen == [("numpy", False)]


def test_labels():
    np.testing.assert_array_equal(binary_label(np.array([[0.2], [0.5], [0.7]])), [0, 0, 1])
    np.testing.assert_array_equal(likeliest(np.array([[1, 3, 2], [9, 0, 0]])), [1, 0])


def test_the_version_follows_the_definition():
    told = [task for task in TASKS.values() if task.dataset_sha256 or sources.here(task.dataset)]
    versions = {task.version for task in told}
    assert len(versions) == len(told) >= 6
    assert all(len(version) == 12 for version in versions)


def test_unknown_task():
    with pytest.raises(UnknownTask, match="unknown model 'resnet'; known: perceptron, xor, mlp, cnn, transformer"):
        find("resnet")


def test_results_judged_by_other_rules_are_another_benchmark(monkeypatch):
    task = tasks.find("cnn")
    before = task.version
    monkeypatch.setattr(tasks, "RULES_VERSION", tasks.RULES_VERSION + 1)
    assert task.version != before
