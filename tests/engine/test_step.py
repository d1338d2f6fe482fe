"""Captured training steps: bit for bit what eager training does, and honest about what they refuse."""

from __future__ import annotations

import math
import threading
from types import MappingProxyType

import numpy as np
import pytest

import tinytorch
from tinytorch import (
    GELU,
    SGD,
    AdamW,
    AvgPool2d,
    BatchNorm2d,
    BinaryCrossEntropyLoss,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    MSELoss,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    Tensor,
    clip_grad_norm,
    clip_grad_value,
    datasets,
    models,
)  # fmt: skip
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import apply
from tinytorch.core.training import Trainer
from tinytorch.engine import ops
from tinytorch.engine.graph import GraphError
from tinytorch.engine.plan import PlanError

RNG = np.random.default_rng(0)
OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.05),
    "momentum": lambda p: SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adamw": lambda p: AdamW(p, lr=0.01),
    "groups": lambda p: SGD(
        [
            {"params": [w for w in p if w.ndim > 1]},
            {"params": [w for w in p if w.ndim == 1], "lr": 0.1, "weight_decay": 0},
        ],
        lr=0.05, momentum=0.9, weight_decay=1e-2, decoupled=True,
    ),
}


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def everything() -> Sequential:
    """Batch norm, dropout from both generators, both poolings, flattening, an activation that is not fused."""
    return Sequential(
        Conv2d(1, 4, 3, padding=1), BatchNorm2d(4), ReLU(), MaxPool2d(2), Conv2d(4, 8, 3, padding=1), BatchNorm2d(8),
        ReLU(), AvgPool2d(2), Flatten(), Dropout(0.3), Linear(32, 16), GELU(), Dropout(0.1, seed=3), Linear(16, 10),
    )  # fmt: skip


def eagerly(model, optimizer, loss_fn, x, y, grad_clip_norm=None, grad_clip_value=None) -> float:
    loss = loss_fn(model(Tensor(x)), Tensor(y))
    optimizer.zero_grad()
    loss.backward()
    if grad_clip_norm is not None:
        NORMS.append(clip_grad_norm(optimizer.params, grad_clip_norm))
    if grad_clip_value is not None:
        clip_grad_value(optimizer.params, grad_clip_value)
    optimizer.step()
    return loss.item()


