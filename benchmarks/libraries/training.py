"""Training steps and chains of ops with this framework's tensors, on either backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from benchmarks.libraries import Made
from benchmarks.work import LEARNING_RATE, Chain, TrainingStep
from tinytorch import SGD, CrossEntropyLoss, Layer, Optimizer, Tensor
from tinytorch.engine.dispatch import use_backend

CHECKED_STEPS = 3  # whose losses are compared


def stepping(backend: str) -> Callable[[TrainingStep, int], Made]:
    """A training step of a milestone net."""

    def implementation(work: TrainingStep, threads: int) -> Made:
        model = work.model()
        return stepper(model, SGD(model.parameters(), lr=LEARNING_RATE), work.data(), lambda: use_backend(backend))

    return implementation


def stepper(
    model: Layer, optimizer: Optimizer, batch: tuple[np.ndarray, np.ndarray],
    around: Callable[[], AbstractContextManager],
) -> Made:  # fmt: skip
    """Op by op, as a training loop in Python does it."""
    loss_of, (x, y) = CrossEntropyLoss(), batch

    def run(_: object) -> np.ndarray:
        optimizer.zero_grad()
        loss = loss_of(model(Tensor(x)), y)
        loss.backward()
        optimizer.step()
        return loss.data

    return Made(run, lambda: losses(run, around), around=around)


def losses(run: Callable[[object], object], around: Callable[[], AbstractContextManager]) -> np.ndarray:
    """The losses of the first steps."""
    with around():
        return np.array([float(np.asarray(run(None)).item()) for _ in range(CHECKED_STEPS)])


def walk(x: Any, factor: Any, term: Any, ops: int) -> Any:
    """Multiplications and additions in turn, with tape, and back: the same expressions on any library's tensors."""
    x.grad = None
    y = x
    for _ in range(ops // 2):
        y = y * factor
        y = y + term
    y.sum().backward()
    return x.grad


def chain(work: Chain, around: Callable[[], AbstractContextManager]) -> Made:
    """`walk` on our tensors."""
    start, *others = work.arrays()
    x = Tensor(start, requires_grad=True)
    factor, term = map(Tensor, others)

    def run(_: object) -> Any:
        return walk(x, factor, term, work.ops)

    def answer() -> np.ndarray:
        with around():
            return np.array(run(None))

    return Made(run, answer, around=around)
