"""The work in NumPy: this framework's reference ops (im2col and BLAS), whose answers all others must equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.libraries import Made, stacked
from benchmarks.libraries.training import chain, stepping
from benchmarks.work import PADDING, Affine, Blocked, Chain, Conv, Gemm, Net, TrainingStep
from mlperf.answering import eager, eagerly
from mlperf.harness import Arm
from tinytorch.engine import ops
from tinytorch.engine.dispatch import use_backend

GEOMETRY: dict[str, Any] = {"stride": (1, 1), "padding": (PADDING, PADDING), "dilation": (1, 1), "groups": 1}


def gemm(work: Gemm, threads: int) -> Made:
    a, b = work.arrays()
    c = np.empty_like(a)
    return Made(lambda _: np.matmul(a, b, out=c), lambda: np.matmul(a, b, out=c).copy())


def conv(work: Conv, threads: int) -> Made:
    run = conv_reference(work)
    return Made(lambda _: run(), run)


def conv_reference(work: Conv) -> Any:
    """A function without arguments that computes this part of the convolution."""
    x, w, bias, g = work.arrays()
    if work.part == "forward":
        return lambda: ops.conv2d.reference(x, w, bias, **GEOMETRY)
    if work.part == "input grad":
        return lambda: ops.conv2d_input_grad.reference(g, w, shape=x.shape, **GEOMETRY)
    return lambda: ops.conv2d_weight_grad.reference(x, g, shape=w.shape, **GEOMETRY)


def blocked(work: Blocked, threads: int) -> Made:
    x, w, bias = work.arrays()

    def run() -> np.ndarray:
        if isinstance(work.layer, Affine):
            return ops.linear.reference(x, w, bias)
        return ops.conv2d.reference(x, w, bias, **GEOMETRY)

    return Made(lambda _: run(), run)


def net(work: Net, threads: int) -> Made:
    arm, queries = Arm(eager(work.model()), lambda: eagerly("numpy")), work.queries()

    def answer() -> np.ndarray:
        with arm.around():
            return stacked(arm.run, queries)

    return Made(arm.run, answer, queries, arm.around)


def operations(work: Chain, threads: int) -> Made:
    return chain(work, lambda: use_backend("numpy"))


IMPLEMENTATIONS = {
    (Gemm, "eager"): gemm,
    (Conv, "eager"): conv,
    (Blocked, "eager"): blocked,
    (Net, "eager"): net,
    (TrainingStep, "eager"): stepping("numpy"),
    (Chain, "eager"): operations,
}
