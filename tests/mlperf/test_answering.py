"""Answers that are texts: every form writes the same tokens, their times and number are the harness's."""

from __future__ import annotations

import numpy as np
import pytest

from mlperf.answering import ONE_PASS, Writing, eagerly, written
from mlperf.costs import layer_costs, query_flops
from mlperf.harness import Arm, answers, token_times
from mlperf.metrics import MeanLoss, cross_entropy
from mlperf.worker import Pair, generation
from profiler import samples
from tinytorch import models
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.tensor import Tensor
from tinytorch.core.transformer import GPT
from tinytorch.perf.compression import magnitude_prune
from tinytorch.perf.quantization import on_integers, quantize
from tinytorch.perf.weighted import weighted_layers

WRITING = Writing(prompt_tokens=5, output_tokens=6)
FORMS = ("eager", "prepared", "plan")


@pytest.fixture(scope="module")
def gpt():
    np.random.seed(3)
    model = GPT(28, 32, 2, 4, 12)
    for parameter in model.parameters():
        parameter.data *= 3  # further apart than at first, so that no two tokens are equally likely
    return model.eval()


@pytest.fixture(scope="module")
def texts():
    return np.random.default_rng(5).integers(0, 28, (9, 12))


def packed(model, kind, texts):
    if kind == "float32":
        return model
    small = quantize(model, texts[:4])
    return magnitude_prune(small, 0.6) if kind == "int8, pruned" else small


@pytest.mark.parametrize("kind", ["float32", "int8", "int8, pruned"])
def test_with_and_without_a_cache_the_same_tokens_come(gpt, texts, kind):
    model, prompts = packed(gpt, kind, texts), WRITING.queries(texts)
    arms = [WRITING.candidate(model, form, prompts[0], 1) for form in FORMS]
    first, *others = [answers(arm, prompts) for arm in arms]
    assert first.shape == (9, 6) and first.dtype == np.int64 and len(np.unique(first)) > 3
    for other in others:
        np.testing.assert_array_equal(other, first)
    if kind == "float32":
        np.testing.assert_array_equal(answers(WRITING.reference(model), prompts), first)
    else:
        assert all(on_integers(one.layer) for one in weighted_layers(model))


@pytest.mark.parametrize("form", FORMS)
def test_asked_together_or_one_by_one_answers_are_the_same(gpt, texts, form):
    prompts = WRITING.queries(texts)
    arm = WRITING.candidate(gpt, form, prompts[0], 1)
    np.testing.assert_array_equal(answers(arm._replace(at_once=1), prompts), answers(arm, prompts))


@pytest.mark.parametrize("form", FORMS)
def test_a_text_that_is_given_has_the_logits_of_a_single_pass(gpt, texts, form):
    arm = WRITING.candidate(gpt, form, texts[:1, :5], 1)
    with arm.around():
        logits = arm.forced(texts)
    with eagerly("numpy"):
        expected = gpt(Tensor(texts)).data
    assert logits.shape == (9, 12, 28)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_that_of_the_framework_and_the_same_in_every_form(gpt, texts):
    x, y, metric = texts[:, :-1], texts[:, 1:], MeanLoss("validation loss")
    with eagerly("numpy"):
        expected = CrossEntropyLoss()(gpt(Tensor(x)), Tensor(y)).item()
    for arm in (WRITING.reference(gpt), *(WRITING.candidate(gpt, form, x[:1, :5], 1) for form in FORMS)):
        told = metric.told(arm, WRITING.queries(x), x, y)
        assert told.shape == (9,)
        assert metric.score(told, y).value == pytest.approx(expected, rel=1e-5)
    with pytest.raises(TypeError, match="metric validation loss: the arm gives no logits for a text"):
        metric.told(Arm(np.negative), [], x, y)


def test_cross_entropy_in_numbers_by_hand():
    logits = np.log(np.array([[[1, 2, 5], [4, 4, 2]]], np.float32)) + 1000  # any constant changes nothing
    np.testing.assert_allclose(cross_entropy(logits, np.array([[2, 0]])), -np.log([[5 / 8, 4 / 10]]), rtol=1e-4)


def test_a_worse_loss_is_the_worst():
    metric, truth = MeanLoss("loss"), np.zeros((2, 3))
    assert metric.worst([np.array([1.0, 1]), np.array([1.0, 3]), np.array([2.0, 1])], truth) == 1
    quality = metric.quality(np.array([1.0, 2]), np.array([1.0, 3]), truth)
    assert (quality.n, quality.ref_value, quality.value, quality.opt_correct) == (2, 1.5, 2.0, None)


