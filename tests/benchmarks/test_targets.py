"""What is reached and what is missed, on times known in advance."""

from __future__ import annotations

import pytest

from benchmarks.contest import Spread
from benchmarks.targets import Target, evaluate
from tests.benchmarks.results import (
    INT8_PLAN,
    MS,
    ONNX,
    ONNX_INT8,
    PLAN,
    blocked,
    fed,
    gemm,
    latency,
    net,
    result,
    scaling,
    step,
)


def found(*results):
    return {target.name: target for target in evaluate(results)}


def test_ratios_are_formed_within_rounds_and_their_median_counts():
    times = {"a": [10.0, 30.0, 20.0], "b": [5.0, 10.0, 20.0]}
    assert result("g", None, (), times).ratio("a", "b") == Spread(2.0, 1.0, 3.0)
    assert result("g", None, (), times).quickest(["a", "b", "absent"]) == "b"
    assert result("g", None, (), times).quickest(["absent"]) is None


def test_share_of_the_limit_and_best_peer_of_a_product():
    targets = found(gemm())
    share, peer = targets["gemm: share of the FMA limit"], targets["gemm: best peer / ours"]
    assert share.measured.median == pytest.approx(0.9) and share.reached
    # torch is the quickest peer; what counts is the call, not the repeated rows
    assert peer.measured == Spread(1.2, 1.2, 2.4) and peer.reached


def test_the_worst_case_of_a_kind_decides():
    slow = gemm(repeated_ns=2 * 128**3 / 80, torch_ns=40_000.0)
    targets = found(gemm(), slow)
    assert not targets["gemm: share of the FMA limit"].reached
    assert targets["gemm: best peer / ours"].measured.median == pytest.approx(0.8)
    assert targets["gemm: best peer / ours"].case == "gemm 128"


@pytest.mark.parametrize(("single_ns", "reached"), [(18 * MS, True), (17 * MS, False)])
def test_two_threads(single_ns, reached):
    target = found(scaling(single_ns))["large kernels: one thread / all"]
    assert (target.required, target.reached, target.threads) == (1.8, reached, 2)


def test_latency_compares_the_quickest_variants():
    targets = found(latency())
    assert targets["mlp latency: onnxruntime / ours"].measured.median == 4.0
    assert targets["mlp latency: onnxruntime / ours"].reached
    assert targets["mlp latency: torch eager / ours"].measured.median == 8.0
    assert not targets["mlp latency: torch eager / ours"].reached


def test_throughput_compares_like_with_like():
    targets = found(net("cnn", 64, {PLAN: [10.0], INT8_PLAN: [5.0], ONNX: [9.0], ONNX_INT8: [6.5]}))
    assert targets["cnn throughput f32: onnxruntime / ours"].measured.median == pytest.approx(0.9)
    assert not targets["cnn throughput f32: onnxruntime / ours"].reached
    assert targets["cnn throughput int8: onnxruntime / ours"].measured.median == pytest.approx(1.3)
    assert targets["cnn throughput int8: onnxruntime / ours"].reached


def test_what_failed_is_missed_and_what_was_not_asked_for_is_left_out():
    targets = found(net("cnn", 64, {PLAN: [10.0], ONNX: [20.0], ONNX_INT8: [5.0]}, {INT8_PLAN: "wrong"}))
    int8 = targets["cnn throughput int8: onnxruntime / ours"]
    assert int8.measured is None and not int8.reached
    assert len(targets) == 2
    assert evaluate([]) == []


def test_feeding_may_cost_a_twentieth_of_a_step():
    name = "training cnn-cifar10 batch 128: one batch / all fed"
    cheap = found(fed([40 * MS, 41 * MS, 50 * MS], [41 * MS, 42 * MS, 50 * MS]))
    assert cheap[name].reached and cheap[name].required == 0.95
    assert not found(fed([40 * MS] * 3, [43 * MS] * 3))[name].reached
    assert cheap["training cnn-cifar10 batch 128: torch eager / ours"].measured.median > 7
    assert name not in found(step(1 * MS))


def test_training_counts_with_two_threads():
    assert found(step(1.5 * MS))["training mlp batch 32: torch eager / ours"].reached
    assert not found(step(1.6 * MS))["training mlp batch 32: torch eager / ours"].reached
    assert found(step(1.5 * MS, threads=1)) == {}


def test_a_quarter_of_the_blocks_has_to_be_quicker():
    targets = found(*blocked({100: (1.0, 1.1), 25: (0.5, 1.25)}))
    assert targets["a quarter kept: dense / blocks"].measured.median == 2.0
    assert targets["a quarter kept: int8 dense / int8 blocks"].measured.median == 0.8
    assert [target.reached for target in targets.values()] == [True, False]


def test_exactly_what_is_required_is_enough():
    assert Target("t", 1, 1.0, Spread(1.0, 0.5, 2.0), "").reached
