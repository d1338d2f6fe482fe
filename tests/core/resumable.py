"""A script that trains four times and goes on where it was stopped; `test_resuming` kills it.

    python -m tests.core.resumable FOLDER [KILL]

Captured and eager, Adam and SGD, each with dropout, batch norm, an average, augmented and shuffled images; the final
states are written to FOLDER/NAME.npz. With KILL, such as replace:2, the process kills itself at the second checkpoint,
in the function os.replace, half way through writing (write:2), or after it is in place (done:2).
"""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path

import numpy as np

import tinytorch
from tinytorch import (
    EMA,
    SGD,
    Adam,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    DataLoader,
    Dropout,
    Flatten,
    ImageDataset,
    ImageTransform,
    Linear,
    OneCycleSchedule,
    ReLU,
    Sequential,
    Trainer,
)  # fmt: skip
from tinytorch.engine.dispatch import backend

EPOCHS, IMAGES, BATCH = 6, 80, 16
KINDS = {
    "adam": lambda p: Adam(p, lr=0.01),
    "sgd": lambda p: SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
}


def train(optimizer: str, captured: bool, checkpoint: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    images, labels = rng.integers(0, 256, (IMAGES, 1, 8, 8), np.uint8), rng.integers(0, 10, IMAGES)
    np.random.seed(3)
    model = Sequential(
        Conv2d(1, 8, 3, padding=1), BatchNorm2d(8), ReLU(), Flatten(), Dropout(0.3), Linear(512, 16), ReLU(),
        Dropout(0.2, seed=1), Linear(16, 10),
    )  # fmt: skip
    made, loss_fn = KINDS[optimizer](model.parameters()), CrossEntropyLoss(label_smoothing=0.1)
    transform = ImageTransform([0.5], [0.3], padding=1, flip="alternate", cutout=2, seed=5)
    loader = DataLoader(
        ImageDataset(images, labels), BATCH, shuffle=True, drop_last=True, seed=2, transform=transform, prefetch=True
    )
    schedule = OneCycleSchedule(made.lr, EPOCHS * len(loader))
    step = None
    if captured:
        step = tinytorch.compile_step(model, made, loss_fn, np.zeros((BATCH, 1, 8, 8), np.float32), labels[:BATCH])
    trainer = Trainer(
        model, made, loss_fn, schedule, captured=step, schedule_by="step", ema=EMA(model, 0.9, every=2)
    )  # fmt: skip
    trainer.fit(loader, EPOCHS, checkpoint=checkpoint, resume=True)
    assert trainer.ema is not None and trainer.step == EPOCHS * len(loader)
    return {
        **model.state_dict(),
        **made.state_dict()["moments"],
        **{f"average.{name}": value for name, value in trainer.ema.average.items()},
        **{name: np.array(values) for name, values in trainer.history.items()},
        "random": np.random.random(3),
    }


def kill_at(place: str, count: int) -> None:
    """Make this process kill itself at the count-th checkpoint."""
    if place == "write":  # half of the file, then nothing

        class Half(io.FileIO):
            def write(self, content):
                super().write(memoryview(content)[: len(content) // 2])
                os.fsync(self.fileno())
                return counted(len(content))

        real, calls = os.fdopen, iter(range(1, 1000))

        def counted(length: int) -> int:
            os.kill(os.getpid(), signal.SIGKILL)
            return length

        os.fdopen = lambda handle, mode: Half(handle, mode) if next(calls) == count else real(handle, mode)
        return
    name = "replace" if place == "done" else place
    original, numbers = getattr(os, name), iter(range(1, 1000))

    def dying(*arguments):
        is_last = next(numbers) == count
        if is_last and place != "done":
            os.kill(os.getpid(), signal.SIGKILL)
        original(*arguments)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, name, dying)


def main(folder: str, kill: str = "") -> None:
    if kill:
        place, _, count = kill.partition(":")
        kill_at(place, int(count))
    print("ready", flush=True)
    for captured in (False, True) if backend() == "numba" else (False,):
        for optimizer in KINDS:
            name = f"{optimizer}-{'captured' if captured else 'eager'}"
            final = Path(folder, f"{name}.npz")
            if not final.exists():
                arrays = train(optimizer, captured, Path(folder, f"{name}.checkpoint"))
                np.savez(Path(folder, "unfinished.npz"), **arrays)
                os.rename(Path(folder, "unfinished.npz"), final)


if __name__ == "__main__":
    main(*sys.argv[1:])
