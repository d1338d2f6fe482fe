"""How the milestone networks are trained, as data: scripts, tasks and benchmarks read the same figures from here.

All were chosen on parts of the training data that were held out; the test part was looked at once they stood.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from kernels import threads
from tinytorch.core.augmentation import ImageTransform
from tinytorch.core.dataloader import DataLoader, ImageDataset
from tinytorch.core.initializers import whitening
from tinytorch.core.layers import Layer
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import SGD
from tinytorch.core.schedules import OneCycleSchedule
from tinytorch.core.spatial import Conv2d
from tinytorch.core.training import Trainer
from tinytorch.datasets.compressed import compressed
from tinytorch.datasets.images import Images
from tinytorch.engine.dispatch import backend
from tinytorch.perf.training import compile_step

WHITENED = 5_000  # images whose patches tell how to whiten: four million of them


class Digits(NamedTuple):
    """Epochs of AdamW, its rate falling along a cosine, on smoothed labels."""

    epochs: int
    weight_decay: float
    max_lr: float = 0.01
    min_lr: float = 0.0001
    batch_size: int = 64
    smoothing: float = 0.1


class Language(NamedTuple):
    """Single steps of AdamW, whose rate grows and falls as a cosine, to a hundredth of max_lr."""

    steps: int
    batch_size: int
    max_lr: float
    warmup: int = 100
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)

    @property
    def min_lr(self) -> float:
        return 0.01 * self.max_lr


class Vision(NamedTuple):
    """Epochs of SGD with Nesterov's momentum, its rate one cycle over all steps, on smoothed labels.

    Images are moved by up to `padding` pixels, mirrored and cut at random, see `ImageTransform`. With `copies` each is
    also learned as JPEG leaves it, so an epoch has twice as many. With `whitened` the first layer is a fixed whitening
    of their patches.
    """

    epochs: int
    max_lr: float
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.1
    pct_start: float = 0.3
    anneal: str = "linear"
    div_factor: float = 25.0
    padding: int = 0
    padding_mode: Literal["zeros", "reflect"] = "zeros"
    flip: bool | Literal["alternate"] = False
    cutout: int = 0
    copies: bool = False
    whitened: bool = False

    def batches(self, images: Images, seed: int) -> DataLoader:
        """The training images in whole batches, in another order each epoch; the next is prepared while one is used."""
        transform = ImageTransform(
            images.mean, images.std, padding=self.padding, padding_mode=self.padding_mode, flip=self.flip,
            cutout=self.cutout, seed=seed,
        )  # fmt: skip
        x, y = images.x_train, images.y_train
        if self.copies:
            x, y = np.concatenate([x, compressed(x, seed)]), np.concatenate([y, y])
        data = ImageDataset(x, y)
        return DataLoader(data, self.batch_size, True, drop_last=True, seed=seed, transform=transform, prefetch=True)

    def optimizer(self, model: Layer) -> SGD:
        learning = [p for p in model.parameters() if p.requires_grad]
        return SGD(learning, self.max_lr, self.momentum, self.weight_decay, nesterov=True)

    def schedule(self, steps: int) -> OneCycleSchedule:
        return OneCycleSchedule(self.max_lr, steps, self.pct_start, self.anneal, self.div_factor)

    def loss(self) -> CrossEntropyLoss:
        return CrossEntropyLoss(label_smoothing=self.smoothing)

    def trainer(self, model: Layer, images: Images, steps: int) -> Trainer:
        """A trainer for so many steps. With compiled kernels its step is captured, on all cores."""
        if self.whitened:
            first = next(layer for layer in model.modules() if isinstance(layer, Conv2d))
            whitening(first, images.normalised(images.x_train[:WHITENED]))
        optimizer, loss_fn, captured = self.optimizer(model), self.loss(), None
        if backend() == "numba":
            x, y = images.normalised(images.x_train[: self.batch_size]), images.y_train[: self.batch_size]
            captured = compile_step(model, optimizer, loss_fn, x, y, threads.get_num_threads())
        return Trainer(model, optimizer, loss_fn, self.schedule(steps), captured=captured, schedule_by="step")


DIGITS = {"mlp": Digits(epochs=60, weight_decay=0.3), "cnn": Digits(epochs=30, weight_decay=0.1)}
LANGUAGE = {"transformer": Language(600, 64, 0.003), "gpt-shakespeare": Language(2000, 12, 0.003)}
VISION = {
    "mlp-mnist": Vision(epochs=20, max_lr=0.1, weight_decay=1e-4, padding=2),
    "cnn-cifar10": Vision(epochs=8, max_lr=0.1, padding=2, flip=True, copies=True),
    "cifar10-best": Vision(
        epochs=7, max_lr=0.6, batch_size=256, weight_decay=1e-3, smoothing=0.2, pct_start=0.25, padding=2,
        padding_mode="reflect", flip="alternate", copies=True, whitened=True,
    ),
}
