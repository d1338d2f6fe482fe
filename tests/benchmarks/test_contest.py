"""The contest with real processes on tiny work; peers are asked where they are installed."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks import contest, inference, kernels, libraries, overhead, training
from benchmarks.contest import Case, Contest, Contestant, Effort, difference
from benchmarks.libraries import NUMPY, ONNX, OURS, TORCH
from benchmarks.work import Chain, Conv, Gemm, Net, TrainingStep

TINY = Effort(rounds=2, block_ns=200_000)
INSTALLED = [OURS, NUMPY] + [
    name for name, needs in libraries.NEEDED.items() if not set(needs) & set(libraries.missing())
]


@pytest.fixture(scope="module")
def running():
    with Contest(INSTALLED, 1, TINY) as made:
        yield made


def everybody(*contestants):
    return tuple(each for each in contestants if each.package in INSTALLED)


CASES = [
    Case("kernels", Gemm(40), everybody(kernels.KERNEL, kernels.REPEATED, kernels.FMA_LIMIT, *kernels.PEERS)),
    Case("kernels", Gemm(64), (kernels.KERNEL, kernels.INT8_KERNEL, kernels.DOT_LIMIT)),
    Case("kernels", Conv(3, 5, 6, 2), everybody(kernels.KERNEL, kernels.SINGLE, *kernels.PEERS)),
    Case("kernels", Conv(16, 16, 6, 2), (kernels.KERNEL, kernels.INT8_KERNEL)),
    Case("kernels", Conv(3, 5, 6, 2, "input grad"), everybody(kernels.KERNEL, kernels.PEERS[0])),
    Case("kernels", Conv(3, 5, 6, 2, "weight grad"), everybody(kernels.KERNEL, kernels.PEERS[0])),
    Case("inference", Net("perceptron", 1), everybody(*inference.contestants("perceptron", quick=True))),
    Case("inference", Net("cnn", 64), everybody(*inference.contestants("cnn", quick=True))),
    Case("training", TrainingStep("mlp", 8), everybody(*training.OURS_ALL, training.TORCH_EAGER)),
    Case("training", TrainingStep("cnn-cifar10", 8), (training.CAPTURED, training.FED)),
    Case("overhead", Chain(20, 16), everybody(overhead.EAGER, overhead.TORCH_EAGER)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_everybody_gives_the_same_answer_and_is_timed(running, case):
    rounds = []
    result = running.run(case, lambda: rounds.append(1))
    assert result.failed == {}
    assert list(result.times_ns) == [str(each) for each in case.contestants]
    assert all(len(times) == TINY.rounds and min(times) > 0 for times in result.times_ns.values())
    assert len(rounds) == TINY.rounds


def test_who_cannot_or_is_absent_is_noted_and_the_others_are_timed(running):
    who = (Contestant(NUMPY, "eager"), Contestant(OURS, "abacus"), Contestant("nobody", "eager"))
    result = running.run(Case("kernels", Gemm(8), who))
    assert list(result.times_ns) == ["numpy eager"]
    assert result.failed == {"tinytorch abacus": "abacus does not know Gemm", "nobody eager": "not installed"}


def test_a_reference_that_fails_ends_the_case(running):
    with pytest.raises(RuntimeError, match="the reference of gemm 8 failed: abacus does not know Gemm"):
        running.run(Case("kernels", Gemm(8), (), Contestant(NUMPY, "abacus")))


def test_a_process_that_ends_is_told_apart_from_an_answer():
    with Contest([NUMPY], 1, TINY) as made:
        made.processes[NUMPY].process.kill()
        made.processes[NUMPY].process.join()
        with pytest.raises(RuntimeError, match="the process of numpy ended"):
            made.run(Case("kernels", Gemm(8), (Contestant(NUMPY, "eager"),)))


def test_answers_are_compared():
    right = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert difference(right + 1e-6, right, "f32") == ""
    assert difference(right + 1e-2, right, "f32").startswith("wrong: it differs by 2.5e-03")
    assert difference(right[0], right, "f32") == "wrong: the answer is (2,), the reference's (2, 2)"
    assert difference(right * np.nan, right, "f32").startswith("wrong")
    assert difference(right * 1.05, right, "int8") == ""
    assert difference(right[:, ::-1] * 0.5, right, "int8").startswith("wrong: 5.0 dB")
    assert difference(right[0], right, "none") == ""


def test_rounds_with_others_busy_are_done_again_and_the_quietest_count(running, monkeypatch):
    laps = iter([0.9, 0.0, 0.5])

    class Told:
        def __init__(self, processes):
            assert len(processes) == len(INSTALLED)

        def lap(self):
            return next(laps, 0.4)

    monkeypatch.setattr(contest, "Watch", Told)
    case = Case("kernels", Gemm(8), (Contestant(NUMPY, "eager"),))
    result = running.run(case)
    assert (result.others_cores, result.repeated) == ([0.0, 0.4], 2)
    assert len(result.times_ns["numpy eager"]) == TINY.rounds


def test_rest_waits_for_threads_that_spin():
    import threading

    end = time.perf_counter() + 0.1

    def spin():
        while time.perf_counter() < end:
            pass

    threading.Thread(target=spin).start()
    contest.rest()
    assert time.perf_counter() >= end - contest.QUIET_SLICE_S


def test_work_is_the_same_in_every_process(running):
    """ONNX Runtime and torch were given weights made in their own processes, or the cases above would have failed."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    assert {ONNX, TORCH} <= set(running.processes)


def test_sizes_follow_from_what_is_computed():
    assert Gemm(10).flops == 2000
    assert Conv(3, 5, 6, 2).flops == 2 * 2 * 5 * 36 * 3 * 9
    assert {str(case.work) for case in kernels.cases(2, quick=False)} < {
        str(case.work) for case in kernels.cases(1, quick=False)
    }
