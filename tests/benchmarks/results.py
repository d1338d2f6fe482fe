"""Results made up by hand, so that tests of ratios, targets, tables and plots know what must come out."""

from __future__ import annotations

from benchmarks import inference, kernels, sparse, training
from benchmarks.contest import Case, Result
from benchmarks.work import Affine, Blocked, Gemm, Net, TrainingStep

MS = 1e6
PLAN, INT8_PLAN, ONNX, ONNX_INT8 = "tinytorch plan", "tinytorch int8 plan", "onnxruntime float32", "onnxruntime int8"


def result(group, work, contestants, times_ns, threads=1, failed=None):
    return Result(Case(group, work, tuple(contestants)), threads, times_ns, failed or {})


def gemm(repeated_ns=2 * 128**3 / 90, torch_ns=60_000.0):
    """A product at 90 GFLOP/s where the limit is 100."""
    times = {
        "tinytorch kernel": [50_000.0] * 3,
        "tinytorch repeated": [repeated_ns] * 3,
        "tinytorch fma limit": [1 / 100] * 3,
        "torch eager": [torch_ns, torch_ns, 2 * torch_ns],
        "numpy eager": [100_000.0] * 3,
    }
    who = (kernels.KERNEL, kernels.REPEATED, kernels.FMA_LIMIT, *kernels.PEERS)
    return result("kernels", Gemm(128), who, times, failed={ONNX: "not installed"})


def scaling(single_ns):
    times = {"tinytorch kernel": [10 * MS] * 3, "tinytorch one thread": [single_ns] * 3}
    return result("kernels", Gemm(1024), (kernels.KERNEL, kernels.SINGLE), times, threads=2)


def net(name, batch, times_ns, failed=None):
    return result("inference", Net(name, batch), inference.contestants(name, quick=True), times_ns, failed=failed)


def latency():
    """Ours in int8 takes 1 us; ONNX Runtime is quicker in float32."""
    times = {PLAN: [2000.0], INT8_PLAN: [1000.0], ONNX: [4000.0], ONNX_INT8: [5000.0], "torch eager": [8000.0]}
    return net("mlp", 1, times, {"numpy eager": "ValueError: no"})


SMALL = Affine(64, 64, 1)


def blocked(ratios, layer=SMALL):
    """For each share kept, in percent: the time of skipping over that of computing all, in float32 and in int8."""
    made = []
    for kept, (floats, integers) in ratios.items():
        times = {str(each): [ns] for pair, ratio in zip(sparse.PAIRS, (floats, integers))
                 for each, ns in zip(pair, (1000.0, 1000.0 * ratio))}  # fmt: skip
        made.append(result("sparse", Blocked(layer, kept), [each for pair in sparse.PAIRS for each in pair], times))
    return made


def fed(captured_ns, fed_ns):
    contestants = (training.CAPTURED, training.FED, training.TORCH_EAGER)
    times = {"tinytorch captured": captured_ns, "tinytorch captured and fed": fed_ns, "torch eager": [300 * MS] * 3}
    return result("training", TrainingStep("cnn-cifar10", 128), contestants, times, 2)


def step(ours_ns, threads=2):
    times = {"tinytorch eager": [ours_ns], "torch eager": [3 * MS]}
    return result("training", TrainingStep("mlp", 32), (training.EAGER, training.TORCH_EAGER), times, threads)
