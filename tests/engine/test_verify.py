"""What tells a plan that rounds otherwise from one that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import registry
from tinytorch import GELU, BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Tensor
from tinytorch.core.layers import Layer
from tinytorch.engine.dispatch import use_backend
from tinytorch.engine.graph import trace
from tinytorch.engine.plan import Plan, PlanError, capture
from tinytorch.engine.rewrites import fuse
from tinytorch.engine.verify import NMSE_BOUND, ROUNDED_BOUND, nmse, pieces, rounded
from tinytorch.perf.quantization import quantize

BATCH = 128


class Residual(Layer):
    """No Sequential, so batch norm stays; and a sum of two branches, a GELU, a linear layer."""

    def __init__(self) -> None:
        self.a, self.norm_a, self.relu = Conv2d(3, 16, 3, padding=1), BatchNorm2d(16), ReLU()
        self.b, self.norm_b, self.gelu = Conv2d(16, 16, 3, padding=1), BatchNorm2d(16), GELU()
        self.flat, self.head = Flatten(), Linear(16 * 64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm_a(self.a(x)))
        x = self.gelu(self.norm_b(self.b(x)) + x)
        return self.head(self.flat(x))


@pytest.fixture(scope="module")
def model() -> Layer:
    np.random.seed(0)
    net = Residual()
    for _ in range(3):  # running statistics that are not 0 and 1
        net(Tensor(np.random.standard_normal((32, 3, 8, 8)).astype(np.float32) * 2 + 1))
    return quantize(net.eval(), queries(1))


def queries(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((BATCH, 3, 8, 8), np.float32)


def scaled_batch_norm(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """From here on the kernels' batch norm has gammas that are `factor` times as large."""
    honest = registry.lowering("batch_norm")

    def changed(build, x, gamma, *others, **params):
        scaled = build.constant(build.buffers[gamma.buffer].data * np.float32(factor))
        return honest(build, x, scaled, *others, **params)

    monkeypatch.setitem(registry._lowerings, ("batch_norm", "dense"), changed)


def test_last_bits_that_become_codes_are_no_fault(model, monkeypatch):
    """About one code in a million differs from the NumPy run's; with last bits changed on purpose, surely a few do."""
    scaled_batch_norm(monkeypatch, 1 + 2**-22)
    x = queries(2)
    plan = capture(model.predict, x)
    assert "batch_norm" in str(plan) and "product_int8" in str(plan)
    with use_backend("numpy"):
        eager = model.predict(x)
    assert NMSE_BOUND < nmse(plan(x), eager) < 1e-2 * ROUNDED_BOUND


def test_pieces_are_cut_where_values_are_rounded_and_meet_the_strict_bound(model):
    x, seen = queries(3), []
    graph, _ = trace(model.predict, x, seen=seen)
    fuse(graph)
    cuts = rounded(graph, seen)
    found = list(pieces(graph, seen, cuts))
    assert len(cuts) == 2 and len(found) == 3
    assert {id(node) for piece in found for node in piece.graph.nodes} == set(map(id, graph.nodes))
    for piece in found:
        assert nmse(Plan(piece.graph)(*piece.inputs), piece.expected) <= NMSE_BOUND


@pytest.mark.parametrize("factor", [1.0001, 1.01, np.nan])
def test_a_small_fault_in_a_kernel_is_found(model, monkeypatch, factor):
    """One part in ten thousand: less than what rounding does to the answer, and found in the piece."""
    scaled_batch_norm(monkeypatch, factor)
    where = "in the piece conv2d, batch_norm, relu" if factor == 1.0001 else "is allowed"
    with pytest.raises(PlanError, match=f"plan and eager run differ by .* {where}"):
        capture(model.predict, queries(2))


def test_a_fault_of_the_whole_alone_is_found(model, monkeypatch):
    """Steps that share memory they must not: each piece is right, and the plan is not."""
    from kernels import program

    honest = program.arena

    def shared(lifetimes):
        offsets, total = honest(lifetimes)
        return (dict.fromkeys(offsets, 0) if len(offsets) > 8 else offsets), total

    monkeypatch.setattr(program, "arena", shared)
    with pytest.raises(PlanError, match=f"plan and eager run differ by .*, {ROUNDED_BOUND} is allowed"):
        capture(model.predict, queries(2))


def test_a_net_in_float32_has_the_strict_bound(monkeypatch):
    """Nothing is rounded to a grid, so nothing excuses a difference."""
    layer, x = Linear(8, 3), np.ones((2, 8), np.float32)
    honest = registry.lowering("linear")

    def faulty(build, x, w, bias, **params):
        return honest(build, x, w, build.constant(build.buffers[bias.buffer].data + np.float32(1e-3)), **params)

    monkeypatch.setitem(registry._lowerings, ("linear", "dense"), faulty)
    with pytest.raises(PlanError, match=f"{NMSE_BOUND} is allowed; if the model depends on values of its input"):
        capture(layer.predict, x)
