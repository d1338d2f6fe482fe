"""The tasks on MNIST and CIFAR-10: bytes in, every stage, copies of the data, and what happens without them.

Most tests draw a few images instead of reading the real ones; what is learnt from those is seen all the same.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from leaderboard import load_all
from mlperf import candidate, pipeline, report, sources, submission, tasks, tuning
from mlperf.__main__ import main
from mlperf.pipeline import Context
from mlperf.recipe import Recipe
from tests.mlperf.test_pipeline import BRIEF, Untouchable
from tinytorch import datasets, weights
from tinytorch.core.spatial import BatchNorm2d
from tinytorch.datasets import DataError, Split, catalogue
from tinytorch.perf.weighted import weighted_layers
from tinytorch.recipes import VISION

SHAPES = {"mlp-mnist": (1, 28, 28), "cnn-cifar10": (3, 32, 32)}
image_task = pytest.mark.parametrize("name", SHAPES)


def drawn(shape, train=256, test=24, seed=5):
    """Images whose class is where they are bright: each class has a window of its own, so little learning is enough."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 10, train + test)
    x = rng.integers(0, 120, (train + test, *shape), dtype=np.uint8)
    for image, label in zip(x, y):
        top, left = divmod(int(label), 4)
        image[:, 8 * top + 1 : 8 * top + 7, 7 * left : 7 * left + 6] += 120
    return Split("drawn", x[:train], y[:train], x[train:], y[train:])


@pytest.fixture
def drawn_task(untrained):
    def make(name, **sizes):
        task = untrained(name)
        task.__dict__["data"] = drawn(SHAPES[name], **sizes)
        return task

    return make


# -- what the network reads --------------------------------------------------------------------------------------------


@image_task
def test_images_are_normalised_as_their_reference_was_trained(name):
    task, data = tasks.find(name), drawn(SHAPES[name])
    read = task.answering.read(data.x_test)
    mean, std = (np.array(a)[:, None, None] for a in (task.answering.mean, task.answering.std))
    expected = ((data.x_test / 255 - mean) / std).reshape(read.shape)
    assert read.dtype == np.float32 and read.shape[1:] == ((784,) if name == "mlp-mnist" else (3, 32, 32))
    np.testing.assert_allclose(read, expected, rtol=1e-5, atol=1e-5)
    queries = task.answering.queries(data.x_test)
    assert len(queries) == 24 and all(q.shape == (1, *read.shape[1:]) and q.flags.c_contiguous for q in queries)
    np.testing.assert_array_equal(np.concatenate(queries), read)
    assert repr(task.answering.std) in repr(task.answering)  # and so in the task's version


@pytest.mark.data
@image_task
def test_the_figures_are_those_of_the_training_part(name):
    task = there(name)
    images = {"mlp-mnist": datasets.mnist, "cnn-cifar10": datasets.cifar10}[name]()
    np.testing.assert_allclose(task.answering.mean, images.mean, atol=1e-5)
    np.testing.assert_allclose(task.answering.std, images.std, atol=1e-5)


# -- the stages --------------------------------------------------------------------------------------------------------


@image_task
def test_calibration_is_made_of_training_images(drawn_task, name):
    task = drawn_task(name)
    task.__dict__["data"] = task.data._replace(x_test=Untouchable(), y_test=Untouchable())
    context = Context.of(task)
    found = context.calibration(100, seed=3)
    np.testing.assert_array_equal(found.x, task.answering.read(task.data.x_train[found.ids]))
    assert len(set(found.ids.tolist())) == 100


@image_task
def test_every_stage_of_both_divisions_runs(drawn_task, monkeypatch, name):
    monkeypatch.setattr(pipeline, "ESTIMATE", BRIEF)
    task, watched = drawn_task(name, train=130, test=4), []

    @pipeline.contextmanager
    def watch(what):
        seen = []
        yield lambda done, of: seen.append((done, of))
        watched.append((what, seen))

    for recipe in (task.recipe, task.open_recipe.updated({"prune": {"finetune_epochs": 2}})):
        watched.clear()
        state, rows = pipeline.run(task, recipe.updated({"profile": {"calls": 2}}), watch=watch)
        assert state.form == "plan" and all(row.outcome.score.n == 4 for row in rows)
        assert rows[2].outcome.bytes < rows[1].outcome.bytes < rows[0].outcome.bytes / 3
    assert state.retrained and rows[2].outcome.flops < 0.6 * rows[1].outcome.flops
    (trained,) = [seen for what, seen in watched if what == "training"]
    steps = {"mlp-mnist": 6, "cnn-cifar10": 4}[name]  # 130 images in batches of 64; twice as many in whole ones of 128
    assert trained == [(i, steps) for i in range(1, steps + 1)]
    assert [seen[-1] for what, seen in watched if what == "test set"] == [(4, 4)] * 5


