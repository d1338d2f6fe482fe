"""What the scripts of vision share: training on images with a bar, checkpoints to continue from, reading many images,
and what their reports look at.

A small part of the training images is held out to see how it goes; the test part is read once, at the end.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import profiler
from milestones import plots
from milestones.report import training_case
from milestones.run import Milestone, Run
from milestones.sweeps import Case
from profiler.clock import stopwatch
from tinytorch.core.dataloader import DataLoader
from tinytorch.core.layers import Layer
from tinytorch.core.training import Trainer
from tinytorch.datasets import Images
from tinytorch.recipes import Vision
from tinytorch.weights import WeightsError

HELD_OUT, SPLIT = 0.02, 0  # this share of the training images is not trained on, drawn with this seed
AT_ONCE = 250  # images that are read together


def trained(run: Run, milestone: Milestone, model: Layer, images: Images, how: Vision) -> Trainer:
    """Train a model by a recipe, or go on where the same run was stopped.

    The trainer's `history` has, for each epoch, train_loss, held_out, an accuracy, and seconds.
    """
    with stopwatch() as prepared:  # copies of the images, where a recipe wants them
        batches = how.batches(images, run.seed)
    run.seconds += prepared.seconds
    trainer = how.trainer(model, images, run.length * len(batches))
    trainer.history |= {"held_out": [], "seconds": []}
    if milestone.is_resumable:
        continued(run, milestone, trainer, batches, fingerprint(run, images, how))
    train(run, trainer, batches, images, milestone.name)
    return trainer


def train(run: Run, trainer: Trainer, batches: DataLoader, images: Images, label: str) -> None:
    """The epochs that are left, with a bar: images/s, the loss of this epoch so far, the accuracy after the last."""
    history, memory, each = trainer.history, profiler.peak_memory(), len(batches) * batches.batch_size

    def advance(rows: int, loss: float) -> None:
        held_out = f"{history['held_out'][-1]:.1%}" if history["held_out"] else "-"
        bar.set_postfix(loss=f"{loss:.4f}", held_out=held_out, refresh=False)
        bar.update(rows)

    with tqdm(total=run.length * each, initial=trainer.epoch * each, desc=label, unit="img", unit_scale=True,
              dynamic_ncols=True) as bar:  # fmt: skip
        for epoch in range(trainer.epoch, run.length):
            with stopwatch() as took, memory if epoch == run.length - 1 else nullcontext():
                trainer.train_epoch(batches, watch=advance)
            history["seconds"].append(took.seconds)
            history["held_out"].append(float((read(trainer.model, images, images.x_test) == images.y_test).mean()))
            if run.checkpoint is not None:
                trainer.save_checkpoint(run.checkpoint, batches)
    held = 0 if trainer.captured is None else trainer.captured.arena_bytes
    run.seconds += sum(history["seconds"])
    run.steps += trainer.step
    run.peak_memory_bytes = max(run.peak_memory_bytes, memory.peak_bytes + held)


def read(model: Layer, images: Images, x: np.ndarray) -> np.ndarray:
    """The likeliest class (N,) of each of x, uint8 (N, C, H, W)."""
    model.eval()
    parts = (images.normalised(x[i : i + AT_ONCE]) for i in range(0, len(x), AT_ONCE))
    return np.concatenate([model.predict(part).argmax(1) for part in parts])


class Answers(NamedTuple):
    """What a model says of all test images: classes (N,), beside the true ones (N,)."""

    names: tuple[str, ...]
    predicted: np.ndarray
    truth: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.predicted == self.truth

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def by_class(self) -> dict[str, float]:
        """The share of each class's images that is recognised; classes without any are left out."""
        shares = {name: self.right[self.truth == i] for i, name in enumerate(self.names)}
        return {name: float(right.mean()) for name, right in shares.items() if right.size}


def answers(model: Layer, images: Images) -> Answers:
    """The test part, read once."""
    return Answers(images.classes, read(model, images, images.x_test), images.y_test)


def figures(run: Run, trainer: Trainer, how: Vision, answers: Answers) -> dict[str, Any]:
    """For the JSON line, how the training went and what came of it, of which the speed is printed."""
    speed = trainer.step * how.batch_size / sum(trainer.history["seconds"])
    print(f"  {'speed':<12} {speed:,.0f} images/s")
    return {
        "images_per_s": round(speed),
        "epoch_seconds": [round(seconds, 3) for seconds in trainer.history["seconds"]],
        "loss": [round(loss, 4) for loss in trainer.history["train_loss"]],
        "held_out": [round(share, 4) for share in trainer.history["held_out"]],
        "by_class": {name: round(share, 4) for name, share in answers.by_class.items()},
    }


def save_curves(run: Run, milestone: Milestone, trainer: Trainer, how: Vision, answers: Answers, name: str) -> None:
    """How the training went, and how well each class is recognised."""
    figure, (loss, accuracy, classes) = plots.panels(milestone.title, 3)
    least = plots.entropy(how.smoothing, len(answers.names))
    losses = {"loss": trainer.history["train_loss"]}
    plots.loss_curve(loss, losses, "training loss, smoothed labels", least=least)
    held_out = trainer.history["held_out"]
    plots.accuracy_curve(accuracy, held_out, "training images that were held out", milestone.required)
    plots.class_accuracies(classes, answers.by_class, f"test part: {answers.accuracy:.2%} right")
    run.save_plot(name, figure)


# -- for the report ----------------------------------------------------------------------------------------------------


def batch(images: Images, how: Vision) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch to learn from, and one image of the test part to answer, as the network takes them."""
    x, y = images.x_train[: how.batch_size], images.y_train[: how.batch_size]
    return images.normalised(x), y, images.normalised(images.x_test[:1])


def step_of(model: Layer, x: np.ndarray, how: Vision) -> Case:
    """A step of training by a recipe, with classes drawn at random."""
    y = np.random.default_rng(1).integers(0, 10, len(x))
    return training_case(Trainer(model, how.optimizer(model), how.loss()), x, y)


def as_colours(filters: np.ndarray) -> np.ndarray:
    """Filters (N, 3, H, W) as images (N, H, W, 3) in 0..1, each as strong as it can be shown: grey is zero."""
    strongest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    return (0.5 + 0.5 * filters / np.where(strongest > 0, strongest, 1)).transpose(0, 2, 3, 1)


# -- continuing --------------------------------------------------------------------------------------------------------


def continued(run: Run, milestone: Milestone, trainer: Trainer, batches: DataLoader, settings: str) -> None:
    """Say where the run's checkpoint will be, and load it if it is there and wanted. WeightsError if it is damaged."""
    run.output.mkdir(parents=True, exist_ok=True)
    path = run.checkpoint = run.output / f"{milestone.name}-{settings}.checkpoint"
    if run.anew:
        path.unlink(missing_ok=True)
    if path.exists():
        try:
            trainer.load_checkpoint(path, batches)
        except WeightsError as error:
            raise WeightsError(f"{error}, or begin again with --anew") from error
        print(f"  {'continues':<12} after epoch {trainer.epoch} of {run.length}, from {path}; --anew begins again")


def fingerprint(run: Run, images: Images, how: Vision) -> str:
    """Eight digits that are others for another seed, length, recipe, or other training images."""
    settings = [run.seed, run.length, how._asdict(), images.x_train.shape]
    digest = hashlib.sha256(json.dumps(settings).encode())
    digest.update(np.ascontiguousarray(images.x_train).data)
    digest.update(np.ascontiguousarray(images.y_train).data)
    return digest.hexdigest()[:8]