def test_one_query_costs_what_is_computed_of_it(gpt, texts):
    """Without a cache 5 + 6 + ... + 10 positions pass the layers, with it 10; the last layer reads one a token."""
    prompt = WRITING.queries(texts)[0]
    anew, kept = (query_flops(gpt, WRITING.observable(gpt, form), prompt) for form in ("eager", "prepared"))
    layers = {
        form: sum(
            cost.flops
            for cost in layer_costs(gpt, WRITING.observable(gpt, form), prompt, 1)
            if cost.name.endswith("q_proj")
        )
        for form in ("eager", "prepared")
    }
    one = 2 * 2 * 32 * 32  # two layers of 32 x 32
    assert layers == {"eager": one * sum(range(5, 11)), "prepared": one * 10}
    assert 3 < anew / kept < 4.5
    assert WRITING.kept.endswith("a query reads 10 positions instead of 45")


def test_a_profile_of_a_gpt_lists_its_layers(gpt, texts):
    costs = list(layer_costs(gpt, WRITING.observable(gpt, "eager"), WRITING.queries(texts)[0], 1))
    names = {cost.name for cost in costs}
    assert {"blocks.0.attention.q_proj", "blocks.1.mlp.linear2", "blocks.0.attention", "ln_f", "lm_head"} <= names
    assert all(cost.time_ns > 0 for cost in costs)


def ending(count):
    """An arm whose answers have `count` tokens."""

    def stream(prompt):
        return iter([np.array([i]) for i in range(count)])

    return Arm(lambda x: np.zeros((1, 4), np.int64), stream=stream)


@pytest.mark.parametrize(("count", "seen"), [(0, 0), (3, 3), (4, 4), (5, 5), (100, 5)])
def test_the_harness_counts_tokens_and_stops(count, seen):
    """One more than asked for is taken, to see that there is one; never more."""
    timed = token_times(ending(count), [np.zeros((1, 2), np.int64)] * 3, 4)
    assert timed["tokens"] == [seen] * 3
    assert min(timed["ttft_ns"]) > 0
    assert [len(later) for later in timed["per_token_ns"]] == [max(seen - 1, 0)] * 3


def test_the_first_token_is_timed_apart(monkeypatch):
    now = 0

    def stream(prompt):
        nonlocal now
        for ns in (900, 20, 30):
            now += ns
            yield np.array([1])

    monkeypatch.setattr(samples, "now_ns", lambda: now)
    timed = token_times(Arm(lambda x: x, stream=stream), [np.zeros((1, 2))] * 2, 3)
    assert timed == {"tokens": [3, 3], "ttft_ns": [900, 900], "per_token_ns": [[20, 30], [20, 30]]}


def test_an_answer_that_ends_early_is_filled_with_what_is_no_token():
    prompts = np.zeros((2, 5), np.int64)
    np.testing.assert_array_equal(
        written(lambda x: iter([np.array([7, 8])] * 2), 4, prompts), [[7, 7, -1, -1], [8, 8, -1, -1]]
    )


def test_a_cache_that_changes_tokens_is_noticed(gpt, texts):
    prompts = WRITING.queries(texts)
    uncached = WRITING.uncached(gpt)

    def pair(arm):
        def told(arm, progress):
            return answers(arm, prompts, progress)

        return Pair(arm, arm, prompts, told, output_tokens=6, caching=(arm, uncached))

    honest = generation(pair(WRITING.candidate(gpt, "plan", prompts[0], 1)), prompts)
    assert honest["same"] == [6] * 9 and honest["tokens"] == [6] * 9
    arm = WRITING.candidate(gpt, "plan", prompts[0], 1)
    wrong = generation(pair(arm._replace(run=lambda x: np.where(np.arange(6) == 2, -1, arm.run(x)))), prompts)
    assert wrong["same"] == [5] * 9
    assert generation(pair(arm)._replace(output_tokens=None), prompts) is None


def test_only_a_gpt_writes():
    with pytest.raises(TypeError, match="answering: Sequential writes no text; a task that asks for one needs a GPT"):
        WRITING.reference(models.mlp())
    assert ONE_PASS.output_tokens is None and ONE_PASS.uncached(models.mlp()) is None
    with pytest.raises(TypeError, match="the arm answers at once; to time its tokens it needs `stream`"):
        token_times(Arm(np.negative), [np.zeros(1)], 1)
