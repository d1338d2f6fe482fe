"""What a milestone claims, and one run of it: training with progress, what was measured meanwhile, plots.

Left out: the command line (`options.py`), what is printed at the end (`script.py`), and what things cost (`report.py`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tqdm import tqdm

import profiler
from profiler.clock import stopwatch
from tinytorch.core.dataloader import DataLoader
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import Trainer
from tinytorch.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from milestones.report import Study

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Claim:
    """What a script sets out to show, in words. `needs` names data that come with no package."""

    name: str
    title: str
    claim: str
    needs: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Milestone(Claim):
    """What a script claims: at least `required`, a fraction of the held-out points, after `length` epochs or steps.

    With `is_loss` it is a loss, and at most `required`. With `is_resumable` a run that was stopped is continued.
    """

    required: float
    length: int
    quick_length: int
    folder: Path
    unit: str = "epochs"  # passes over the data; or "steps", single updates
    is_loss: bool = False
    is_resumable: bool = False

    def met(self, achieved: Achievement) -> bool:
        enough = achieved.reached <= self.required if self.is_loss else achieved.reached >= self.required
        return enough and all(part.reached >= part.required for part in achieved.parts)

    def verdict(self, achieved: Achievement) -> str:
        if self.is_loss:
            return f"a loss of {achieved.reached:.4f} reached, at most {self.required:.2f} required"
        figures = [f"{achieved.reached:.2%} reached, {self.required:.0%} required"]
        figures += [f"{part.what}: {part.reached:.2%}, {part.required:.0%} required" for part in achieved.parts]
        return "; ".join(figures)


class Part(NamedTuple):
    """A fraction of some of the held-out points that is required as well."""

    what: str
    reached: float
    required: float


@dataclass(frozen=True)
class Achievement:
    """What came out: the trained model, an example input (1, ...), the figure reached, and more for the JSON line.

    `study` is what the report at the end looks at; without one there is none. `parts` are required beside `reached`.
    """

    model: Layer
    example: np.ndarray
    reached: float
    extra: dict[str, Any] = field(default_factory=dict)
    study: Study | None = None
    parts: tuple[Part, ...] = ()


@dataclass
class Curve:
    """How training by single steps went: the loss of each, and what was watched after some, by their number."""

    losses: list[float] = field(default_factory=list)
    watched: dict[int, float] = field(default_factory=dict)


@dataclass
class Run:
    """One run of a milestone: its settings, and what was measured so far.

    `steps` counts updates of all networks trained; `seconds` is what they took. `checkpoint` is the file from which the
    same run is continued if it ends before its time; with `anew` it is not.
    """

    seed: int
    length: int
    output: Path
    quick: bool = False
    anew: bool = False
    checkpoint: Path | None = None
    seconds: float = 0.0
    steps: int = 0
    peak_memory_bytes: int = 0
    plots: list[str] = field(default_factory=list)

    def train(self, trainer: Trainer, batches: DataLoader, label: str) -> list[float]:
        """Train for all epochs with a progress bar; return the mean loss of each.

        Memory is traced during the last epoch only: tracing slows Python down, and the first epoch also loads kernels.
        """
        losses, memory = [], profiler.peak_memory()
        with stopwatch() as took, tqdm(total=self.length, desc=label, unit="epoch", dynamic_ncols=True) as bar:
            for epoch in range(self.length):
                with memory if epoch == self.length - 1 else nullcontext():
                    losses.append(trainer.train_epoch(batches))
                bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
                bar.update()
        self.seconds += took.seconds
        self.steps += trainer.step
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory.peak_bytes)
        return losses

    def train_steps(
        self, trainer: Trainer, batches: Iterator[Batch], label: str, watch: Callable[[], float], every: int
    ) -> Curve:
        """Train by single steps with a progress bar, and `watch()` after every so many and at the end.

        Its time is not training. Memory is that of the last step, as of the last epoch above, and what a captured step
        holds for all of them.
        """
        curve, memory, took = Curve(), profiler.peak_memory(), stopwatch()
        with tqdm(total=self.length, desc=label, unit="step", dynamic_ncols=True) as bar:
            for step in range(1, self.length + 1):
                with took, memory if step == self.length else nullcontext():
                    curve.losses.append(trainer.train_step(*next(batches)))
                if step % every == 0 or step == self.length:
                    curve.watched[step] = watch()
                    mean = np.mean(curve.losses[-every:])
                    bar.set_postfix(loss=f"{mean:.4f}", held_out=f"{curve.watched[step]:.4f}", refresh=False)
                bar.update()
        held = 0 if trainer.captured is None else trainer.captured.arena_bytes
        self.seconds += took.seconds
        self.steps += trainer.step
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory.peak_bytes + held)
        return curve

    def save_plot(self, name: str, figure: Figure) -> None:
        """Write the figure to `output`/NAME.png, whole or not at all."""
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=130)
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"{name}.png"
        write_atomically(path, png.getvalue())
        self.plots.append(str(path))


Achieve = Callable[[Run], Achievement]


class Version(NamedTuple):
    """One way to run a script: its claim and how to get there; and what --quick does, where that is something else."""

    milestone: Milestone
    achieve: Achieve
    instead: tuple[Milestone, Achieve] | None = None

    def chosen(self, quick: bool) -> tuple[Milestone, Achieve]:
        return self.instead if quick and self.instead else (self.milestone, self.achieve)
