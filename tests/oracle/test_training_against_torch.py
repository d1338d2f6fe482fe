"""Optimizers step by step, and a small net trained by both: the same numbers all the way."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tests.oracle.against import BOUND, torch
from tests.tolerance import nmse
from tinytorch import (
    SGD,
    Adam,
    AdamW,
    BatchNorm2d,
    BinaryCrossEntropyLoss,
    Conv2d,
    CrossEntropyLoss,
    EmbeddingLayer,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Tensor,
    clip_grad_norm,
    clip_grad_value,
)

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
def test_trajectory_of_fifty_steps(ours, theirs, options, dtype, shape):
    """One parameter now and then has no gradient, as a layer that was not used."""
    rng = np.random.default_rng(1)
    start = [rng.standard_normal(shape).astype(dtype) for _ in range(2)]
    w = [Tensor(a.copy(), requires_grad=True, dtype=dtype) for a in start]
    torch_w = [torch.tensor(a, requires_grad=True) for a in start]
    optimizer, torch_optimizer = ours(w, **options), theirs(torch_w, **options)
    for step in range(50):
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


@pytest.mark.parametrize("limit", [0.5, 20.0, 1e6])
def test_clipping(limit):
    """Both kinds. PyTorch divides by the norm + 1e-6, we by the norm."""
    rng = np.random.default_rng(3)
    for ours, theirs in (
        (clip_grad_norm, torch.nn.utils.clip_grad_norm_), (clip_grad_value, torch.nn.utils.clip_grad_value_)
    ):  # fmt: skip
        w = [Tensor(np.zeros(shape, np.float32), requires_grad=True) for shape in ((300, 70), (3,), (1, 1))]
        torch_w = [torch.zeros(p.shape, requires_grad=True) for p in w]
        for p, other in zip(w, torch_w):
            p.grad = rng.standard_normal(p.shape).astype(np.float32)
            other.grad = torch.tensor(p.grad)
        norm, torch_norm = ours(w, limit), theirs(torch_w, limit)
        assert norm is None or norm == pytest.approx(float(torch_norm), rel=1e-6)
        for p, other in zip(w, torch_w):
            np.testing.assert_allclose(p.grad, other.grad.numpy(), rtol=1e-5)


def test_binary_cross_entropy():
    """Certain answers, right and wrong, among others; gradients of probabilities and of targets."""
    rng = np.random.default_rng(4)
    p = np.concatenate([rng.uniform(0, 1, 200), [0, 0, 1, 1, 1e-30, 1 - 6e-8]]).astype(np.float32)
    t = np.concatenate([rng.uniform(0, 1, 200), [0, 1, 0, 1, 0.5, 0.5]]).astype(np.float32)
    mine = [Tensor(a.copy(), requires_grad=True) for a in (p, t)]
    others = [torch.tensor(a, requires_grad=True) for a in (p, t)]
    loss, torch_loss = BinaryCrossEntropyLoss()(*mine), torch.nn.BCELoss()(*others)
    loss.backward()
    torch_loss.backward()
    assert loss.item() == pytest.approx(torch_loss.item(), rel=1e-6)
    np.testing.assert_allclose(mine[0].grad, others[0].grad.numpy(), rtol=1e-5, atol=1e-9)
    # PyTorch floors the logarithms in the loss and not in the gradient of its targets; the mathematics of ours is one.
    of_targets = others[1].grad.numpy().clip(-100 / p.size, 100 / p.size)
    np.testing.assert_allclose(mine[1].grad, of_targets, rtol=1e-5, atol=1e-9)


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


@pytest.mark.parametrize("size", [8, 9])
def test_a_captured_step_learns_the_same(size):
    """Batch norm, ReLU and pooling as one pass, twice, with a line and a column that pooling leaves out, and not."""
    rng, out = np.random.default_rng(6), 7 * (size // 4) ** 2
    np.random.seed(6)
    model = Sequential(
        Conv2d(3, 5, 3, padding=1), BatchNorm2d(5), ReLU(), MaxPool2d(2), Conv2d(5, 7, 3, padding=1), BatchNorm2d(7),
        ReLU(), MaxPool2d(2), Flatten(), Linear(out, 4),
    )  # fmt: skip
    torch_model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(5, 7, 3, padding=1), torch.nn.BatchNorm2d(7), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(out, 4),
    )  # fmt: skip
    pairs = list(zip(model.parameters(), torch_model.parameters(), strict=True))
    turned = [p.data.shape != tuple(other.shape) for p, other in pairs]  # PyTorch's linear weight is (out, in)
    with torch.no_grad():
        for (p, other), is_turned in zip(pairs, turned):
            other.copy_(torch.tensor(p.data.T if is_turned else p.data))
    start = [p.data.copy() for p, _ in pairs]
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    torch_optimizer = torch.optim.SGD(torch_model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    x, y = rng.standard_normal((6, 16, 3, size, size)).astype(np.float32), rng.integers(0, 4, (6, 16))
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x[0], y[0])
    for images, labels in zip(x, y):
        torch_optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch_model(torch.tensor(images)), torch.tensor(labels))
        loss.backward()
        torch_optimizer.step()
        assert step(images, labels) == pytest.approx(loss.item(), rel=1e-5)
    for (p, other), is_turned, before in zip(pairs, turned, start):
        moved = other.detach().numpy()
        moved = (moved.T if is_turned else moved) - before
        if np.abs(moved).max() > 1e-5:  # the bias before a batch norm only rounds
            assert nmse(p.data - before, moved) < 1e-8  # six steps, each on what rounding made of the one before


@pytest.mark.parametrize("scale", [False, True])
def test_embeddings_learn_the_same(scale):
    """Tokens and positions, ids seen many times, once and never, under a linear layer for ten steps."""
    rng = np.random.default_rng(5)
    layer, head = EmbeddingLayer(20, 8, 6, scale_embeddings=scale), Linear(8, 20)
    tokens, positions, torch_head = torch.nn.Embedding(20, 8), torch.nn.Embedding(6, 8), torch.nn.Linear(8, 20)
    with torch.no_grad():
        tokens.weight.copy_(torch.tensor(layer.token_embedding.weight.data))
        positions.weight.copy_(torch.tensor(layer.pos_encoding.position_embeddings.data))
        torch_head.weight.copy_(torch.tensor(head.weight.data.T))
        torch_head.bias.copy_(torch.tensor(head.bias.data))
    parameters = [*layer.parameters(), *head.parameters()]
    torch_parameters = [tokens.weight, positions.weight, torch_head.weight, torch_head.bias]
    optimizer, torch_optimizer = SGD(parameters, lr=0.5), torch.optim.SGD(torch_parameters, lr=0.5)
    start = [p.data.copy() for p in parameters[:2]]
    for _ in range(10):
        x, y = rng.integers(0, 15, (4, 5)) ** 2 % 17, rng.integers(0, 20, (4, 5))
        optimizer.zero_grad()
        loss = CrossEntropyLoss()(head(layer(x)), Tensor(y))
        loss.backward()
        optimizer.step()
        torch_optimizer.zero_grad()
        embedded = tokens(torch.tensor(x)) * (8**0.5 if scale else 1) + positions(torch.arange(5))
        torch_loss = torch.nn.functional.cross_entropy(torch_head(embedded).flatten(0, 1), torch.tensor(y).flatten())
        torch_loss.backward()
        torch_optimizer.step()
        np.testing.assert_allclose(loss.item(), torch_loss.item(), rtol=1e-5)
    for p, torch_p, before in zip(parameters, torch_parameters, start):
        assert nmse(p.data - before, torch_p.detach().numpy() - before) <= 100 * BOUND[np.float32]
    np.testing.assert_array_equal(layer.token_embedding.weight.data[17:], start[0][17:])  # never seen
