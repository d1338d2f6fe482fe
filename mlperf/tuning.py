"""Choosing a recipe's settings without the digits that are counted: `python -m mlperf tune`.

The training part is split, stratified, into a part to fit and a part to validate, several times. The pinned reference
saw the whole training part, so figures of it there would flatter: for each split a twin is trained on the part to fit,
as the reference was, and takes its place. So what is measured is a recipe on networks like the reference. Where data
can be drawn without end, no twin is needed: the part to validate is drawn, and is new to the reference itself. Of the
large image sets one split is enough, which holds out thousands of images; cnn-cifar10 takes about ten minutes on two
cores.

The criterion: a setting would pass the competition's gate on every one of the validation parts, and so would every
setting that leaves out less and is like it otherwise, since one digit more or less decides and one lucky setting says
little. Of those the one with the smallest file is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from leaderboard import Quality
from leaderboard.bands import GATE_PERCENT
from leaderboard.gates.quality import keeps
from mlperf import pipeline
from mlperf.answering import Picture
from mlperf.costs import size_on_disk
from mlperf.pipeline import Watch, unwatched
from mlperf.recipe import Recipe
from mlperf.tasks import TASKS, Task
from tinytorch import datasets
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.layers import Flatten, Layer, Sequential
from tinytorch.core.optimizers import AdamW
from tinytorch.core.training import CosineSchedule, Trainer
from tinytorch.recipes import DIGITS, VISION

SPLITS, FRACTION = 5, 0.2
SPLITS_OF_IMAGES, FRACTION_OF_IMAGES = 1, 0.1
KEPT_PERCENT = GATE_PERCENT["closed"]  # for the open division too, whose own gate is lower

Settings = dict[str, Any]
# What is tried, by division: how much is left out, and for how long the rest is then trained.
TRIED: dict[str, list[Settings]] = {
    "closed": [{"amount": amount} for amount in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)],
    "open": [
        {"method": "channels", "amount": amount, "finetune_epochs": epochs}
        for epochs in (20, 60)
        for amount in (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65)
    ],
}
# Epochs of the open division on large image sets: one has as many steps as many of the digits, at a lower rate.
EPOCHS_ON_IMAGES = {"mlp-mnist": 10, "cnn-cifar10": 5}


def settings_of(task: Task, division: str) -> list[Settings]:
    """What is tried for a task in a division."""
    if division == "closed" or task.name not in EPOCHS_ON_IMAGES:
        return TRIED[division]
    how = {"method": "channels", "finetune_epochs": EPOCHS_ON_IMAGES[task.name], "finetune_lr": 0.001}
    return [{**how, "amount": amount} for amount in (0.3, 0.4, 0.5, 0.6, 0.7)]


def splits_of(task: Task) -> int:
    """How many splits a task's settings are tried on."""
    return SPLITS_OF_IMAGES if task.name in VISION else SPLITS


@dataclass(frozen=True)
class Trial:
    """A setting on all splits: bytes on disk, and quality beside the twin's in each validation part."""

    settings: Settings
    bytes: tuple[int, ...]
    quality: tuple[Quality, ...]
    higher_is_better: bool = True

    @property
    def passes(self) -> bool:
        """Whether it keeps enough of the twin's quality in every split, as the gate judges."""
        return all(keeps(quality, KEPT_PERCENT, self.higher_is_better) for quality in self.quality)

    @property
    def mean_bytes(self) -> float:
        return sum(self.bytes) / len(self.bytes)


def tunable() -> tuple[str, ...]:
    """The tasks with settings to choose here."""
    return tuple(name for name, task in TASKS.items() if name in DIGITS or name in VISION or task.fresh)


def validation_task(task: Task, seed: int) -> Task:
    """The task with a split of its training part as its data, or with data drawn anew: nothing can reach what is
    counted.
    """
    fraction = FRACTION_OF_IMAGES if task.name in VISION else FRACTION
    other = replace(task)
    other.__dict__["data"] = task.fresh(seed) if task.fresh else datasets.validation_split(task.data, seed, fraction)
    return other


