"""The training loop: what an epoch does, when it stops, and that it goes on from a checkpoint bit by bit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinytorch import (
    SGD,
    AdamW,
    BinaryCrossEntropyLoss,
    CosineSchedule,
    CrossEntropyLoss,
    DataLoader,
    Dropout,
    Flatten,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Sigmoid,
    Tensor,
    TensorDataset,
    Trainer,
    clip_grad_norm,
    clip_grad_value,
    datasets,
)
from tinytorch.core.training import NonFiniteLoss

pytestmark = pytest.mark.usefixtures("backend")


def classification(n=24, features=4, classes=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, features)).astype(np.float32), rng.integers(0, classes, n)


def net(seed=0):
    np.random.seed(seed)
    return Sequential(Linear(4, 8), ReLU(), Linear(8, 3))


def batches(size, shuffle=False):
    return DataLoader(TensorDataset(*classification()), size, shuffle=shuffle, seed=1)


def same(a, b):
    for (name, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


def test_training_learns_and_keeps_a_history():
    data = datasets.load("clusters")
    np.random.seed(0)
    model = Sequential(Linear(2, 1), Sigmoid())
    trainer = Trainer(model, SGD(model.parameters(), lr=0.5), BinaryCrossEntropyLoss(), CosineSchedule(0.5, 0.1, 4))
    loader = DataLoader(TensorDataset(data.x_train, data.y_train[:, None]), 50, shuffle=True, seed=0)
    losses = [trainer.train_epoch(loader) for _ in range(4)]
    loss, accuracy = trainer.evaluate(DataLoader(TensorDataset(data.x_test, data.y_test[:, None])))
    assert losses[-1] < losses[0] / 2 and accuracy > 0.95 and loss < 0.2
    assert trainer.history["train_loss"] == losses and trainer.history["eval_loss"] == [loss]
    assert trainer.history["learning_rates"] == pytest.approx([0.5, 0.441421, 0.3, 0.158579], rel=1e-5)
    assert trainer.epoch == 4 and trainer.step == 4 * 6


def test_the_mean_loss_counts_rows_and_not_batches():
    model = Sequential(Flatten())
    w = Tensor([1.0], requires_grad=True)
    trainer = Trainer(model, SGD([w], lr=0.0), lambda x, y: x.mean() * w)
    x = np.array([[1.0], [1.0], [1.0], [9.0]], np.float32)  # batches of three and one
    assert trainer.train_epoch(DataLoader(TensorDataset(x, x), 3)) == pytest.approx(3.0)


def test_accumulated_gradients_equal_those_of_one_big_batch():
    small, big = net(), net()
    a = Trainer(small, AdamW(small.parameters(), lr=0.01), CrossEntropyLoss())
    b = Trainer(big, AdamW(big.parameters(), lr=0.01), CrossEntropyLoss())
    a.train_epoch(batches(4), accumulation_steps=3)
    b.train_epoch(batches(12))
    assert a.step == b.step == 2
    for x, y in zip(small.parameters(), big.parameters()):
        np.testing.assert_allclose(x.data, y.data, rtol=1e-4, atol=1e-6)


def test_what_is_left_of_an_accumulation_still_makes_a_step():
    model = net()
    trainer = Trainer(model, SGD(model.parameters(), lr=0.01), CrossEntropyLoss())
    trainer.train_epoch(batches(4), accumulation_steps=4)  # six batches: four and two
    assert trainer.step == 2 and all(p.grad is None for p in model.parameters())


def test_clip_grad_norm_scales_all_gradients_together():
    a, b = Tensor([0.0, 0.0], requires_grad=True), Tensor([0.0], requires_grad=True)
    a.grad, b.grad = np.array([3.0, 0], np.float32), np.array([4.0], np.float32)
    assert clip_grad_norm([a, b, Tensor([1.0], requires_grad=True)], 1.0) == pytest.approx(5)
    np.testing.assert_allclose(a.grad, [0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(b.grad, [0.8], rtol=1e-6)
    assert clip_grad_norm([a, b], 1.5) == pytest.approx(1)
    np.testing.assert_allclose(b.grad, [0.8], rtol=1e-6)  # already short enough


def test_clip_grad_norm_of_nothing_and_of_nan():
    a = Tensor([1.0, 2.0], requires_grad=True)
    assert clip_grad_norm([a], 1.0) == 0
    a.grad = np.array([np.nan, 1], np.float32)
    assert math.isnan(clip_grad_norm([a], 0.5))
    np.testing.assert_array_equal(a.grad, np.array([np.nan, 1], np.float32))


def test_clip_grad_value():
    a = Tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    clip_grad_value([a], 1.0)
    a.grad = np.array([-3, 0.5, 2, np.nan], np.float32)
    clip_grad_value([a], 1.0)
    np.testing.assert_array_equal(a.grad, np.array([-1, 0.5, 1, np.nan], np.float32))


def test_the_trainer_clips_by_value():
    model = net()
    before = model.state_dict()
    Trainer(model, SGD(model.parameters(), lr=1.0), CrossEntropyLoss(), grad_clip_value=1e-3).train_epoch(batches(24))
    moved = max(float(np.abs(v - before[k]).max()) for k, v in model.state_dict().items())
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_the_trainer_clips():
    model = net()
    before = model.state_dict()
    Trainer(model, SGD(model.parameters(), lr=1.0), CrossEntropyLoss(), grad_clip_norm=1e-3).train_epoch(batches(24))
    moved = math.sqrt(sum(float(((v - before[k]) ** 2).sum()) for k, v in model.state_dict().items()))
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_single_steps_do_what_an_epoch_does_with_a_rate_for_each():
    stepped, whole = (Trainer(m, SGD(m.parameters(), lr=0.1), CrossEntropyLoss()) for m in (net(), net()))
    losses = [stepped.train_step(x, y) for x, y in batches(8)]
    assert whole.train_epoch(batches(8)) == pytest.approx(np.mean(losses))
    same(stepped.model, whole.model)
    assert stepped.step == 3 and stepped.history["train_loss"] == []
    stepped.scheduler = CosineSchedule(1.0, 0.0, 8, warmup=4)
    for x, y in batches(8):
        stepped.model.eval()
        stepped.model[0].weight.grad = np.full((4, 8), np.inf, np.float32)  # of somebody else
        stepped.train_step(x, y)
        assert stepped.optimizer.lr == stepped.scheduler.get_lr(stepped.step - 1) and stepped.model.training
    assert stepped.optimizer.lr == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))
    assert np.isfinite(stepped.model[0].weight.data).all()


def test_a_schedule_by_steps_gives_each_update_its_rate():
    class Recorded(SGD):
        def step(self):
            rates.append(self.lr)
            super().step()

    schedule = CosineSchedule(1.0, 0.0, 12, warmup=4)
    for accumulation, updates in ((1, 6), (3, 2)):
        rates: list[float] = []
        model = net()
        trainer = Trainer(
            model, Recorded(model.parameters()), CrossEntropyLoss(), schedule, schedule_by="step"
        )  # fmt: skip
        trainer.train_epoch(batches(4), accumulation)
        trainer.train_epoch(batches(4), accumulation)
        assert rates == [schedule.get_lr(step) for step in range(2 * updates)]
        assert trainer.history["learning_rates"] == [rates[updates - 1], rates[-1]]
    with pytest.raises(ValueError, match='schedule_by is \'batch\'; choose "epoch" or "step"'):
        Trainer(model, SGD(model.parameters()), CrossEntropyLoss(), schedule, schedule_by="batch")


def test_evaluation_runs_in_eval_mode_without_gradients_and_restores_the_mode():
    dropped = Sequential(Dropout(0.99), Linear(4, 3))
    trainer = Trainer(dropped, SGD(dropped.parameters()), CrossEntropyLoss())
    assert trainer.evaluate(batches(8)) == trainer.evaluate(batches(8))
    assert dropped.training and dropped[0].training
    dropped.eval()
    trainer.evaluate(batches(8))
    assert not dropped.training
    assert all(p.grad is None for p in dropped.parameters())


def test_accuracy_of_several_outputs_and_of_one():
    x = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], np.float32)
    model = Sequential(Flatten())
    w = Tensor([1.0], requires_grad=True)
    trainer = Trainer(model, SGD([w]), CrossEntropyLoss())
    assert trainer.evaluate(DataLoader(TensorDataset(x, np.array([1, 0, 0, 1])), 3))[1] == 0.5
    single = Trainer(model, SGD([w]), BinaryCrossEntropyLoss())
    loader = DataLoader(TensorDataset(x[:, :1], np.array([[0], [1], [1], [1]])), 3)
    assert single.evaluate(loader)[1] == 0.75


@pytest.mark.parametrize(
    ("poison", "text"),
    [
        (lambda m, x: x.__setitem__((0, 0), np.nan), "the input already contains nan or infinity"),
        (lambda m, x: m[2].weight.data.__setitem__((0, 0), np.inf), "parameter 2.weight contains nan or infinity"),
        (lambda m, x: m[2].weight.data.__imul__(np.float32(1e38)),
         r"layer 2 \(linear\) gives the first nan or infinity; lower the learning rate, clip gradients, or look"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_loss_that_is_not_finite_stops_and_names_step_and_layer(poison, text):
    model, (x, y) = net(), classification()
    trainer = Trainer(model, SGD(model.parameters(), lr=0.01), CrossEntropyLoss())
    trainer.train_epoch(DataLoader(TensorDataset(x, y), 8))
    poison(model, x)
    with pytest.raises(NonFiniteLoss, match=rf"train: the loss is -?(nan|inf) at step 3 \(epoch 1\): {text}"):
        trainer.train_epoch(DataLoader(TensorDataset(x * np.float32(1e2), y), 8))


def test_a_broken_loss_function_is_told_from_a_broken_model():
    model = net()
    trainer = Trainer(model, SGD(model.parameters()), lambda out, y: out.sum() * float("nan"))
    with pytest.raises(NonFiniteLoss, match="all layers are finite, so it is the loss function itself"):
        trainer.train_epoch(batches(8))


def test_mse_trains_too():
    np.random.seed(0)
    x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    model = Linear(1, 1)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.3), MSELoss())
    for _ in range(60):
        trainer.train_epoch([(Tensor(x), Tensor(3 * x - 1))])
    assert model.weight.item() == pytest.approx(3, abs=1e-2) and model.bias.item() == pytest.approx(-1, abs=1e-3)