def digits(count: int, size: int, images: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    data = datasets.digits()
    rows = np.arange(count * size) % len(data.x_train)
    x, y = data.x_train[rows], data.y_train[rows].astype(np.int64)
    x = x.reshape(count, size, 1, 8, 8) if images else x.reshape(count, size, 64)
    return list(zip(np.ascontiguousarray(x, np.float32), y.reshape(count, size)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make, images", [(models.mlp, False), (models.cnn, True), (everything, True)])
def test_fifty_steps_are_those_of_eager_training(make, images, optimizer):
    same_as_eager(make, optimizer, CrossEntropyLoss(), digits(50, 32, images))


NORMS: list[float] = []  # of the gradients that eager training clipped


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("make, images", [(models.mlp, False), (everything, True)])
def test_fifty_clipped_steps_are_those_of_eager_training(make, images, optimizer):
    batches = digits(50, 32, images)
    NORMS.clear()
    free = same_as_eager(make, optimizer, CrossEntropyLoss(), batches, {"grad_clip_norm": math.inf})
    middle = float(np.median(NORMS))  # some gradients are short enough and some are not
    for clip in ({"grad_clip_norm": middle}, {"grad_clip_value": 0.01}):
        clipped = same_as_eager(make, optimizer, CrossEntropyLoss(), batches, clip)
        assert any((clipped[name] != free[name]).any() for name in free), f"{clip} clips nothing"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fifty_steps_of_binary_cross_entropy(optimizer):
    batches = [(x, (y % 2).astype(np.float32)[:, None]) for x, y in digits(50, 32, False)]
    same_as_eager(odd_digits, optimizer, BinaryCrossEntropyLoss(), batches)


def odd_digits() -> Sequential:
    return Sequential(Linear(64, 16), ReLU(), Linear(16, 1), Sigmoid())


def same_as_eager(make, optimizer, loss_fn, batches, clip=MappingProxyType({})) -> dict[str, np.ndarray]:
    """Asserts that eager training and a captured step give the same bits; returns what they give."""
    results = []
    for captured in (False, True):
        np.random.seed(0)
        model = make()
        made = OPTIMIZERS[optimizer](model.parameters())
        step = tinytorch.compile_step(model, made, loss_fn, *batches[0], **clip) if captured else None
        losses = []
        for i, (x, y) in enumerate(batches):
            made.lr = 0.05 / (i + 1)  # a schedule changes nothing about the program
            losses.append(step(x, y) if step else eagerly(model, made, loss_fn, x, y, **clip))
        results.append({**model.state_dict(), **made.state_dict()["moments"], "losses": np.array(losses)})
        assert made.step_count == 50
    eager, as_program = results
    assert eager.keys() == as_program.keys()
    for name in eager:
        np.testing.assert_array_equal(as_program[name], eager[name], err_msg=name)
    return eager


def small(width: int = 3) -> tuple[Sequential, SGD]:
    model = Sequential(Linear(4, 8), Tanh(), Linear(8, width))
    return model, SGD(model.parameters(), lr=0.1, momentum=0.9)


def batch(width: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return normal(6, 4), RNG.integers(0, width, 6)


def test_capturing_changes_nothing():
    model, optimizer = everything(), None
    optimizer = AdamW(model.parameters())
    x, y = normal(4, 1, 8, 8), RNG.integers(0, 10, 4)
    eagerly(model, optimizer, CrossEntropyLoss(), x, y)
    gradients = [p.grad for p in model.parameters()]
    before, moments = model.state_dict(), optimizer.state_dict()
    random, own = np.random.get_state()[1].copy(), model.layers[12].rng.bit_generator.state
    tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    for name, value in optimizer.state_dict()["moments"].items():
        np.testing.assert_array_equal(value, moments["moments"][name])
    assert optimizer.step_count == 1 and all(p.grad is g for p, g in zip(model.parameters(), gradients))
    assert (np.random.get_state()[1] == random).all() and model.layers[12].rng.bit_generator.state == own


def test_threads_do_not_change_a_bit():
    x, y = digits(1, 256, True)[0]
    weights = []
    for threads in (1, 2):
        np.random.seed(0)
        model = models.cnn()
        step = tinytorch.compile_step(model, AdamW(model.parameters()), CrossEntropyLoss(), x, y, threads)
        losses = [step(x, y) for _ in range(3)]
        weights.append(np.concatenate([losses, *(p.data.ravel() for p in model.parameters())]))
    np.testing.assert_array_equal(*weights)


def absolute(out: Tensor, y: Tensor) -> Tensor:
    return (out - y).abs().mean()


def huber(out: Tensor, y: Tensor) -> Tensor:
    """Huber 1964: squared near 0, linear beyond 0.1."""
    far = (out - y).abs()
    near = far.clip(max=0.1)
    return (near * near * 0.5 + (far - near) * 0.1).mean()


def hinge(out: Tensor, y: Tensor) -> Tensor:
    """Where an answer is on the wrong side of a half, by how much."""
    wrong = out - 0.5
    return apply(ops.where, y > 0.5, -wrong, wrong).clip(min=-0.2).mean()


@pytest.mark.parametrize("loss", [MSELoss(), BinaryCrossEntropyLoss(), absolute, huber, hinge])
def test_other_losses(loss):
    np.random.seed(3)
    model = Sequential(Linear(4, 8), GELU(), Linear(8, 2), Sigmoid())
    optimizer, x = SGD(model.parameters(), lr=0.5), normal(6, 4)
    y = RNG.integers(0, 2, (6, 2)).astype(np.float32)
    before = model.state_dict()
    expected = [eagerly(model, optimizer, loss, x, y) for _ in range(20)]
    model.load_state_dict(before)
    step = tinytorch.compile_step(model, optimizer, loss, x, y)
    np.testing.assert_allclose([step(x, y) for _ in range(20)], expected, rtol=1e-4)
    assert expected[-1] < expected[0]


def test_an_op_without_kernel_is_named():
    model, optimizer = small()
    x, y = normal(6, 4), normal(6, 3)
    with pytest.raises(PlanError, match="op maximum has no kernel"):
        tinytorch.compile_step(model, optimizer, lambda out, y: apply(ops.maximum, out, y).mean(), x, y)


def test_probabilities_outside_make_the_loss_nan():
    """Eager code refuses them; a captured step looks at no values on the way."""
    model = Sequential(Linear(2, 1))
    model.layers[0].weight.data[:], model.layers[0].bias.data[:] = 0.1, 0.5
    optimizer, y = SGD(model.parameters(), lr=0.0), np.ones((3, 1), np.float32)
    step = tinytorch.compile_step(model, optimizer, BinaryCrossEntropyLoss(), np.ones((3, 2), np.float32), y)
    assert np.isfinite(step(np.ones((3, 2), np.float32), y))
    assert np.isnan(step(np.full((3, 2), 9, np.float32), y))


@pytest.mark.parametrize("clip, says", [
    ({"grad_clip_norm": 0.0}, "gradients would be clipped to norm 0.0; choose a positive limit"),
    ({"grad_clip_value": float("nan")}, "gradients would be clipped to value nan; choose a positive limit"),
    ({"grad_clip_norm": 1.0, "grad_clip_value": 2.0}, "by norm 1.0 and by value 2.0; choose one"),
])  # fmt: skip
def test_impossible_limits(clip, says):
    model, optimizer = small()
    with pytest.raises(ValueError, match=f"compile_step: .*{says}"):
        tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), *batch(), **clip)
    with pytest.raises(ValueError, match=f"Trainer: .*{says}"):
        Trainer(model, optimizer, CrossEntropyLoss(), **clip)


def test_targets_of_sequences_are_flattened_by_the_loss():
    model, optimizer = small()
    x, y = normal(2, 5, 4), RNG.integers(0, 3, (2, 5))
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    loss = CrossEntropyLoss()(model(Tensor(x)), Tensor(y)).item()
    assert step(x, y) == pytest.approx(loss, rel=1e-6)
    with pytest.raises(IndexError, match="id 3 at position"):
        step(x, np.full((2, 5), 3))


def test_a_model_may_be_its_own_target():
    model, optimizer = small(4)
    x = normal(6, 4)
    step = tinytorch.compile_step(model, optimizer, MSELoss(), x, x)
    loss = MSELoss()(model(Tensor(x)), Tensor(x)).item()
    assert step(x, x) == pytest.approx(loss, rel=1e-5)


def test_a_shared_weight_gets_both_gradients():
    layer = Linear(4, 4)
    model = Sequential(layer, Tanh(), layer)
    optimizer, (x, y) = SGD(model.parameters(), lr=0.1), batch(4)
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    before = model.state_dict()
    eagerly(model, optimizer, CrossEntropyLoss(), x, y)
    expected = model.state_dict()
    model.load_state_dict(before)
    step(x, y)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-7)


def test_eager_code_sees_the_step_and_the_step_sees_eager_code():
    model, optimizer = small()
    x, y = batch()
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    for p in model.parameters():
        p.data = p.data * np.float32(0.5)  # other arrays, as loading weights gives
    loss = CrossEntropyLoss()(model(Tensor(x)), Tensor(y)).item()
    assert step(x, y) == pytest.approx(loss, rel=1e-6)
    assert CrossEntropyLoss()(model(Tensor(x)), Tensor(y)).item() < loss
    optimizer.load_state_dict(optimizer.state_dict())
    step(x, y)
    assert all(p.grad is None for p in model.parameters())
    model.layers[0].weight.data = normal(4, 8).T.copy().T
    with pytest.raises(PlanError, match="other shapes, types or strides than when it was captured"):
        step(x, y)


@pytest.mark.parametrize("x, y", [
    (normal(5, 4), np.zeros(5, np.int64)), (normal(6, 4), np.zeros(6, np.int32)),
    (np.zeros((6, 4)), np.zeros(6, np.int64)), (normal(6, 4), np.zeros((6, 1), np.int64)),
])  # fmt: skip
def test_other_batches_are_refused(x, y):
    model, optimizer = small()
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), *batch())
    before = model.state_dict()
    with pytest.raises(PlanError, match=r"captured were \(6, 4\) float32, \(6,\) int64; train such a batch eagerly"):
        step(x, y)
    assert optimizer.step_count == 0 and all((before[n] == v).all() for n, v in model.state_dict().items())


