"""Transformers: all contestants agree on small nets, what is compared, and what the targets make of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import transformer
from benchmarks.contest import Case, Contest, Contestant, Effort, difference
from benchmarks.libraries import NUMPY, TORCH
from benchmarks.libraries.transformer_numpy import tokens_recomputed
from benchmarks.targets import evaluate
from benchmarks.transformer_work import Attention, Gpt, GptStep, Text, Token
from tests.benchmarks.results import MS, result
from tests.benchmarks.test_contest import INSTALLED, everybody

SMALL = Gpt(layers=2, heads=2, width=32, context=12, vocabulary=11)
NUMPY_READER, NUMPY_WRITER = Contestant(NUMPY, "recomputed"), Contestant(NUMPY, "eager, cache")
CASES = [
    Case("transformer", GptStep(SMALL, 3), everybody(
        transformer.EAGER, transformer.CAPTURED, transformer.TORCH_EAGER, transformer.NUMPY_EAGER)),
    Case("transformer", Token(SMALL, 5, 9), everybody(
        transformer.EAGER, transformer.DECODER, transformer.INT8_DECODER, transformer.TORCH_EAGER,
        transformer.ONNX_FLOAT, transformer.ONNX_INT8), NUMPY_READER),
    Case("transformer", Text(SMALL, 7), transformer.WRITERS, NUMPY_WRITER, long=True),
    Case("transformer", Attention(3, 70, 16), everybody(
        transformer.EAGER, transformer.TORCH_EAGER, transformer.NUMPY_EAGER), memory=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def running():
    with Contest(INSTALLED, 1, Effort(rounds=2, block_ns=200_000)) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=str)
def test_everybody_gives_the_same_answer_and_is_timed(running, case):
    made = running.run(case)
    assert made.failed == {}
    assert set(made.times_ns) == {str(each) for each in case.contestants}
    assert {len(times) for times in made.times_ns.values()} == {2}
    assert set(made.peak_bytes) == ({str(each) for each in case.contestants} if case.memory else set())


def test_numpy_is_seen_to_hold_all_scores(running):
    """Forward and back hold at least the weights, heads x tokens x tokens, and not much more than a few of them."""
    case = Case("transformer", Attention(2, 200, 8), (transformer.NUMPY_EAGER,), memory=True)
    scores = 2 * 200 * 200 * 4
    assert scores < running.run(case).peak_bytes["numpy eager"] < 8 * scores


def test_torch_is_seen_to_hold_less(running):
    if TORCH not in INSTALLED:
        pytest.skip("PyTorch is not installed")
    work = Attention(2, 1024, 8)
    case = Case("transformer", work, (transformer.TORCH_EAGER,), transformer.TORCH_EAGER, memory=True)
    results = 4 * work.arrays()[0].nbytes  # the answer and three gradients
    assert results <= running.run(case).peak_bytes["torch eager"] < results + 2 * 1024 * 1024 * 4


def test_the_cache_decides_the_answer():
    """A reader that forgets what came before must not pass: the reference differs from position to position."""
    right = tokens_recomputed(Token(SMALL, 5, 9), 1).answer()
    alone = np.concatenate([tokens_recomputed(Token(SMALL, 0, 1), 1).answer()] * 4)
    assert right.shape == (4, 11)
    assert difference(alone, right, "int8").startswith("wrong")


def test_sizes_follow_from_what_is_computed():
    assert sum(array.size for array in SMALL.weights().values()) == (
        11 * 32 + 12 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 2 * 32 + 32 * 11
    )
    assert SMALL.flops == 2 * (2 * 12 * 32 * 32 + 32 * 11)
    assert Attention(4, 100, 8).flops == 14 * 4 * 8 * 100**2
    assert Token(SMALL, 5, 9).flops == SMALL.flops + 4 * 2 * 32 * 7.5
    assert GptStep(SMALL, 3).flops == 3 * 12 * (3 * SMALL.flops + 3.5 * 4 * 2 * 32 * 12)


def test_quick_leaves_out_what_takes_long():
    full, quick = ({str(case) for case in transformer.cases(1, quick)} for quick in (False, True))
    assert quick < full
    assert "GPT text of 1024 tokens" in full - quick
    step, attention = transformer.cases(2, quick=False)
    assert (step.work, str(attention)) == (transformer.STEP, "attention, 4096 tokens")


def found(*results):
    return {target.name: target for target in evaluate(results)}


def test_a_token_is_compared_with_the_quickest_of_each():
    times = {"tinytorch decoder": [60.0], "tinytorch int8 decoder": [40.0], "tinytorch eager": [10.0],
             "torch eager": [110.0], "onnxruntime float32": [90.0], "onnxruntime int8": [64.0]}  # fmt: skip
    targets = found(result("transformer", transformer.TOKEN, transformer.cases(1, True)[1].contestants, times))
    assert targets["GPT token: torch eager / ours"].measured.median == 2.75
    assert targets["GPT token: onnxruntime / ours"].measured.median == 1.6
    assert [target.reached for target in targets.values()] == [False, True]


def test_a_step_counts_with_two_threads():
    times = {"tinytorch captured": [10 * MS], "torch eager": [12 * MS]}
    who = (transformer.CAPTURED, transformer.TORCH_EAGER)
    assert found(result("transformer", transformer.STEP, who, times, threads=2))["GPT step: torch eager / ours"].reached
    assert found(result("transformer", transformer.STEP, who, times)) == {}


def attention(tokens, peak_bytes, threads=1):
    made = result("transformer", Attention(4, tokens), (transformer.EAGER, transformer.TORCH_EAGER),
                  {"tinytorch eager": [10 * MS], "torch eager": [9 * MS]}, threads)  # fmt: skip
    made.peak_bytes = peak_bytes
    return made


@pytest.mark.parametrize(("large", "share"), [(16_000, 1.0), (64_000, 0.25)])
def test_memory_may_grow_as_the_tokens_do(large, share):
    targets = found(*[attention(n, {"tinytorch eager": b}) for n, b in ((512, 1000), (2048, 9000), (8192, large))])
    target = targets["attention: growth of tokens / of memory"]
    assert (target.measured.median, target.reached, target.case) == (share, share == 1, "512 to 8192 tokens")


def test_memory_that_was_not_measured_is_missed():
    (target,) = evaluate([attention(512, {}), attention(2048, {"tinytorch eager": 5})])
    assert target.measured is None and not target.reached
    assert found(attention(512, {})) == {}


def test_long_attention_counts_for_each_number_of_threads():
    targets = evaluate([attention(4096, {}, threads) for threads in (1, 2)])
    assert [(target.threads, target.measured.median, target.reached) for target in targets] == [
        (1, 0.9, False), (2, 0.9, False)]  # fmt: skip
