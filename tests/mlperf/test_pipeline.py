"""The five stages: what each changes, what they may see, and how the waterfall looks."""

import math
from dataclasses import replace

import numpy as np
import pytest

from leaderboard import Blocks
from mlperf import pipeline, report
from mlperf.answering import eager
from mlperf.costs import layer_costs, query_flops, size_on_disk
from mlperf.harness import Effort, answers
from mlperf.metrics import Score
from mlperf.pipeline import Context, Meter, Outcome, Row
from mlperf.recipe import STAGES, Recipe
from profiler import clock
from profiler.clock import Timing
from tinytorch import models, weights
from tinytorch.core.layers import Packed
from tinytorch.perf.compression import measure_sparsity
from tinytorch.perf.quantization import on_integers
from tinytorch.perf.weighted import weighted_layers

BRIEF = Effort(workers=1, pairs=3, block_ns=300_000, queries=20)


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(pipeline, "ESTIMATE", BRIEF)


@pytest.mark.parametrize("name", ["xor", "cnn"])
def test_all_stages_run_in_order_and_are_measured(untrained, brief, name):
    task, done = untrained(name), []
    state, rows = pipeline.run(task, Recipe(), progress=done.append)
    assert [row.stage for row in rows] == done == list(STAGES)
    assert state.form == "plan"
    assert rows[-1].outcome.score == Meter(task, state.arm, BRIEF).score(state.arm)
    for row in rows:
        assert len(row.outcome.blocks.order) == BRIEF.pairs
        assert row.outcome.bytes > 100
        assert row.outcome.flops > 0
    assert not any(row.retrained for row in rows)
    assert not any(row.emulated for row in rows[:-1])  # int8 is computed on integers ...
    assert rows[-1].emulated == ("float32 (" in rows[-1].note)  # ... unless float32 was quicker in the last stage
    assert [row.calibration is not None for row in rows] == [False, True, False, False, False]


def test_bytes_are_those_of_a_real_file(untrained, brief, tmp_path):
    state, rows = pipeline.run(untrained("mlp"), Recipe().skipping(["cache", "accelerate"]))
    assert weights.save(state.model, tmp_path / "mlp") == (tmp_path / "mlp").stat().st_size == rows[2].outcome.bytes
    assert rows[2].outcome.bytes < rows[1].outcome.bytes < rows[0].outcome.bytes / 3


def test_a_skipped_stage_is_listed_and_changes_nothing(untrained, brief):
    state, rows = pipeline.run(untrained("mlp"), Recipe().skipping(["quantize", "prune", "accelerate"]))
    assert [row.outcome is None for row in rows] == [False, True, True, False, True]
    assert not any(isinstance(parameter, Packed) for parameter in state.model.parameters())
    assert state.form == "prepared"
    assert not any(row.emulated for row in rows)


def test_channel_pruning_lowers_flops(untrained, brief):
    recipe = Recipe().updated({"prune": {"method": "channels", "amount": 0.25}}).skipping(["quantize"])
    _, rows = pipeline.run(untrained("cnn"), recipe)
    assert rows[2].outcome.flops < 0.7 * rows[0].outcome.flops
    assert not rows[2].emulated


def test_stages_never_see_test_data(untrained):
    """The whole test split is replaced by nonsense: every stage makes the same candidate, to the last bit."""

    def candidate(task):
        recipe = Recipe().updated({"quantize": {"percentile": 99.0}, "prune": {"finetune_epochs": 2}})
        recipe = recipe.updated({"accelerate": {"tune": False}})  # the clock may decide otherwise next time
        state = pipeline.start(task.reference(), Context.of(task))
        for name in STAGES:
            state = pipeline.FUNCTIONS[name](state, getattr(recipe, name), Context.of(task))
        return state

    task = untrained("mlp")
    honest = candidate(task)
    poisoned = replace(task)
    nonsense = task.data._replace(x_test=np.full_like(task.data.x_test, np.nan), y_test=task.data.y_test * 0 - 1)
    poisoned.__dict__["data"] = nonsense
    other = candidate(poisoned)
    query = task.data.x_train[:1]
    np.testing.assert_array_equal(honest.arm.run(query), other.arm.run(query))
    assert honest.model.layers[0].weight.format.grid == other.model.layers[0].weight.format.grid
    assert honest.retrained


class Untouchable:
    """Stands for an array and fails as soon as anything is done with it."""

    def __getattribute__(self, name):
        raise AssertionError(f"the test split was touched: {name}")

    def refuse(self, *_):
        raise AssertionError("the test split was touched")

    __len__ = __getitem__ = __iter__ = __bool__ = __eq__ = __hash__ = __array__ = refuse


