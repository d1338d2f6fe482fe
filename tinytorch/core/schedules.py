"""Learning-rate schedules: functions of the epoch, or of the step where a rate changes with every update.

A schedule keeps no position of its own (`Trainer` knows it), so there is nothing of it to save. Left out: schedules
that look at the loss, and momentum that moves against the rate.
"""

from __future__ import annotations

import math

ANNEALS = ("cos", "linear")


class CosineSchedule:
    """Learning rate falling from max_lr to min_lr along half a cosine. Loshchilov and Hutter 2017, section 3.

    With `warmup` it first grows in a straight line, so that epoch warmup - 1 is the first with max_lr (Goyal et al.
    2017, section 2.2). Where rates change with every step (`Trainer(schedule_by="step")`), all epochs here are steps.
    """

    def __init__(self, max_lr: float = 0.1, min_lr: float = 0.01, total_epochs: int = 100, warmup: int = 0) -> None:
        if total_epochs < 1:
            raise ValueError(f"CosineSchedule: total_epochs is {total_epochs}, it must be at least 1")
        if not 0 <= warmup < total_epochs:
            raise ValueError(
                f"CosineSchedule: warmup is {warmup}, it must be from 0 to {total_epochs - 1}: an epoch at least is "
                "left for the cosine"
            )
        self.max_lr, self.min_lr, self.total_epochs, self.warmup = max_lr, min_lr, total_epochs, warmup

    def get_lr(self, epoch: float) -> float:
        """Rate for an epoch; past the last one, min_lr."""
        if epoch < self.warmup:
            return self.max_lr * (epoch + 1) / self.warmup
        progress = min((epoch - self.warmup) / (self.total_epochs - self.warmup), 1.0)
        return between(self.max_lr, self.min_lr, progress, "cos")


class OneCycleSchedule:
    """Up from max_lr / div_factor to max_lr, then down to 1 / final_div_factor of the start. Smith and Topin 2019.

    The names and the values are those of PyTorch's OneCycleLR with two phases: the first `pct_start` of all steps
    rise, step total_steps - 1 has the last and smallest rate, both legs along half a cosine or in a straight line.
    Meant for `Trainer(schedule_by="step")`.
    """

    def __init__(
        self,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        if total_steps < 1:
            raise ValueError(f"OneCycleSchedule: total_steps is {total_steps}, it must be at least 1")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleSchedule: pct_start is {pct_start}, a share of all steps: choose it from 0 to 1")
        if anneal not in ANNEALS:
            raise ValueError(f"OneCycleSchedule: anneal is {anneal!r}; choose one of {', '.join(ANNEALS)}")
        if not (div_factor > 0 and final_div_factor > 0):
            raise ValueError(
                f"OneCycleSchedule: div_factor {div_factor} and final_div_factor {final_div_factor} must be positive"
            )
        self.max_lr, self.total_steps, self.pct_start, self.anneal = max_lr, total_steps, pct_start, anneal
        self.initial_lr = max_lr / div_factor
        self.min_lr = self.initial_lr / final_div_factor

    def get_lr(self, step: float) -> float:
        """Rate for a step; past the last one, the smallest."""
        peak, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        step = min(step, last)
        if step < peak:
            return between(self.initial_lr, self.max_lr, step / peak, self.anneal)
        return between(self.max_lr, self.min_lr, (step - peak) / (last - peak) if step > peak else 0.0, self.anneal)


def between(start: float, end: float, progress: float, anneal: str) -> float:
    """From start at progress 0 to end at 1, in a straight line or along half a cosine."""
    if anneal == "linear":
        return start + (end - start) * progress
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