def twin(task: Task, seed: int, epochs: int | None = None, watch: Watch = unwatched) -> Layer:
    """The task's network, trained on its training part as the reference was on the whole; the reference where that has
    not seen the part to validate.
    """
    if task.fresh:
        return task.reference()
    np.random.seed(seed)
    model = task.build()
    if task.name in VISION:
        return trained_on_images(model, task, seed, epochs, watch)
    how = DIGITS[task.name]
    epochs = how.epochs if epochs is None else epochs
    data = TensorDataset(*task.lessons(task.data.x_train, task.data.y_train))
    schedule = CosineSchedule(how.max_lr, how.min_lr, epochs)
    trainer = Trainer(model, AdamW(model.parameters(), weight_decay=how.weight_decay), task.loss, schedule)
    batches = DataLoader(data, batch_size=how.batch_size, shuffle=True, seed=seed)
    for _ in range(epochs):
        trainer.train_epoch(batches)
    return model.eval()


def trained_on_images(model: Layer, task: Task, seed: int, epochs: int | None, watch: Watch) -> Layer:
    """A network trained as the reference of an image set was."""
    how, read = VISION[task.name], task.answering
    assert isinstance(read, Picture)
    images = read.training(task.data.x_train, task.data.y_train)
    batches, epochs = how.batches(images, seed), how.epochs if epochs is None else epochs
    net = Sequential(Flatten(), *model.layers) if read.flat and isinstance(model, Sequential) else model
    trainer = how.trainer(net, images, epochs * len(batches))
    with watch("twin") as progress:
        for _ in range(epochs):
            trainer.train_epoch(batches, watch=lambda rows, loss: progress(trainer.step, epochs * len(batches)))
    return model.eval()


def candidate(model: Layer, task: Task, recipe: Recipe, watch: Watch = unwatched) -> Layer:
    """The network after the two stages that change it."""
    context = pipeline.Context.of(task, watch=watch)
    state = pipeline.start(model, context)
    for name in ("quantize", "prune"):
        if getattr(recipe, name).enabled:
            state = pipeline.FUNCTIONS[name](state, getattr(recipe, name), context)
    return state.model


def told(model: Layer, task: Task, watch: Watch = unwatched) -> np.ndarray:
    """What a network makes of the validation part."""
    data, samples = task.data, task.answering.queries(task.data.x_test)
    arm = task.answering.candidate(model, "eager", samples[0], 1)
    with watch("validation") as progress:
        return task.metric.told(arm, samples, data.x_test, data.y_test, progress)


def trials(
    task: Task,
    tried: Sequence[Settings],
    splits: int,
    epochs: int | None = None,
    progress: Callable[[], object] = lambda: None,
    watch: Watch = unwatched,
) -> list[Trial]:
    """Every setting on every split; `progress()` is called after each pair. `epochs` shortens the twins' training."""

    def of_split(seed: int) -> Iterator[tuple[int, Quality]]:
        mine = validation_task(task, seed)
        model = twin(mine, seed, epochs, watch)
        of_twin = told(model, mine, watch)
        for settings in tried:
            made = candidate(model, mine, Recipe().updated({"prune": settings}), watch)
            quality = task.metric.quality(of_twin, told(made, mine, watch), mine.data.y_test)
            progress()
            yield size_on_disk(made), quality

    columns = [list(of_split(seed)) for seed in range(splits)]
    better = task.metric.higher_is_better
    return [
        Trial(settings, tuple(size for size, _ in row), tuple(quality for _, quality in row), better)
        for settings, row in zip(tried, zip(*columns))
    ]


def chosen(tried: Sequence[Trial]) -> Trial | None:
    """The smallest of those that pass as all milder ones do; None where there is none."""

    def milder(one: Trial, other: Trial) -> bool:
        same = {**one.settings, "amount": 0} == {**other.settings, "amount": 0}
        return same and one.settings["amount"] <= other.settings["amount"]

    safe = [trial for trial in tried if all(other.passes for other in tried if milder(other, trial))]
    return min(safe, key=lambda trial: trial.mean_bytes, default=None)