@image_task
def test_no_stage_touches_the_test_split(drawn_task, monkeypatch, name):
    task = drawn_task(name, train=130)
    task.__dict__["data"] = task.data._replace(x_test=Untouchable(), y_test=Untouchable())
    monkeypatch.setattr(pipeline, "Meter", lambda *_: lambda state: None)
    recipe = task.open_recipe.updated({"prune": {"finetune_epochs": 1}, "profile": {"calls": 2}})
    state, _ = pipeline.run(task, recipe)
    assert state.retrained


def test_training_further_learns_and_its_seed_decides(drawn_task):
    task = drawn_task("cnn-cifar10")
    context, model = Context.of(task), task.reference()
    first, again = (context.trained(model, 3, 0.003, seed=0) for _ in range(2))
    for a, b in zip(first.parameters(), again.parameters()):
        np.testing.assert_array_equal(a.data, b.data)
    read = task.answering.read(task.data.x_test)
    assert (first.predict(read).argmax(1) == task.data.y_test).sum() >= 12  # of 24; chance is 2 or 3


def test_a_candidate_is_rebuilt_with_or_without_batch_norm(drawn_task, tmp_path):
    task = drawn_task("cnn-cifar10")
    context = Context.of(task)
    start = pipeline.start(task.reference(), context)
    quantised = pipeline.quantize(start, Recipe().quantize, context)
    for state, norms in ((start, 2), (quantised, 0)):
        weights.save(state.model, tmp_path / "candidate")
        again = candidate.rebuilt(task, str(tmp_path / "candidate"))
        assert sum(isinstance(layer, BatchNorm2d) for layer in again.modules()) == norms
        query = context.example
        np.testing.assert_array_equal(
            context.arm(again, "plan").run(query), context.arm(state.model, "plan").run(query)
        )


# -- copies of the data ------------------------------------------------------------------------------------------------


def codes(task):
    return [(r.code, r.severity, r.measured) for r in submission.pin_reasons(task) if r.code.startswith("DATA")]


def test_a_copy_that_is_not_published_is_named_and_ranked_by_itself(drawn_task, monkeypatch):
    monkeypatch.setattr(sources, "published", lambda dataset: False)
    task = drawn_task("cnn-cifar10")
    digest = task.data.sha256
    assert codes(task) == [("DATA_COPY", "warning", f"copy {digest[:12]}")]
    named = replace(task, copies={digest: "our copy"})
    named.__dict__["data"] = task.data
    assert codes(named) == [("DATA_COPY", "warning", "our copy")] and named.version == task.version
    other = replace(task)
    other.__dict__["data"] = drawn(SHAPES["cnn-cifar10"], seed=6)
    assert other.version != task.version and len(other.version) == 12
    monkeypatch.setattr(sources, "published", lambda dataset: True)
    assert task.copy is None and codes(task) == []


def test_other_data_are_no_copies(untrained, monkeypatch):
    """Embedded data exist in one form, so another one is a fault; nobody asks for files that are not there."""
    monkeypatch.setattr(sources, "published", lambda dataset: pytest.fail("asked"))
    task = untrained("mlp")
    assert task.copy is None and codes(task) == []
    before = task.version
    changed = replace(task)
    changed.__dict__["data"] = task.data._replace(y_test=1 - task.data.y_test)
    assert [code for code, *_ in codes(changed)] == ["DATASET_HASH"] and changed.version == before


def test_published_is_what_the_files_checksums_say(monkeypatch):
    files, found = catalogue.PUBLISHED["mnist"].files, {}
    monkeypatch.setattr(sources, "find", found.get)
    assert not sources.here("mnist") and not sources.published("mnist") and sources.here("digits")
    found |= {file: catalogue_found(published=True) for file in files}
    assert sources.here("mnist") and sources.published("mnist")
    found[files[-1]] = catalogue_found(published=False)
    assert sources.here("mnist") and not sources.published("mnist")


def catalogue_found(published):
    from tinytorch.datasets.download import Found

    return Found(None, "sha256:0", published)


@pytest.mark.data
@image_task
def test_the_copies_of_development_are_known(name):
    task = there(name)
    if task.copy is not None:
        assert task.copy == tasks.DEVELOPMENT
    else:
        assert sources.published(task.dataset)


# -- choosing settings -------------------------------------------------------------------------------------------------


