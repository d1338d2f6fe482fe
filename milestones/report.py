"""What every milestone script shares: options, training with progress, figures, plots, JSON line and exit code.

A script says what it claims (`Milestone`) and how it gets there (a function from `Run` to `Achievement`); `main` does
the rest. Left out: how the plots are drawn (`plots.py`) and how costs are measured (`profiler`).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

import profiler
from tinytorch import weights
from tinytorch.core.dataloader import DataLoader
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import NonFiniteLoss, Trainer
from tinytorch.engine.dispatch import backend
from tinytorch.files import require_writable, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor]

REFERENCES = Path(__file__).parents[1] / "mlperf" / "references"  # the weights that the competition's tasks start from

EXIT_CODES = "exit code: 0 the claim is met, 1 it is not or the run failed, 2 wrong options, 130 after Ctrl-C"


@dataclass(frozen=True)
class Milestone:
    """What a script claims: at least `required`, a fraction of the held-out points, after `length` epochs or steps.

    With `is_loss` it is a loss, and at most `required`.
    """

    name: str
    title: str
    claim: str
    required: float
    length: int
    quick_length: int
    folder: Path
    unit: str = "epochs"  # passes over the data; or "steps", single updates
    is_loss: bool = False

    def met(self, reached: float) -> bool:
        return reached <= self.required if self.is_loss else reached >= self.required

    def verdict(self, reached: float) -> str:
        if self.is_loss:
            return f"a loss of {reached:.4f} reached, at most {self.required:.2f} required"
        return f"{reached:.2%} reached, {self.required:.0%} required"


@dataclass(frozen=True)
class Achievement:
    """What came out: the trained model, an example input (1, ...), the figure reached, and more for the JSON line."""

    model: Layer
    example: np.ndarray
    reached: float
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Curve:
    """How training by single steps went: the loss of each, and what was watched after some, by their number."""

    losses: list[float] = field(default_factory=list)
    watched: dict[int, float] = field(default_factory=dict)


@dataclass
class Run:
    """One run of a milestone: its settings, and what was measured so far."""

    seed: int
    length: int
    output: Path
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    plots: list[str] = field(default_factory=list)

    def train(self, trainer: Trainer, batches: DataLoader, label: str) -> list[float]:
        """Train for all epochs with a progress bar; return the mean loss of each.

        Memory is traced during the last epoch only: tracing slows Python down, and the first epoch also loads kernels.
        """
        start, losses, memory = perf_counter(), [], profiler.peak_memory()
        with tqdm(total=self.length, desc=label, unit="epoch", dynamic_ncols=True) as bar:
            for epoch in range(self.length):
                with memory if epoch == self.length - 1 else nullcontext():
                    losses.append(trainer.train_epoch(batches))
                bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
                bar.update()
        self.seconds += perf_counter() - start
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory.peak_bytes)
        return losses

    def train_steps(
        self, trainer: Trainer, batches: Iterator[Batch], label: str, watch: Callable[[], float], every: int
    ) -> Curve:
        """Train by single steps with a progress bar, and `watch()` after every so many and at the end.

        Its time is not training. Memory is that of the last step, as of the last epoch above, and what a captured step
        holds for all of them.
        """
        curve, memory, start = Curve(), profiler.peak_memory(), perf_counter()
        with tqdm(total=self.length, desc=label, unit="step", dynamic_ncols=True) as bar:
            for step in range(1, self.length + 1):
                with memory if step == self.length else nullcontext():
                    curve.losses.append(trainer.train_step(*next(batches)))
                if step % every == 0 or step == self.length:
                    self.seconds += perf_counter() - start
                    curve.watched[step] = watch()
                    mean = np.mean(curve.losses[-every:])
                    bar.set_postfix(loss=f"{mean:.4f}", held_out=f"{curve.watched[step]:.4f}", refresh=False)
                    start = perf_counter()
                bar.update()
        held = 0 if trainer.captured is None else trainer.captured.arena_bytes
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


def main(
    milestone: Milestone,
    achieve: Achieve,
    argv: Sequence[str] | None = None,
    instead: tuple[Milestone, Achieve] | None = None,
) -> int:
    """Run a milestone as its script would; return the exit code. With --quick, `instead` is run, if it is given."""
    options = parsed(milestone, argv, instead[0] if instead else milestone)
    if options.quick and instead:
        milestone, achieve = instead
    run = Run(options.seed, options.length or (milestone.quick_length if options.quick else milestone.length),
              options.output)  # fmt: skip
    try:
        print(f"{milestone.title}\n{milestone.claim}", flush=True)
        achieved = achieve(run)
        met = milestone.met(achieved.reached)
        saved = saved_weights(achieved.model, options.save) if options.save and met else {}
        if options.save and not met:
            print(f"  {'weights':<12} not written, since the claim is not met")
        finish(milestone, run, achieved, met, options.quick, saved)
    except KeyboardInterrupt:
        print(f"\n{milestone.name}: interrupted, nothing half written", file=sys.stderr)
        return 130
    except (NonFiniteLoss, OSError) as error:
        print(f"\n{milestone.name}: {error}", file=sys.stderr)
        return 1
    return 0 if met else 1


def parsed(milestone: Milestone, argv: Sequence[str] | None, quick: Milestone) -> argparse.Namespace:
    """The options; wrong ones end the program with exit code 2 before anything is trained."""
    what = "train" if quick is milestone else f"do another task, {quick.name}, which needs no download, and train"
    parser = argparse.ArgumentParser(
        description=f"{milestone.title}. {milestone.claim}",
        epilog=EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="of first weights and batches' order")
    parser.add_argument(
        f"--{milestone.unit}", dest="length", type=whole(1), metavar="N",
        help=f"how many {milestone.unit} to train (default: {milestone.length})",
    )  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{what} for {quick.quick_length} {quick.unit} only; the same figure is required and decides the exit "
        "code, but a miss then says nothing about the claim",
    )
    parser.add_argument(
        "--output", type=writable, metavar="DIR", default=milestone.folder / "output", help="where plots are written"
    )
    parser.add_argument(
        "--save",
        type=Path,
        nargs="?",
        const=REFERENCES,
        metavar="FILE",
        help="write the weights if the claim is met (FILE left out: the competition's reference of this checkout)",
    )
    options = parser.parse_args(argv)
    try:
        backend()
    except ValueError as error:
        parser.error(str(error))
    if options.save == REFERENCES:
        options.save /= f"{(quick if options.quick else milestone).name}.safetensors"
    if options.save and not options.save.parent.is_dir():
        parser.error(f"argument --save: {options.save.parent} is no directory; choose one that exists")
    return options


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads an integer within limits."""

    def read(text: str) -> int:
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}") from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value} is not {limits}")
        return value

    return read


