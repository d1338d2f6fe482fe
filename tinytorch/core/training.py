"""The training loop: Trainer.

Left out: schedules (`core.schedules`), clipping (`core.clipping`), what a checkpoint is (`core.checkpoints`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from tinytorch.core import checkpoints
from tinytorch.core.autograd import no_grad
from tinytorch.core.averaging import EMA
from tinytorch.core.clipping import clip_grad_norm, clip_grad_value, limits
from tinytorch.core.layers import Layer
from tinytorch.core.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss, log_softmax
from tinytorch.core.optimizers import Optimizer
from tinytorch.core.schedules import CosineSchedule, OneCycleSchedule
from tinytorch.core.tensor import Tensor
from tinytorch.engine import dispatch

__all__ = [
    "EMA", "BinaryCrossEntropyLoss", "CosineSchedule", "CrossEntropyLoss", "MSELoss", "NonFiniteLoss",
    "OneCycleSchedule", "Trainer", "clip_grad_norm", "clip_grad_value", "log_softmax",
]  # fmt: skip


class Captured(Protocol):
    """A training step on arrays that returns the loss, for batches that fit: `engine.step.Step`."""

    grad_clip_norm: float | None
    grad_clip_value: float | None

    @property
    def arena_bytes(self) -> int: ...

    def fits(self, x: np.ndarray, y: np.ndarray) -> bool: ...
    def __call__(self, x: np.ndarray, y: np.ndarray) -> float: ...


class NonFiniteLoss(ArithmeticError):
    """The loss became nan or infinite; the message names the step and the layer that began it."""


class Trainer:
    """Trains a model: loss_fn(model(x), y) over batches (x, y), backward, optimizer step.

    `captured`, from `tinytorch.compile_step`, takes the batches that fit it (a last, shorter one is trained eagerly,
    and so are all if gradients are accumulated). With it, a loss that is not finite is noticed after the update.
    Gradients are clipped by their joint norm or by value, at most one of them, and by a captured step likewise.
    The scheduler is asked for the rate of each epoch or, with `schedule_by="step"`, of each step; `ema`, an average of
    this model's weights, is updated after each step.
    `history` keeps train_loss, eval_loss and learning_rates, one entry an epoch.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        loss_fn: Callable[[Tensor, Tensor], Tensor],
        scheduler: Any = None,
        grad_clip_norm: float | None = None,
        captured: Captured | None = None,
        grad_clip_value: float | None = None,
        schedule_by: str = "epoch",
        ema: EMA | None = None,
    ) -> None:
        limits("Trainer", grad_clip_norm, grad_clip_value)
        asked = grad_clip_norm, grad_clip_value
        if captured is not None and (captured.grad_clip_norm, captured.grad_clip_value) != asked:
            raise ValueError(
                f"Trainer: the captured step clips gradients by norm {captured.grad_clip_norm} and value "
                f"{captured.grad_clip_value}, the trainer by {grad_clip_norm} and {grad_clip_value}; give compile_step "
                "the same limits"
            )
        if schedule_by not in ("epoch", "step"):
            raise ValueError(f'Trainer: schedule_by is {schedule_by!r}; choose "epoch" or "step"')
        if ema is not None and ema.model is not model:
            raise ValueError(
                "Trainer: ema averages another model than the one that is trained; give EMA the same model"
            )
        self.model, self.optimizer, self.loss_fn = model, optimizer, loss_fn
        self.scheduler, self.captured = scheduler, captured
        self.schedule_by, self.ema = schedule_by, ema
        self.grad_clip_norm, self.grad_clip_value = grad_clip_norm, grad_clip_value
        self.epoch = self.step = 0
        self.history: dict[str, list[float]] = {"train_loss": [], "eval_loss": [], "learning_rates": []}

    def train_epoch(
        self,
        dataloader: Iterable[tuple[Tensor, ...]],
        accumulation_steps: int = 1,
        watch: Callable[[int, float], object] | None = None,
    ) -> float:
        """One pass over the data; gradients of `accumulation_steps` batches make one step. Returns the mean loss.

        `watch` is told after each batch how many rows it had, and the mean loss of the epoch so far.
        """
        self.model.train()
        self.set_rate("epoch", self.epoch)
        total, rows, waiting = 0.0, 0, 0
        self.optimizer.zero_grad()
        for x, y in dataloader:
            if accumulation_steps == 1:
                loss = self.learn(x, y)
            else:
                loss, waiting = self.accumulate(x, y, accumulation_steps), waiting + 1
                if waiting == accumulation_steps:
                    self.update()
                    waiting = 0
            total, rows = total + loss * len(x), rows + len(x)
            if watch is not None:
                watch(len(x), total / rows)
        if waiting:
            self.update()
        mean = total / rows if rows else 0.0
        self.history["train_loss"].append(mean)
        self.history["learning_rates"].append(self.optimizer.lr)
        self.epoch += 1
        return mean

    def train_step(self, x: Tensor, y: Tensor) -> float:
        """One update by one batch, at the rate that the schedule gives for this step; returns the loss before it.

        For models that see their data once or twice, where an epoch is too long for one rate. `history` stays as it is.
        """
        if not self.model.training:
            self.model.train()
        if self.scheduler is not None:
            self.optimizer.lr = self.scheduler.get_lr(self.step)
        self.optimizer.zero_grad()
        return self.learn(x, y)

    def set_rate(self, by: str, position: int) -> None:
        """The rate of this epoch or step, if that is what the schedule goes by."""
        if self.scheduler is not None and self.schedule_by == by:
            self.optimizer.lr = self.scheduler.get_lr(position)

    def learn(self, x: Tensor, y: Tensor) -> float:
        """One update by one batch, captured where that fits; returns the loss before it."""
        if self.captured is not None and self.captured.fits(x.data, y.data):
            self.set_rate("step", self.step)
            loss = self.captured(x.data, y.data)
            self.check_finite(loss, x)
            self.stepped()
            return loss
        loss = self.accumulate(x, y)
        self.update()
        return loss

    def accumulate(self, x: Tensor, y: Tensor, batches: int = 1) -> float:
        """Add the gradients of one of so many batches; returns its loss."""
        loss = self.loss_fn(self.model(x), y)
        self.check_finite(loss.item(), x)
        (loss if batches == 1 else loss / batches).backward()
        return loss.item()

    def update(self) -> None:
        """Clip if asked to, step, forget the gradients."""
        self.set_rate("step", self.step)
        if self.grad_clip_norm is not None:
            clip_grad_norm(self.optimizer.params, self.grad_clip_norm)
        if self.grad_clip_value is not None:
            clip_grad_value(self.optimizer.params, self.grad_clip_value)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.stepped()

    def stepped(self) -> None:
        """Count a step that was taken, and average the weights that came of it."""
        self.step += 1
        if self.ema is not None:
            self.ema.update()

    def evaluate(self, dataloader: Iterable[tuple[Tensor, ...]]) -> tuple[float, float]:
        """(mean loss, accuracy) without training.

        A prediction is the largest of several outputs, or whether a single output is above one half.
        """
        mode = self.model.training
        self.model.eval()
        total, correct, rows = 0.0, 0, 0
        with no_grad():
            for x, y in dataloader:
                out = self.model(x)
                total += self.loss_fn(out, y).item() * len(x)
                rows += len(x)
                single = out.ndim < 2 or out.shape[1] == 1
                predicted = out.data > 0.5 if single else out.data.argmax(1)
                correct += int((predicted.reshape(len(x), -1) == y.data.reshape(len(x), -1)).all(1).sum())
        self.model.train(mode)
        mean = total / rows if rows else 0.0
        self.history["eval_loss"].append(mean)
        return mean, correct / rows if rows else 0.0

    def check_finite(self, loss: float, x: Tensor) -> None:
        """Stop where training has broken down, and say where it began."""
        if not math.isfinite(loss):
            raise NonFiniteLoss(
                f"train: the loss is {loss} at step {self.step} (epoch {self.epoch}): "
                f"{self.first_broken_layer(x)}; lower the learning rate, clip gradients, or look at the data"
            )

    def first_broken_layer(self, x: Tensor) -> str:
        """Runs the model once more on x, watching for the first result that is not finite."""
        if not np.isfinite(x.data).all():
            return "the input already contains nan or infinity"
        for name, parameter in self.model.named_parameters():
            if not np.isfinite(parameter.data).all():
                return f"parameter {name} contains nan or infinity"
        names = {id(layer): name for name, layer in self.model.named_modules()}
        found: list[str] = []

        def look(event: dispatch.Event) -> None:
            if not found and not np.isfinite(event.out).all():
                found.append(
                    f"layer {names.get(id(event.scope)) or 'model'} ({event.op.name}) gives the first nan or infinity"
                )

        with dispatch.watch(look), no_grad():
            self.model(x)
        return found[0] if found else "all layers are finite, so it is the loss function itself"

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        loader: Iterable[tuple[Tensor, ...]],
        epochs: int,
        *,
        checkpoint: str | os.PathLike | None = None,
        resume: bool = False,
        after_epoch: Callable[[Trainer], None] | None = None,
        watch: Callable[[int, float], None] | None = None,
    ) -> None:
        """Train until `epochs` epochs are done in all; `watch` as in `train_epoch`.

        After each, `after_epoch(self)` is called, to evaluate, say, and then everything is written to the file
        `checkpoint`, whole or not at all. With `resume`, training first goes on from that file, if there is one: the
        same call begins and, however it was stopped, continues, and the weights are those of a run never stopped.
        """
        if checkpoint is not None:
            os.makedirs(os.path.dirname(os.path.abspath(checkpoint)), exist_ok=True)
            if resume and os.path.exists(checkpoint):
                self.load_checkpoint(checkpoint, loader)
        elif resume:
            raise ValueError("Trainer.fit: resume needs to know from where; give it checkpoint, the path of a file")
        while self.epoch < epochs:
            self.train_epoch(loader, watch=watch)
            if after_epoch is not None:
                after_epoch(self)
            if checkpoint is not None:
                self.save_checkpoint(checkpoint, loader)

    def save_checkpoint(self, path: str | os.PathLike, loader: Iterable[tuple[Tensor, ...]] | None = None) -> None:
        """Write everything that going on bit by bit needs to one safetensors file, whole or not at all.

        That is: weights, buffers, moments, rate and position of the schedule, history, average, random states of layers
        and of NumPy, and the state of the loader, if it is given. To be called between epochs.
        """
        checkpoints.save(path, self.parts(loader))

    def load_checkpoint(self, path: str | os.PathLike, loader: Iterable[tuple[Tensor, ...]] | None = None) -> None:
        """Continue from `save_checkpoint`; a damaged or foreign file raises WeightsError and changes nothing."""
        checkpoints.load(path, self.parts(loader))

    def parts(self, loader: Any) -> dict[str, checkpoints.Part]:
        """What has a state."""
        if self.ema is not None and self.ema.is_applied:
            raise RuntimeError(
                "checkpoint: inside `with ema.applied()` the model has the averaged weights, not its own; do it outside"
            )
        known = {id(p) for p in self.model.parameters()}
        if any(id(p) not in known for p in self.optimizer.params):
            raise ValueError(
                "checkpoint: the optimizer trains parameters that are not the model's and would be lost; make them "
                "part of the model"
            )
        parts: dict[str, checkpoints.Part] = {
            "progress": checkpoints.Progress(self), "model": self.model, "optimizer": self.optimizer,
            "random": checkpoints.RandomStates(self.model),
        }  # fmt: skip
        if self.ema is not None:
            parts["average"] = self.ema
        if hasattr(loader, "state_dict"):
            parts["loader"] = loader
        elif not isinstance(loader, Sequence | None):
            raise TypeError(
                f"checkpoint: loader is a {type(loader).__name__}, of which nobody knows where it stands; give a "
                "DataLoader, a list of batches, or something with state_dict() and load_state_dict()"
            )
        return parts