@image_task
def test_settings_are_chosen_on_one_split_of_the_training_images(drawn_task, monkeypatch, name):
    task = drawn_task(name)
    task.__dict__["data"] = task.data._replace(x_test=Untouchable(), y_test=Untouchable())
    monkeypatch.setitem(VISION, name, VISION[name]._replace(batch_size=64))
    (setting, *_) = tuning.settings_of(task, "open")
    assert setting["method"] == "channels" and tuning.splits_of(task) == 1
    assert task.open_recipe in [Recipe().updated({"prune": s}) for s in tuning.settings_of(task, "open")]
    assert task.recipe in [Recipe().updated({"prune": s}) for s in tuning.settings_of(task, "closed")]
    (found,) = tuning.trials(task, [{**setting, "finetune_epochs": 1}], splits=1, epochs=1)
    assert 20 <= found.quality[0].n <= 32 and found.bytes[0] < task.checkpoint.stat().st_size / 4
    mine = tuning.validation_task(task, 0)
    assert len(mine.data.x_train) + len(mine.data.x_test) == 256 and mine.data.x_train.dtype == np.uint8


# -- the command -------------------------------------------------------------------------------------------------------


@image_task
def test_without_its_data_a_task_says_how_to_get_them(tmp_path, name):
    here, dataset = str(tmp_path), tasks.find(name).dataset
    nobody = "http://127.0.0.1:9"
    nowhere = {
        **os.environ,
        "TINYTORCH_DATA": here,
        "XDG_CACHE_HOME": here,
        "HTTPS_PROXY": nobody,
        "HTTP_PROXY": nobody,
    }
    command_line = [sys.executable, "-m", "mlperf", "submit", "--model", name, "--leaderboard", here]
    done = subprocess.run(command_line, env=nowhere, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"mlperf: --model {name} needs data: {dataset}: there is no ")
    assert f"Run `python -m tinytorch.datasets get {dataset}`" in done.stderr and "put " in done.stderr
    assert f"{tmp_path}" in done.stderr and "Traceback" not in done.stderr and "compile" not in done.stderr


def test_choosing_settings_without_data_ends_alike(monkeypatch, capsys):
    def nothing():
        raise DataError("cifar10: there is no archive")

    monkeypatch.setitem(tasks.TASKS, "cnn-cifar10", replace(tasks.TASKS["cnn-cifar10"], source=nothing))
    assert main(["tune", "--model", "cnn-cifar10"]) == 2
    assert "mlperf: --model cnn-cifar10 needs data: cifar10: there is no archive" in capsys.readouterr().err


def test_listing_tasks_gets_no_data(monkeypatch, capsys):
    def get():
        raise AssertionError("it was read")

    monkeypatch.setattr(sources, "find", lambda file: None)
    for name in ("mlp-mnist", "cnn-cifar10", "gpt-shakespeare"):
        monkeypatch.setitem(tasks.TASKS, name, replace(tasks.TASKS[name], source=get))
    table = report.tasks_table()
    for name in ("gpt-shakespeare +tinyshakespeare", "mlp-mnist +mnist", "cnn-cifar10 +cifar10"):
        assert re.search(f"{name} +no data +-", table)


def there(name):
    """A task whose data are here; skips where they are not."""
    task = replace(tasks.find(name))
    if not sources.here(task.dataset):
        pytest.skip(f"{task.dataset} is not here; TINYTORCH_DATA names the folder that has it")
    return task


@pytest.mark.data
@pytest.mark.slow  # trains two epochs on 60,000 images and asks both arms 10,000 questions, several times
def test_mnist_end_to_end(tmp_path):
    there("mlp-mnist")
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[prune]\nmethod = "channels"\namount = 0.3\nfinetune_epochs = 2\nfinetune_lr = 0.001\n')
    command_line = [sys.executable, "-m", "mlperf", "submit", "--model", "mlp-mnist", "--fast", "--recipe", str(recipe)]
    done = subprocess.run([*command_line, "--leaderboard", str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr  # practice is never ranked, so never VALID
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["retrained"] and last["bytes"] < last["reference_bytes"] / 5
    assert last["quality"] >= 0.99 * last["reference_quality"] > 0.96
    (kept,) = load_all(tmp_path).submissions
    assert kept.quality.n == kept.task.n_test == 10_000 and kept.task.dataset.startswith("mnist")
    assert kept.pipeline[1].calibration_n == 256 and len(kept.raw.workers) == 2


@pytest.mark.data
@pytest.mark.slow  # eager NumPy answers 10,000 images in ten seconds, int8 on top
def test_cifar_keeps_its_answers_when_quantised_and_pruned():
    """The closed division's candidate on the whole test set, in batches as its accuracy does not depend on them."""
    task = there("cnn-cifar10")
    context = Context.of(task)
    state = pipeline.start(task.reference(), context)
    x, y = task.answering.read(task.data.x_test), task.data.y_test

    def right(model):
        parts = range(0, len(x), 100)
        return sum(int((model.predict(x[i : i + 100]).argmax(1) == y[i : i + 100]).sum()) for i in parts)

    reference = right(state.model)
    for name in ("quantize", "prune"):
        state = pipeline.FUNCTIONS[name](state, getattr(task.recipe, name), context)
    assert 100 * right(state.model) >= 99 * reference
    assert all(one.layer.weight.format.codes8 is not None for one in weighted_layers(state.model))