def writable(text: str) -> Path:
    """Reads a directory that can be written to, or that can be made."""
    try:
        require_writable(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def saved_weights(model: Layer, path: Path) -> dict[str, str]:
    """Write the weights; where they are and their digest, for the JSON."""
    weights.save(model, path)
    return {"weights": str(path), "weights_sha256": weights.sha256(path)}


def finish(
    milestone: Milestone, run: Run, achieved: Achievement, met: bool, quick: bool, saved: dict[str, str]
) -> None:
    """Print the figures, the verdict, and the JSON line."""
    parameters, flops = profiler.parameters(achieved.model), profiler.flops(achieved.model, achieved.example)
    print(f"  {'parameters':<12} {parameters:,}")
    print(f"  {'FLOPs':<12} {flops:,} for one forward pass of one example")
    print(f"  {'peak memory':<12} {run.peak_memory_bytes / 1024:,.0f} KiB while training")
    print(f"  {'training':<12} {run.seconds:.2f} s, {run.length} {milestone.unit}, seed {run.seed}")
    for plot in run.plots:
        print(f"  {'plot':<12} {plot}")
    for key, value in saved.items():
        print(f"  {key.replace('_', ' '):<12} {value}")
    verdict = "met" if met else "NOT met"
    after = f" after {run.length} {milestone.unit} (--quick)" if quick else ""
    print(f"claim {verdict}{after}: {milestone.verdict(achieved.reached)}")
    line = {
        "milestone": milestone.name,
        "claim": milestone.claim,
        "required": milestone.required,
        "reached": round(achieved.reached, 6),
        "met": met,
        "seed": run.seed,
        milestone.unit: run.length,
        "quick": quick,
        "seconds": round(run.seconds, 3),
        "parameters": parameters,
        "flops": flops,
        "peak_memory_bytes": run.peak_memory_bytes,
        "plots": run.plots,
        **achieved.extra,
        **saved,
    }
    print(json.dumps(line, separators=(",", ":")), flush=True)
