"""Captured steps of nets with batch norm: what is fused and what is not, and the same bits as eager training."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tinytorch import (
    SGD,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Tensor,
    models,
)
from tinytorch.core.layers import Layer
from tinytorch.engine.step import Step

RNG = np.random.default_rng(0)
SIZE, CHANNELS = 9, 5


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def trained(model: Layer, steps: int, captured: bool, threads: int = 1) -> tuple[Step | None, list[np.ndarray]]:
    """Losses and parameters after some steps, and the captured step."""
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    loss_fn = CrossEntropyLoss()
    rng = np.random.default_rng(1)
    batches = [
        (rng.standard_normal((6, 2, SIZE, SIZE)).astype(np.float32), rng.integers(0, 4, 6)) for _ in range(steps)
    ]
    step = tinytorch.compile_step(model, optimizer, loss_fn, *batches[0], threads) if captured else None
    losses = []
    for x, y in batches:
        if step is not None:
            losses.append(step(x, y))
            continue
        loss = loss_fn(model(Tensor(x)), Tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return step, [np.array(losses), *model.state_dict().values()]


def same(make, steps: int = 12) -> list[tuple[str, str | None, bool]]:
    """Asserts that eager and captured training give the same bits, on one thread and two; returns what the nodes of
    batch norm do at once.
    """
    results = []
    for captured, threads in ((False, 1), (True, 1), (True, 2)):
        np.random.seed(0)
        step, values = trained(make(), steps, captured, threads)
        results.append(values)
    for other in results[1:]:
        for mine, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(mine, expected)
    assert step is not None
    nodes = [node for node in step.linked.graph.nodes if node.op.startswith("batch_norm")]
    return [(node.op.removeprefix("batch_norm_"), node.params.get("activation"), "pool" in node.params)
            for node in nodes]  # fmt: skip


def net(*behind: Layer) -> Sequential:
    """Two blocks, so that the gradient of an input is wanted too. Pooling drops a line and a column of 9 x 9."""
    size = models_size(behind)
    return Sequential(
        Conv2d(2, CHANNELS, 3, padding=1), BatchNorm2d(CHANNELS), *behind, Conv2d(CHANNELS, 7, 3, padding=1),
        BatchNorm2d(7), ReLU(), Flatten(), Linear(7 * size * size, 4),
    )  # fmt: skip


def models_size(behind: tuple[Layer, ...]) -> int:
    with tinytorch.no_grad():
        return Sequential(*behind)(Tensor(normal(1, CHANNELS, SIZE, SIZE))).shape[2]


ALL = ("train", "sums", "train_input_grad")


def only(activation: str | None, pool: bool) -> list[tuple[str, str | None, bool]]:
    return [(op, activation, pool) for op in ALL]


def test_relu_and_pooling_are_fused_forward_and_backward():
    assert sorted(same(lambda: net(ReLU(), MaxPool2d(2)))) == sorted(only("relu", True) + only("relu", False))


@pytest.mark.parametrize("pool", (MaxPool2d(3), MaxPool2d(2, stride=1), MaxPool2d(2, padding=1)), ids=str)
def test_other_poolings_stay(pool):
    assert sorted(same(lambda: net(ReLU(), pool))) == sorted(2 * only("relu", False))


def test_a_pooling_before_the_relu_stays():
    assert sorted(same(lambda: net(MaxPool2d(2), ReLU())), key=str) == sorted(
        only(None, False) + only("relu", False), key=str
    )


class Looking(Layer):
    """Batch norm, ReLU and pooling, with a second look at one of the results."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.norm, self.conv, self.at = BatchNorm2d(CHANNELS), Conv2d(2, CHANNELS, 3, padding=1), at
        self.linear = Linear(CHANNELS * 4 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(self.conv(x))
        positive = ReLU()(normed)
        pooled = MaxPool2d(2)(positive)
        out = self.linear(Flatten()(pooled))
        seen = {"norm": normed, "relu": positive, "pool": pooled}[self.at]
        return out + seen.sum() * 0.01


def test_what_is_read_again_is_not_fused_away():
    assert same(lambda: Looking("norm")) == only(None, False)
    # ReLU still ends the pass, but its gradient is a sum of two, and the pooling reads what somebody else reads as well
    assert same(lambda: Looking("relu")) == [("train", "relu", False), ("sums", "relu", False),
                                             ("train_input_grad", "relu", False)]  # fmt: skip
    assert same(lambda: Looking("pool")) == only("relu", True)


def test_a_norm_that_is_used_twice():
    """One layer, two passes: each has statistics and gradients of its own, added up."""
    norm = None

    def make() -> Sequential:
        nonlocal norm
        norm = BatchNorm2d(CHANNELS)
        return Sequential(
            Conv2d(2, CHANNELS, 3, padding=1), norm, ReLU(), MaxPool2d(2), Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            norm, ReLU(), MaxPool2d(2), Flatten(), Linear(CHANNELS * 4, 4),
        )  # fmt: skip

    assert sorted(same(make)) == sorted(2 * only("relu", True))


def test_dropout_in_between_keeps_the_pooling_apart():
    behind = (ReLU(), Dropout(0.2), MaxPool2d(2))
    assert sorted(same(lambda: net(*behind))) == sorted(2 * only("relu", False))


def test_a_norm_of_frozen_scale():
    """gamma and beta that nobody trains are read all the same."""

    def make() -> Sequential:
        model = net(ReLU(), MaxPool2d(2))
        for p in (model.layers[1].gamma, model.layers[1].beta):
            p.requires_grad = False
        return model

    assert sorted(same(make)) == sorted(only("relu", True) + only("relu", False))


def test_the_steps_of_a_training_are_golden(golden_plan):
    np.random.seed(0)
    model = models.cifar_cnn()
    optimizer, x = SGD(model.parameters(), lr=0.1, momentum=0.9), normal(2, 3, 32, 32)
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, np.zeros(2, np.int64))
    golden_plan("step_cifar_cnn", f"{step}\n")
