"""A whole training in eager PyTorch, by the same recipe: SGD in one fused update, the quicker of two memory formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy_work import Training
from benchmarks.libraries import Made, Unavailable
from benchmarks.libraries.accuracy import arrays, trained
from benchmarks.libraries.with_torch import formats, quickest, translated

CHOICE_S = 5.0  # for timing both memory formats, some twenty steps of each


class Eager:
    """The net in training; the rate of each step is the recipe's, the rest PyTorch's own."""

    def __init__(self, work: Training, memory_format: Any) -> None:
        recipe = work.recipe
        self.memory_format = memory_format
        self.model = translated(work.model()).to(memory_format=memory_format)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=recipe.max_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
            nesterov=True, fused=True,
        )  # fmt: skip
        self.loss_of = torch.nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
        self.schedule, self.step = recipe.schedule(work.epochs * work.steps), 0

    def images(self, x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x).contiguous(memory_format=self.memory_format)

    def learn(self, x: np.ndarray, y: np.ndarray) -> float:
        self.model.train()
        self.optimizer.param_groups[0]["lr"] = self.schedule.get_lr(self.step)
        self.step += 1
        self.optimizer.zero_grad()
        loss = self.loss_of(self.model(self.images(x)), torch.from_numpy(y))
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def read(self, x: np.ndarray) -> np.ndarray:
        self.model.eval()
        with torch.inference_mode():
            return self.model(self.images(x)).argmax(1).numpy()


def eager(work: Training, threads: int) -> Made:
    """Unavailable for recipes that whiten the first layer."""
    if work.recipe.whitened:
        raise Unavailable(f"the recipe of {work.name} whitens, which is not written for PyTorch here")
    x, y = arrays(next(iter(work.batches())))

    def learning(memory_format: Any) -> Callable[[Any], float]:
        trainee = Eager(work, memory_format)
        return lambda _: trainee.learn(x, y)

    better = quickest({each: learning(each) for each in formats(x.ndim)}, None, CHOICE_S)
    return trained(work, lambda: Eager(work, better))


IMPLEMENTATIONS = {(Training, "eager"): eager}
