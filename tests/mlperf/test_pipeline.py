"""The five stages: what each changes, what they may see, and how the waterfall looks."""

import math
from dataclasses import replace

import numpy as np
import pytest

from leaderboard import Blocks
from mlperf import pipeline, report
from mlperf.candidate import candidate_arm, reference_arm
from mlperf.costs import layer_costs, size_on_disk
from mlperf.harness import Effort, answers
from mlperf.pipeline import Context, Meter, Outcome, Row
from mlperf.recipe import STAGES, Recipe
from profiler.cost import flops
from tinytorch import models, weights
from tinytorch.core.layers import Packed

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
    assert rows[-1].outcome.correct == Meter(task, state.arm, BRIEF).correct(state.arm)
    for row in rows:
        assert len(row.outcome.blocks.order) == BRIEF.pairs
        assert row.outcome.bytes > 100
        assert row.outcome.flops > 0
    assert [row.emulated for row in rows] == [False, True, True, True, True]
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
        state = pipeline.start(task.reference(), Context(task.data.x_train))
        for name in STAGES:
            recipe = Recipe().updated({"quantize": {"percentile": 99.0}})
            state = pipeline.FUNCTIONS[name](state, getattr(recipe, name), Context(task.data.x_train))
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


def test_the_context_holds_training_inputs_only(untrained):
    task = untrained("mlp")
    context = Context(task.data.x_train)
    calibration = context.calibration(100, seed=3)
    np.testing.assert_array_equal(calibration.x, task.data.x_train[calibration.ids])
    assert len(set(calibration.ids.tolist())) == 100
    arrays = [value for value in vars(context).values() if isinstance(value, np.ndarray)]
    assert len(arrays) == 1
    assert not any(np.shares_memory(array, task.data.x_test) for array in arrays)


def test_calibration_is_drawn_with_its_seed(untrained):
    context = Context(untrained("mlp").data.x_train)
    first, again, other = (context.calibration(50, seed) for seed in (1, 1, 2))
    assert first.ids_sha256 == again.ids_sha256 != other.ids_sha256
    assert len(context.calibration(10**6, 0).ids) == len(context.x_train)


def test_every_form_gives_the_same_answers(untrained):
    task = untrained("cnn")
    model, samples = task.reference(), [task.data.x_test[i : i + 1] for i in range(5)]
    expected = answers(reference_arm(model), samples)
    for form in ("eager", "prepared", "plan"):
        actual = answers(candidate_arm(model, form, samples[0], 1), samples)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_costs_are_those_of_the_layers():
    model, example = models.mlp(), np.zeros((1, 64), np.float32)
    costs = list(layer_costs(model, example, calls=3))
    assert [(cost.name, cost.kind) for cost in costs][:3] == [("0", "Linear"), ("1", "ReLU"), ("2", "Linear")]
    assert costs[0].flops == 2 * 64 * 64
    assert costs[0].weight_bytes == 4 * (64 * 64 + 64)
    assert costs[0].moved_bytes == 4 * (64 + 64 * 64 + 64 + 64)
    assert all(cost.time_ns > 0 for cost in costs)
    assert flops(model, example) == sum(cost.flops for cost in costs)
    assert size_on_disk(model) > 4 * 6570


def blocks(ratio):
    return Blocks(inner_ref=1, inner_opt=1, ref_block_ns=(int(1e6 * ratio),), opt_block_ns=(1_000_000,), order=("ref",))


def test_waterfall(golden):
    rows = [
        Row("profile", {}, Outcome(blocks(2), 352, 26_704, 13_024), note="nothing changed"),
        Row("quantize", {}, Outcome(blocks(0.5), 351, 8_152, 13_024), True, "int8 stored"),
        Row("prune", {}),
        Row("cache", {}, Outcome(blocks(10), 351, 8_152, 13_024), True, "steps one by one"),
        Row("accelerate", {}, Outcome(blocks(123.4), 351, 8_152, 13_024), True, "one plan"),
    ]
    golden("waterfall", report.waterfall(rows, (352, 26_704, 13_024), 360) + "\n")


@pytest.mark.parametrize(("ratio", "text"), [(0.0512, "0.0512x"), (1, "1.00x"), (12.34, "12.3x"), (123.4, "123x")])
def test_factors_have_three_figures(ratio, text):
    assert report.times(ratio) == text
    assert math.isclose(float(text[:-1]), ratio, rel_tol=5e-3)