@pytest.mark.parametrize("wrong", [3, -1, 2**40])
def test_class_numbers_are_checked_before_anything_is_changed(wrong):
    model, optimizer = small()
    x, y = batch()
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    before = model.state_dict()
    y[4] = wrong
    with pytest.raises(IndexError, match=f"cross_entropy: id {wrong} at position .4.* is outside 0..2"):
        step(x, y)
    assert optimizer.step_count == 0 and all((before[n] == v).all() for n, v in model.state_dict().items())


class Scaled(Layer):
    """Divides by the largest element, found outside of ops: every batch has its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(np.abs(x.data).max())


class Branching(Layer):
    def __init__(self) -> None:
        self.a, self.b = Linear(4, 3), Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.data[0, 0] > 0 else self.b(x) * 2


class Detached(Layer):
    def forward(self, out: Tensor, y: Tensor) -> Tensor:
        loss = CrossEntropyLoss()(out, y)
        loss.data = loss.data * np.float32(2)
        return loss


def test_what_depends_on_values_is_refused():
    x, y = batch()
    x[0, 0], x[-1, 0] = 1, -1
    model = Sequential(Scaled(), Linear(4, 3))
    with pytest.raises(PlanError, match=r"input 1 of op mul, \(\), depends on the data and was not computed by ops"):
        tinytorch.compile_step(model, SGD(model.parameters()), CrossEntropyLoss(), x, y)
    branching = Branching()
    with pytest.raises(PlanError, match="its ops depend on the data"):
        tinytorch.compile_step(branching, SGD(branching.parameters()), CrossEntropyLoss(), x, y)
    model, optimizer = small()
    with pytest.raises(PlanError, match=r"no op reads y; .*give targets as float32 or int64"):
        tinytorch.compile_step(model, optimizer, lambda out, _: (out * out).mean(), x, y)
    with pytest.raises(PlanError, match="no op reads y"):  # the loss makes integers of them, outside of ops
        tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y.astype(np.float32))
    with pytest.raises(GraphError, match="does not come from the input through ops"):
        tinytorch.compile_step(model, optimizer, Detached(), x, y)


@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_types_that_no_kernel_takes(dtype):
    model, optimizer = small()
    x, y = batch()
    with pytest.raises(PlanError, match=f"x is {np.dtype(dtype)}; a step takes float32 and int64: convert it"):
        tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x.astype(dtype), y)


def test_an_update_without_ops_is_noticed():
    class ByHand(SGD):
        def update(self, w, g, moments):
            w -= self.lr * g

    model, _ = small()
    with pytest.raises(PlanError, match="parameters of a captured and an eager step differ"):
        tinytorch.compile_step(model, ByHand(model.parameters()), CrossEntropyLoss(), *batch())


def test_a_trainer_uses_it_and_trains_what_does_not_fit_eagerly():
    x, y = digits(1, 100, False)[0]
    loader = tinytorch.DataLoader(tinytorch.TensorDataset(Tensor(x), Tensor(y)), batch_size=32)
    histories = []
    for captured in (False, True):
        np.random.seed(0)
        model = models.mlp()
        optimizer = AdamW(model.parameters(), lr=0.01)
        step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x[:32], y[:32]) if captured else None
        trainer = Trainer(model, optimizer, CrossEntropyLoss(), captured=step)
        histories.append([trainer.train_epoch(loader) for _ in range(3)])
        assert trainer.step == optimizer.step_count == 12
    np.testing.assert_allclose(*histories, rtol=1e-6)
    with pytest.raises(ValueError, match=r"step clips gradients by norm None and value None, the trainer by 1.0 and N"):
        Trainer(model, optimizer, CrossEntropyLoss(), grad_clip_norm=1.0, captured=step)
    clipping = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x[:32], y[:32], grad_clip_norm=1.0)
    assert Trainer(model, optimizer, CrossEntropyLoss(), grad_clip_norm=1.0, captured=clipping).captured is clipping
    with pytest.raises(ValueError, match=r"norm 1.0 and value None, the trainer by None and None; give compile_step"):
        Trainer(model, optimizer, CrossEntropyLoss(), captured=clipping)
    x[0] = np.nan
    bad = tinytorch.DataLoader(tinytorch.TensorDataset(Tensor(x), Tensor(y)), batch_size=32)
    with pytest.raises(tinytorch.core.training.NonFiniteLoss, match="the input already contains nan"):
        trainer.train_epoch(bad)


def test_a_second_thread_is_refused_and_changes_nothing():
    model, optimizer = small()
    x, y = batch()
    step = tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), x, y)
    running, done, execute = threading.Event(), threading.Event(), step.linked.run

    def slow() -> None:
        running.set()
        done.wait(10)
        execute()

    step.linked.run = slow
    first = threading.Thread(target=step, args=(x, y))
    first.start()
    assert running.wait(10)
    before = model.state_dict()
    with pytest.raises(PlanError, match=r"step: it is running in another thread, .*one thread at a time, or give each"):
        step(x, y)
    assert optimizer.step_count == 1 and all((before[n] == v).all() for n, v in model.state_dict().items())
    done.set()
    first.join()
    step.linked.run = execute
    step(x, y)
    assert optimizer.step_count == 2


def test_the_table_names_ops_and_places():
    model, optimizer = small()
    text = str(tinytorch.compile_step(model, optimizer, CrossEntropyLoss(), *batch()))
    assert "linear_weight_grad" in text and "sgd_step" in text and "output + 0" in text
    assert "inputs 6x4, 6 and 9 arrays that stay" in text