def test_no_stage_touches_the_test_split(untrained, brief, monkeypatch):
    """A whole run of the pipeline, the meter alone replaced; its test does see that the split can be touched."""
    task = untrained("cnn")
    task.__dict__["data"] = task.data._replace(x_test=Untouchable(), y_test=Untouchable())
    with pytest.raises(AssertionError, match="the test split was touched"):
        pipeline.run(task, Recipe())
    monkeypatch.setattr(pipeline, "Meter", lambda *_: lambda state: None)
    state, rows = pipeline.run(task, task.open_recipe)
    assert state.retrained and rows[1].calibration is not None and rows[2].retrained


def test_a_text_task_never_touches_its_test_split(untrained, brief, monkeypatch):
    task = untrained("transformer")
    data = task.data
    task.__dict__["data"] = data._replace(
        x_train=data.x_train[:128], y_train=data.y_train[:128], x_test=Untouchable(), y_test=Untouchable()
    )
    monkeypatch.setattr(pipeline, "Meter", lambda *_: lambda state: None)
    recipe = Recipe().updated({"profile": {"calls": 2}, "prune": {"amount": 0.5, "finetune_epochs": 1}})
    state, rows = pipeline.run(task, recipe)
    assert state.form == "plan" and state.retrained and rows[1].calibration is not None
    assert [row.note.split()[0] for row in rows[3:]] == ["KV", "two"]
    assert all(on_integers(one.layer) for one in weighted_layers(state.model)) or "float32 (" in rows[-1].note
    assert Context.of(task).calibration(99, 0).x.shape == (99, 32)  # grids are measured where answers are written too


def test_a_loss_in_the_waterfall():
    rows = [Row("profile", {}, Outcome(blocks(2), Score(1.72346, 9), 26_704, 13_024), note="nothing changed")]
    header, _, reference, profile = report.waterfall(rows, (Score(1.7, 9), 26_704, 13_024)).splitlines()
    assert header.split()[3] == "loss" and reference.split()[2] == "1.7000" and profile.split()[3] == "1.7235"


def test_fine_tuning_keeps_zeros_and_quantises_again(untrained):
    task = untrained("mlp")
    context, recipe = Context.of(task), Recipe().updated({"prune": {"amount": 0.5, "finetune_epochs": 1}})
    before = pipeline.quantize(pipeline.start(task.reference(), context), recipe.quantize, context)
    after = pipeline.prune(before, recipe.prune, context)
    assert measure_sparsity(after.model) >= 0.5
    assert not after.emulated and after.retrained and "trained 1 epochs more" in after.note
    assert after.model.layers[0].weight.format.codes8.on_integers("linear")
    right = [
        int((m.predict(task.data.x_train).argmax(1) == task.data.y_train).sum()) for m in (before.model, after.model)
    ]
    assert right[1] > 1.5 * right[0]


def test_weights_only_is_emulated_and_says_so(untrained):
    task = untrained("mlp")
    context, config = Context.of(task), Recipe().updated({"quantize": {"activations": False}}).quantize
    state = pipeline.quantize(pipeline.start(task.reference(), context), config, context)
    assert state.emulated and state.note == "int8 weights, float32 arithmetic"


@pytest.mark.parametrize("quicker", ["integers", "float32"])
def test_accelerate_takes_what_is_quicker_and_the_file_keeps_the_choice(untrained, monkeypatch, tmp_path, quicker):
    task = untrained("cnn")
    context, recipe = Context.of(task), Recipe()
    state = pipeline.quantize(pipeline.start(task.reference(), context), recipe.quantize, context)
    monkeypatch.setattr(clock, "compare", lambda runs: {n: Timing((1e3 if n == quicker else 2e3,)) for n in runs})
    fast = pipeline.accelerate(state, recipe.accelerate, context)
    assert f"; {quicker} (integers" in fast.note
    assert fast.emulated is (quicker == "float32")
    weights.save(fast.model, tmp_path / "cnn")
    again = task.build()
    weights.load(again, tmp_path / "cnn", resize=True)
    query = context.example
    np.testing.assert_array_equal(context.arm(again, "plan").run(query), fast.arm.run(query))


BLOCKS = Recipe().updated({"prune": {"method": "blocks", "amount": 0.6, "scope": "layer"}})


def test_blocks_are_gone_and_the_note_says_who_skips_them(untrained, brief):
    _, rows = pipeline.run(untrained("cnn"), BLOCKS)
    assert rows[2].note.startswith("5") and rows[2].note.endswith(
        "% of the weights are zero, by blocks, which 3 of 3 layers may skip"
    )
    assert rows[2].outcome.bytes < 0.7 * rows[1].outcome.bytes and not rows[2].emulated
    _, rows = pipeline.run(untrained("cnn"), BLOCKS.skipping(["quantize"]))
    assert not rows[2].emulated  # float32, in kernels that skip


