"""A script that trains nets by small recipes and prints a digest of what came of it; `test_repeatable` runs it.

    NUMBA_NUM_THREADS=1 python -m tests.core.repeatable

Each net is trained eagerly and captured, for one thread and for two, with an average of its weights.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

import tinytorch
from tinytorch import (
    EMA,
    SGD,
    AdamW,
    CrossEntropyLoss,
    DataLoader,
    Dropout,
    ImageDataset,
    ImageTransform,
    Layer,
    Linear,
    OneCycleSchedule,
    ReLU,
    Sequential,
    Trainer,
    models,
)  # fmt: skip

BATCH, BATCHES = 32, 2  # and a smaller one, which is trained eagerly


class Flat(Layer):
    """An MLP that takes images."""

    def __init__(self, model: Layer) -> None:
        self.model = model

    def forward(self, x):
        return self.model(x.flatten(1))


def dropped() -> Layer:
    return Sequential(Linear(784, 64), ReLU(), Dropout(0.3), Linear(64, 32), Dropout(0.1, seed=4), Linear(32, 10))


NETS = {
    "cnn-cifar10": (models.cifar_cnn, (3, 32, 32)),
    "cnn": (models.cnn, (1, 8, 8)),
    "mlp-mnist": (lambda: Flat(models.mnist_mlp()), (1, 28, 28)),
    "dropout": (lambda: Flat(dropped()), (1, 28, 28)),
}
OPTIMIZERS = {
    "sgd": lambda p: SGD(p, 0.05, 0.9, 5e-4, nesterov=True),
    "adamw": lambda p: AdamW([{"params": p[:1], "lr": 0.002}, {"params": p[1:]}], lr=0.001),
}


def trained(net: str, optimizer: str, threads: int) -> str:
    """Digest of weights, statistics, averages and losses; with no threads, of eager training."""
    make, shape = NETS[net]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH * BATCHES + BATCH // 3, *shape), np.uint8)
    labels = rng.integers(0, 10, len(images))
    np.random.seed(1)
    model = make()
    made, loss_fn = OPTIMIZERS[optimizer](model.parameters()), CrossEntropyLoss(label_smoothing=0.1)
    transform = ImageTransform([0.5] * shape[0], [0.25] * shape[0], padding=2, flip=True, cutout=3, seed=2)
    loader = DataLoader(ImageDataset(images, labels), BATCH, shuffle=True, seed=3, transform=transform, prefetch=True)
    step = None
    if threads:
        x = np.zeros((BATCH, *shape), np.float32)
        step = tinytorch.compile_step(model, made, loss_fn, x, labels[:BATCH], threads, grad_clip_norm=2.0)
    trainer = Trainer(
        model, made, loss_fn, OneCycleSchedule(made.lr, 2 * len(loader)), 2.0, step, schedule_by="step",
        ema=EMA(model, 0.8),
    )  # fmt: skip
    trainer.fit(loader, 2)
    assert trainer.ema is not None
    loss, _ = trainer.evaluate(loader)
    found = hashlib.sha256(np.array([*trainer.history["train_loss"], loss]).tobytes())
    for state in (model.state_dict(), made.state_dict()["moments"], trainer.ema.average):
        for name, array in state.items():
            found.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    ways = {"eager": 0, "captured for one thread": 1, "captured for two": 2}
    print(json.dumps({
        f"{net}, {optimizer}": {way: trained(net, optimizer, threads) for way, threads in ways.items()}
        for net, optimizer in zip(NETS, [*OPTIMIZERS, *OPTIMIZERS], strict=True)
    }))  # fmt: skip
