"""Optimizers step by step, and a small net trained by both: the same numbers all the way."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.against import BOUND, torch
from tests.tolerance import nmse
from tinytorch import SGD, Adam, AdamW, BatchNorm2d, Conv2d, CrossEntropyLoss, Linear, MaxPool2d, Tensor

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("backend")]

OPTIMIZERS = [
    (SGD, torch.optim.SGD, {"lr": 0.1}),
    (SGD, torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.05}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.5, "nesterov": True, "weight_decay": 0.02}),
    (Adam, torch.optim.Adam, {}),
    (Adam, torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    (AdamW, torch.optim.AdamW, {}),
    (AdamW, torch.optim.AdamW, {"lr": 0.05, "betas": (0.85, 0.99), "weight_decay": 0.3}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("ours, theirs, options", OPTIMIZERS, ids=lambda o: getattr(o, "__name__", ""))
@pytest.mark.parametrize("shape", [(3, 5), (300, 70)])
def test_trajectory_of_ten_steps(ours, theirs, options, dtype, shape):
    """One parameter now and then has no gradient, as a layer that was not used."""
    rng = np.random.default_rng(1)
    start = [rng.standard_normal(shape).astype(dtype) for _ in range(2)]
    w = [Tensor(a.copy(), requires_grad=True, dtype=dtype) for a in start]
    torch_w = [torch.tensor(a, requires_grad=True) for a in start]
    optimizer, torch_optimizer = ours(w, **options), theirs(torch_w, **options)
    for step in range(10):
        optimizer.zero_grad()
        torch_optimizer.zero_grad()
        for i in range(2):
            if i == 0 or step not in (0, 4) or ours is not SGD:
                g = rng.standard_normal(shape).astype(dtype)
                w[i].grad, torch_w[i].grad = g.copy(), torch.tensor(g)
        optimizer.step()
        torch_optimizer.step()
        for mine, other, before in zip(w, torch_w, start):
            assert nmse(mine.data - before, other.detach().numpy() - before) <= 100 * BOUND[dtype], f"step {step}"


def test_a_small_cnn_learns_the_same():
    """Conv, batch norm, pooling, linear, cross-entropy and Adam together, for five steps."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((16, 3, 8, 8)).astype(np.float32), rng.integers(0, 4, 16)
    # No bias before batch norm: its gradient is rounding alone, and Adam would make large steps of that.
    conv, norm, head = Conv2d(3, 6, 3, padding=1, bias=False), BatchNorm2d(6), Linear(96, 4)
    torch_conv, torch_norm = torch.nn.Conv2d(3, 6, 3, padding=1, bias=False), torch.nn.BatchNorm2d(6)
    torch_head = torch.nn.Linear(96, 4)
    with torch.no_grad():
        torch_conv.weight.copy_(torch.tensor(conv.weight.data))
        torch_head.weight.copy_(torch.tensor(head.weight.data.T))
        torch_head.bias.copy_(torch.tensor(head.bias.data))
    parameters = [*conv.parameters(), *norm.parameters(), *head.parameters()]
    optimizer = Adam(parameters, lr=0.01)
    torch_layers = torch.nn.ModuleList([torch_conv, torch_norm, torch_head])
    torch_optimizer = torch.optim.Adam(torch_layers.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        loss = CrossEntropyLoss()(head(MaxPool2d(2)(norm(conv(Tensor(x)))).flatten(1)), Tensor(y))
        loss.backward()
        optimizer.step()
        torch_optimizer.zero_grad()
        pooled = torch.nn.functional.max_pool2d(torch_norm(torch_conv(torch.tensor(x))), 2)
        torch_loss = torch.nn.functional.cross_entropy(torch_head(pooled.flatten(1)), torch.tensor(y))
        torch_loss.backward()
        torch_optimizer.step()
        np.testing.assert_allclose(loss.item(), torch_loss.item(), rtol=1e-3)
    np.testing.assert_allclose(head.weight.data, torch_head.weight.detach().numpy().T, atol=2e-3)
    np.testing.assert_allclose(norm.running_mean, torch_norm.running_mean.numpy(), atol=1e-4)
    np.testing.assert_allclose(norm.running_var, torch_norm.running_var.numpy(), rtol=1e-3)
