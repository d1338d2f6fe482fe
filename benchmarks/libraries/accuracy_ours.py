"""A whole training with this framework, as the milestone's script does it: the recipe's trainer, its step captured."""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy_work import Training
from benchmarks.libraries import Made
from benchmarks.libraries.accuracy import trained
from tinytorch import Tensor, no_grad
from tinytorch.engine.dispatch import use_backend


class Captured:
    """The net in training; images are read op by op."""

    def __init__(self, work: Training) -> None:
        self.model = work.model()
        self.trainer = work.recipe.trainer(self.model, work.data, work.epochs * work.steps)

    def learn(self, x: np.ndarray, y: np.ndarray) -> float:
        return self.trainer.train_step(Tensor(x), Tensor(y))

    def read(self, x: np.ndarray) -> np.ndarray:
        self.model.eval()
        with no_grad():
            return self.model(Tensor(x)).data.argmax(1)


def captured(work: Training, threads: int) -> Made:
    return trained(work, lambda: Captured(work), lambda: use_backend("numba"))


IMPLEMENTATIONS = {(Training, "captured"): captured}
