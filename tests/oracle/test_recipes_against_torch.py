"""What a recipe is made of, beside PyTorch's: schedules, averages, running statistics, and a whole training by it."""

from __future__ import annotations

import numpy as np
import pytest

import tinytorch
from tests.oracle.against import BOUND, torch
from tests.oracle.nets import sequential
from tests.tolerance import nmse
from tinytorch import (
    EMA,
    SGD,
    AdamW,
    BatchNorm2d,
    Conv2d,
    CosineSchedule,
    CrossEntropyLoss,
    Flatten,
    Linear,
    MaxPool2d,
    OneCycleSchedule,
    ReLU,
    Sequential,
    Tensor,
    Trainer,
)

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("backend")]
lr_scheduler, swa_utils = torch.optim.lr_scheduler, torch.optim.swa_utils


def rates(make, steps):
    """What a scheduler of PyTorch gives for each step; `make` is given an optimizer with rate 0.5."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler, found = make(optimizer), [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("steps, options", [
    (100, {}), (37, {"pct_start": 0.5}), (10, {"pct_start": 0.25, "div_factor": 5, "final_div_factor": 7}),
    (2346, {"pct_start": 0.2}), (3, {}), (2, {}), (20, {"pct_start": 1.0}), (20, {"pct_start": 0.0}),
])  # fmt: skip
def test_one_cycle(steps, options, anneal):
    schedule = OneCycleSchedule(0.3, steps, anneal=anneal, **options)
    theirs = rates(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 0.3, total_steps=steps, anneal_strategy=anneal, cycle_momentum=False, **options
        ),
        steps,
    )
    assert [schedule.get_lr(step) for step in range(steps)] == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("total, warmup", [(10, 0), (30, 5), (200, 20), (7, 6)])
def test_cosine_after_a_warm_up(total, warmup):
    """Of two schedulers of PyTorch, one after the other."""
    schedule = CosineSchedule(0.5, 0.02, total, warmup)

    def make(optimizer):
        cosine = lr_scheduler.CosineAnnealingLR(optimizer, total - warmup, 0.02)
        if not warmup:
            return cosine
        rising = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, max(warmup - 1, 1))
        return lr_scheduler.SequentialLR(optimizer, [rising, cosine], [warmup])

    assert [schedule.get_lr(epoch) for epoch in range(total + 1)] == pytest.approx(rates(make, total + 1), rel=1e-9)


def test_running_statistics_of_twenty_batches():
    """Momentum, unbiased variance, and what evaluation makes of them; the last batch is one of a single image."""
    rng = np.random.default_rng(0)
    ours, theirs = BatchNorm2d(5, eps=1e-3, momentum=0.3), torch.nn.BatchNorm2d(5, eps=1e-3, momentum=0.3)
    for i in range(20):
        x = 3 * rng.standard_normal((1 if i == 19 else 4, 5, 6, 3)) + rng.standard_normal((5, 1, 1))
        x = x.astype(np.float32)
        y, torch_y = ours(Tensor(x)), theirs(torch.tensor(x))
        assert nmse(y.data, torch_y.detach().numpy()) <= BOUND[np.float32]
        assert nmse(ours.running_mean, theirs.running_mean.numpy()) <= BOUND[np.float32]
        assert nmse(ours.running_var, theirs.running_var.numpy()) <= BOUND[np.float32]
    ours.eval()
    theirs.eval()
    assert nmse(ours(Tensor(x)).data, theirs(torch.tensor(x)).detach().numpy()) <= BOUND[np.float32]


def test_groups_of_parameters():
    """No decay for biases, another rate for the last layer, over ten steps."""
    rng, shapes = np.random.default_rng(1), [(4, 3), (3,), (3, 2), (2,)]
    start = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    ours = [Tensor(w.copy(), requires_grad=True) for w in start]
    theirs = [torch.tensor(w, requires_grad=True) for w in start]
    optimizers = [
        kind(
            [
                {"params": [w[0]]}, {"params": [w[1]], "weight_decay": 0.0},
                {"params": [w[2]], "lr": 0.05}, {"params": [w[3]], "lr": 0.05, "weight_decay": 0.0},
            ],
            lr=0.01, weight_decay=0.1,
        )
        for kind, w in ((AdamW, ours), (torch.optim.AdamW, theirs))
    ]  # fmt: skip
    for _ in range(10):
        for w, torch_w in zip(ours, theirs):
            w.grad = rng.standard_normal(w.shape).astype(np.float32)
            torch_w.grad = torch.tensor(w.grad)
        for optimizer in optimizers:
            optimizer.step()
    for w, torch_w, before in zip(ours, theirs, start):
        assert nmse(w.data - before, torch_w.detach().numpy() - before) <= 100 * BOUND[np.float32]


def small_cnn() -> Sequential:
    return Sequential(
        Conv2d(3, 8, 3, padding=1), BatchNorm2d(8), ReLU(), MaxPool2d(2), Conv2d(8, 16, 3, padding=1), BatchNorm2d(16),
        ReLU(), MaxPool2d(2), Flatten(), Linear(64, 32), ReLU(), Linear(32, 10),
    )  # fmt: skip


def arrays_of(theirs) -> list[np.ndarray]:
    """Parameters and running statistics of a net of PyTorch's, in our order and layout."""
    found = []
    for layer in theirs:
        for name in ("weight", "bias"):
            if hasattr(layer, name):
                w = getattr(layer, name).detach().numpy()
                found.append(w.T if isinstance(layer, torch.nn.Linear) and name == "weight" else w)
    return found + [s.numpy() for n, s in theirs.named_buffers() if "running" in n]


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("every", [1, 3])
def test_fifty_steps_by_the_recipe(captured, every):
    """The net of CIFAR-10 in small: Nesterov, decay, one cycle of rates, smoothed labels, clipped gradients, an average
    of weights and statistics.

    The bound: two runs of PyTorch whose weights begin 1e-7 apart end 1e-11 apart in normalised mean square, and one
    with 2 % less decay ends 6e-7 away in the nearest array, 8e-3 in the farthest.
    """
    steps, size, decay = 50, 16, 0.9
    rng = np.random.default_rng(2)
    images = rng.standard_normal((steps, size, 3, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 10, (steps, size))
    np.random.seed(0)
    ours = small_cnn()
    theirs = sequential(ours)
    optimizer = SGD(ours.parameters(), 0.05, 0.9, 5e-3, nesterov=True)
    torch_optimizer = torch.optim.SGD(theirs.parameters(), 0.05, 0.9, weight_decay=5e-3, nesterov=True)
    loss_fn, schedule = CrossEntropyLoss(label_smoothing=0.1), OneCycleSchedule(0.05, steps)
    torch_schedule = lr_scheduler.OneCycleLR(torch_optimizer, 0.05, total_steps=steps, cycle_momentum=False)
    ema = EMA(ours, decay, every)
    averaged = swa_utils.AveragedModel(
        theirs, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(decay), use_buffers=True
    )  # fmt: skip
    step = None
    if captured:
        step = tinytorch.compile_step(ours, optimizer, loss_fn, images[0], labels[0], grad_clip_norm=1.0)
    trainer = Trainer(ours, optimizer, loss_fn, schedule, 1.0, step, ema=ema)
    start, lengths = [p.data.copy() for p in ours.parameters()], []
    for i, (x, y) in enumerate(zip(images, labels)):
        loss = trainer.train_step(Tensor(x), Tensor(y))
        torch_optimizer.zero_grad()
        torch_loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y), label_smoothing=0.1)
        torch_loss.backward()
        lengths.append(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)))
        torch_optimizer.step()
        if i < steps - 1:
            torch_schedule.step()
        if (i + 1) % every == 0:
            averaged.update_parameters(theirs)
        assert loss == pytest.approx(torch_loss.item(), rel=1e-5), f"step {i}"
    assert min(lengths) < 1 < max(lengths), "clipping was not needed, or always"
    mine = [*(p.data for p in ours.parameters()), *(b for _, b in ours.named_buffers())]
    for i, (w, torch_w) in enumerate(zip(mine, arrays_of(theirs), strict=True)):
        before = start[i] if i < len(start) else 0
        assert nmse(w - before, torch_w - before) < 1e-9, i
    for i, (name, torch_w) in enumerate(zip(ema.average, arrays_of(averaged.module), strict=True)):
        before = start[i] if i < len(start) else 0
        assert nmse(ema.average[name] - before, torch_w - before) < 1e-9, name
