"""The loop around a training, the same for every library: they differ in how a batch is learned and images are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Protocol

import numpy as np

from benchmarks.accuracy_work import Lap, Training
from benchmarks.libraries import Made
from benchmarks.libraries.training import CHECKED_STEPS
from profiler.samples import stopwatch


class Trainee(Protocol):
    """A net in training."""

    def learn(self, x: np.ndarray, y: np.ndarray) -> float:
        """One update by a batch, images (N, C, H, W) and classes (N,); the loss before it."""

    def read(self, x: np.ndarray) -> np.ndarray:
        """The likeliest class (N,) of each image (N, C, H, W)."""


def trained(
    work: Training, build: Callable[[], Trainee], around: Callable[[], AbstractContextManager] = nullcontext
) -> Made:
    """A run trains for a turn; `tell` tests, and says what an epoch's end tells. Compared are the first losses."""
    start, waiting = stopwatch(), stopwatch()
    with around():
        first = next(iter(work.batches()))
        with start:
            build().learn(*arrays(first))
        trainee = build()
        turns = course(work, trainee, waiting)

    def answer() -> np.ndarray:
        with around():
            other = build()
            return np.array([other.learn(*arrays(batch)) for batch in islice(work.batches(), CHECKED_STEPS)])

    def tell() -> Lap:
        right, testing = 0, stopwatch()
        with around():
            for x, y in work.tests():
                with testing:
                    classes = trainee.read(x)
                right += int((classes == y).sum())
        return Lap(right / work.tested, testing.ns, waiting.ns, start.ns)

    return Made(lambda _: next(turns), answer, around=around, tell=tell)


def course(work: Training, trainee: Trainee, waiting: stopwatch) -> Iterator[None]:
    """All epochs, turn by turn; `waiting` runs where a batch is waited for."""
    loader = work.batches()
    for _ in range(work.epochs):
        batches = iter(loader)
        for steps in work.parts():
            for _ in range(steps):
                with waiting:
                    batch = next(batches)
                trainee.learn(*arrays(batch))
            yield


def arrays(batch: tuple) -> tuple[np.ndarray, np.ndarray]:
    x, y = batch
    return x.data, y.data
