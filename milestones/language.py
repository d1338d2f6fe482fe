"""What the scripts of language models share: how a GPT is trained, and how well it predicts what it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import tinytorch
from kernels import threads
from tinytorch.core.autograd import no_grad
from tinytorch.core.dataloader import DataLoader
from tinytorch.core.optimizers import AdamW
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import CosineSchedule, Trainer
from tinytorch.core.transformer import GPT
from tinytorch.engine.dispatch import backend
from tinytorch.models import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]
AT_ONCE = 64  # sequences that are predicted together: few enough for what lies between the layers to stay in the cache


def trainer(model: GPT, how: Recipe, steps: int, loss_fn: Loss, x: np.ndarray, y: np.ndarray) -> Trainer:
    """A trainer for single steps on batches like x, y. With compiled kernels its step is captured, on all cores."""
    schedule = CosineSchedule(how.max_lr, how.min_lr, steps, min(how.warmup, steps - 1))
    optimizer = AdamW(model.parameters(), how.max_lr, how.betas, weight_decay=how.weight_decay)
    captured = None
    if backend() == "numba":
        captured = tinytorch.compile_step(model, optimizer, loss_fn, x, y, threads.get_num_threads())
    return Trainer(model, optimizer, loss_fn, schedule, captured=captured)


def mean_loss(model: GPT, loss_fn: Loss, x: np.ndarray, y: np.ndarray) -> float:
    """The loss over sequences x (N, T) with targets y (N, U), each sequence counting alike."""
    total = 0.0
    with no_grad():
        for i in range(0, len(x), AT_ONCE):
            targets = y[i : i + AT_ONCE]
            total += loss_fn(model(Tensor(x[i : i + AT_ONCE])), Tensor(targets)).item() * len(targets)
    return total / len(y)


def forever(batches: DataLoader) -> Iterator[tuple[Tensor, ...]]:
    """Epoch after epoch."""
    while True:
        yield from batches