@pytest.mark.parametrize("quicker", ["integers", "integers, dense", "float32", "float32, dense"])
def test_skipping_is_timed_against_computing_all_and_the_file_keeps_the_choice(
    untrained, monkeypatch, tmp_path, quicker
):
    task = untrained("cnn")
    context = Context.of(task)
    state = pipeline.quantize(pipeline.start(task.reference(), context), BLOCKS.quantize, context)
    state = pipeline.prune(state, BLOCKS.prune, context)
    monkeypatch.setattr(clock, "compare", lambda runs: {n: Timing((1e3 if n == quicker else 2e3,)) for n in runs})
    fast = pipeline.accelerate(state, BLOCKS.accelerate, context)
    assert f"; {quicker} (integers" in fast.note and fast.note.count(" us") == 4
    weights.save(fast.model, tmp_path / "cnn")
    again = task.build()
    weights.load(again, tmp_path / "cnn", resize=True)
    plan, query = context.arm(again, "plan").run, context.example
    assert ("blocks kept" in str(plan)) is ("dense" not in quicker)
    assert fast.emulated is (quicker == "float32, dense")
    np.testing.assert_array_equal(plan(query), fast.arm.run(query))


def test_threads_are_tried_only_where_allowed(untrained):
    task = untrained("mlp")
    context = Context.of(task, threads=2)
    state = pipeline.start(task.reference(), context)
    assert [v.threads for v in pipeline.variants(state, context, True)] == [1, 2]
    assert [v.threads for v in pipeline.variants(state, context, False)] == [2]
    assert [v.name for v in pipeline.variants(state, Context.of(task), True)] == ["as stored"]


def test_the_context_holds_the_training_split_only(untrained):
    task = untrained("mlp")
    context = Context.of(task)
    calibration = context.calibration(100, seed=3)
    np.testing.assert_array_equal(calibration.x, task.data.x_train[calibration.ids])
    assert len(set(calibration.ids.tolist())) == 100
    arrays = [value for value in vars(context).values() if isinstance(value, np.ndarray)]
    assert len(arrays) == 3  # the query too is made of training data
    for held in (task.data.x_test, task.data.y_test):
        assert not any(np.shares_memory(array, held) for array in arrays)


def test_calibration_is_drawn_with_its_seed(untrained):
    context = Context.of(untrained("mlp"))
    first, again, other = (context.calibration(50, seed) for seed in (1, 1, 2))
    assert first.ids_sha256 == again.ids_sha256 != other.ids_sha256
    assert len(context.calibration(10**6, 0).ids) == len(context.x_train)


def test_every_form_gives_the_same_answers(untrained):
    task = untrained("cnn")
    model, samples = task.reference(), [task.data.x_test[i : i + 1] for i in range(5)]
    expected = answers(task.answering.reference(model), samples)
    for form in ("eager", "prepared", "plan"):
        actual = answers(task.answering.candidate(model, form, samples[0], 1), samples)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_costs_are_those_of_the_layers():
    model, example = models.mlp(), np.zeros((1, 64), np.float32)
    costs = list(layer_costs(model, eager(model), example, calls=3))
    assert [(cost.name, cost.kind) for cost in costs][:3] == [("0", "Linear"), ("1", "ReLU"), ("2", "Linear")]
    assert costs[0].flops == 2 * 64 * 64
    assert costs[0].weight_bytes == 4 * (64 * 64 + 64)
    assert costs[0].moved_bytes == 4 * (64 + 64 * 64 + 64 + 64)
    assert all(cost.time_ns > 0 for cost in costs)
    assert query_flops(model, eager(model), example) == sum(cost.flops for cost in costs)
    assert size_on_disk(model) > 4 * 6570


def blocks(ratio):
    return Blocks(inner_ref=1, inner_opt=1, ref_block_ns=(int(1e6 * ratio),), opt_block_ns=(1_000_000,), order=("ref",))


def right(count):
    return Score(count / 360, 360, count)


def test_waterfall(golden):
    rows = [
        Row("profile", {}, Outcome(blocks(2), right(352), 26_704, 13_024), note="nothing changed"),
        Row("quantize", {}, Outcome(blocks(0.5), right(351), 8_152, 13_024), True, note="int8 stored"),
        Row("prune", {}),
        Row("cache", {}, Outcome(blocks(10), right(351), 8_152, 13_024), True, True, "steps one by one"),
        Row("accelerate", {}, Outcome(blocks(123.4), right(351), 8_152, 13_024), True, note="one plan"),
    ]
    golden("waterfall", report.waterfall(rows, (right(352), 26_704, 13_024)) + "\n")


@pytest.mark.parametrize(("ratio", "text"), [(0.0512, "0.0512x"), (1, "1.00x"), (12.34, "12.3x"), (123.4, "123x")])
def test_factors_have_three_figures(ratio, text):
    assert report.times(ratio) == text
    assert math.isclose(float(text[:-1]), ratio, rel_tol=5e-3)
