"""A net trained by its recipe on CIFAR-10, without saying by whom, and the batches that everybody is given.

The batches are made in each library's own process by this project's loader: a thread crops, mirrors and normalises the
next one while a step runs, in less time than the step. PyTorch reads them where they lie. So both learn from the same
numbers in the same order, neither waits for its data, and what is compared is training alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.work import untrained
from tinytorch import datasets
from tinytorch.core.dataloader import DataLoader
from tinytorch.core.layers import Sequential
from tinytorch.datasets import Images
from tinytorch.recipes import VISION, Vision

AT_ONCE = 250  # test images that are read together


class Lap(NamedTuple):
    """What an epoch's end tells beside its time: the share of right answers, and where else time went.

    `tested_ns`: for these answers; `waited_ns`: for batches so far, within the epochs; `start_ns`: before the first
    epoch, from building the net to the end of a first step, so that everything that is made on demand is in it.
    """

    accuracy: float
    tested_ns: int
    waited_ns: int
    start_ns: int


@dataclass(frozen=True)
class Training:
    """The net's whole training from the first weights on, an epoch in `turns` parts; `goal`: the accuracy asked for.

    `images` and `tested` are how many are trained and tested on, from the first on. `folder`: where the data set is
    looked for beside the user's cache.
    """

    name: str
    epochs: int
    images: int = 50_000
    tested: int = 10_000
    turns: int = 10
    goal: float | None = None
    folder: str | None = None

    def __str__(self) -> str:
        return f"{self.name}, {self.epochs} epochs of {self.steps:,} steps"

    @property
    def recipe(self) -> Vision:
        return VISION[self.name]

    @property
    def data(self) -> Images:
        return some(self.folder, self.images, self.tested)

    def model(self) -> Sequential:
        """The untrained net in training mode."""
        return untrained(self.name)

    def batches(self) -> DataLoader:
        """All batches of an epoch, in another order each time, the same in every process; from the first epoch on.

        It is one loader, wound back, since its images may take long to make: iterate over one at a time.
        """
        made, beginning = loader(self)
        made.load_state_dict(beginning)
        return made

    @property
    def steps(self) -> int:
        """In an epoch."""
        return self.images * (1 + self.recipe.copies) // self.recipe.batch_size

    def parts(self) -> list[int]:
        """Steps of each turn of an epoch."""
        return [(i + 1) * self.steps // self.turns - i * self.steps // self.turns for i in range(self.turns)]

    def tests(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Normalised images and their classes."""
        data = self.data
        for i in range(0, self.tested, AT_ONCE):
            yield data.normalised(data.x_test[i : i + AT_ONCE]), data.y_test[i : i + AT_ONCE]


@cache
def loader(work: Training) -> tuple[DataLoader, dict[str, Any]]:
    """The recipe's loader and its state before the first epoch."""
    made = work.recipe.batches(work.data, seed=0)
    return made, made.state_dict()


@cache
def some(folder: str | None, images: int, tested: int) -> Images:
    """So many of the training and of the test images, from the first on."""
    found = datasets.cifar10(folder)
    return found._replace(
        x_train=found.x_train[:images], y_train=found.y_train[:images],
        x_test=found.x_test[:tested], y_test=found.y_test[:tested],
    )  # fmt: skip
