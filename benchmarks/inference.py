"""Nets answering queries: one at a time (latency) and 64 at a time (throughput), in float32 and in int8."""

from __future__ import annotations

from benchmarks.contest import Case, Contestant
from benchmarks.libraries import NUMPY, ONNX, OURS, TORCH
from benchmarks.work import NETS, Net

GROUP = "inference"
BATCHES = (1, 64)
TINY = ("perceptron", "xor")  # of 3 and 17 parameters: int8 makes them larger, so nobody is asked for it

PLAN, INT8_PLAN = Contestant(OURS, "plan"), Contestant(OURS, "int8 plan", "int8")
ONNX_FLOAT, ONNX_INT8 = Contestant(ONNX, "float32"), Contestant(ONNX, "int8", "int8")
TORCH_EAGER, TORCH_COMPILED = Contestant(TORCH, "eager"), Contestant(TORCH, "compiled")
NUMPY_EAGER = Contestant(NUMPY, "eager")


def cases(threads: int, quick: bool) -> list[Case]:
    """What is compared with so many threads; `quick` leaves out torch.compile, which compiles for minutes."""
    nets = ("perceptron", "mlp", "cnn") if quick else NETS
    return [Case(GROUP, Net(name, batch), contestants(name, quick)) for batch in BATCHES for name in nets]


def contestants(name: str, quick: bool) -> tuple[Contestant, ...]:
    int8 = () if name in TINY else (INT8_PLAN, ONNX_INT8)
    return (PLAN, ONNX_FLOAT, *int8, TORCH_EAGER, *(() if quick else (TORCH_COMPILED,)), NUMPY_EAGER)
