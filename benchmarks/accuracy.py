"""A race to an accuracy: the CIFAR-10 net trained by one recipe here and in eager PyTorch, from the same first weights.

Both train in turns of a tenth of an epoch, one while the other sleeps, so that what disturbs the machine hits both
alike; after each epoch both are tested on the whole test part, outside of the time that counts. Both train to the
recipe's end, which was chosen without the test part. Counted are the seconds until an epoch's test first reaches the
goal; and, since a hair of accuracy moves that by an epoch, the seconds of each epoch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from tqdm import tqdm

from benchmarks.accuracy_work import Lap, Training
from benchmarks.contest import FULL, Case, Contest, Contestant, Result, Spread
from benchmarks.libraries import OURS, TORCH
from profiler.samples import turns
from tinytorch import datasets
from tinytorch.datasets.download import VARIABLE
from tinytorch.recipes import VISION

GROUP = "accuracy"
LIBRARIES = (OURS, TORCH)
NET, GOAL = "cnn-cifar10", 0.75
CAPTURED, TORCH_EAGER = Contestant(OURS, "captured"), Contestant(TORCH, "eager")


@dataclass
class Race(Result):
    """`times_ns` has an entry for each epoch, and so has `laps`."""

    laps: dict[str, list[Lap]] = field(default_factory=dict)

    @property
    def training(self) -> Training:
        return training(self.case)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """For each epoch, ns of training up to its end, and the accuracy then."""
        accuracies = [lap.accuracy for lap in self.laps.get(name, ())]
        return list(zip(accumulate(self.times_ns.get(name, ())), accuracies))

    def reached(self, name: str) -> tuple[int, float] | None:
        """The first epoch, counted from 1, at whose end the goal is reached, and ns of training until then."""
        goal = self.training.goal
        for epoch, (ns, accuracy) in enumerate(self.curve(name), 1):
            if goal is not None and accuracy >= goal:
                return epoch, ns
        return None

    def told(self) -> dict[str, Any]:
        """What the document has beside what it has of any result."""
        return {"laps": {name: [lap._asdict() for lap in laps] for name, laps in self.laps.items()}}

    def start_ns(self, name: str) -> int:
        """Before the first epoch."""
        return self.laps[name][-1].start_ns


def time_to_goal(result: Result) -> Spread | None:
    """PyTorch's time until the goal over ours, without and with what comes before the first epoch: the two ends.

    None where one of them does not reach it: then it is not known how much longer it would take.
    """
    if not isinstance(result, Race):
        return None
    slower, quicker = result.reached(str(TORCH_EAGER)), result.reached(str(CAPTURED))
    if slower is None or quicker is None:
        return None
    (_, theirs), (_, ours) = slower, quicker
    ratio = theirs / ours
    whole = (theirs + result.start_ns(str(TORCH_EAGER))) / (ours + result.start_ns(str(CAPTURED)))
    return Spread(ratio, min(ratio, whole), max(ratio, whole))


def case(quick: bool) -> Case:
    """The whole training; quick, two epochs of a tenth of the images, which reach nothing."""
    folder = os.environ.get(VARIABLE) or None  # the contest's processes have no variable of the user's
    work = Training(NET, VISION[NET].epochs, goal=GOAL, folder=folder)
    if quick:
        work = replace(work, epochs=2, images=5_000, tested=1_000, goal=None)
    return Case(GROUP, work, (CAPTURED, TORCH_EAGER), reference=TORCH_EAGER)


def measure(threads: int, quick: bool) -> Race:
    """Run the race, with a bar on stderr. OSError where there is no CIFAR-10, with what to do."""
    asked = case(quick)
    work = training(asked)
    datasets.cifar10()  # decoded and kept before the others start, where a message can be shown
    label = f"{NET}, {threads} thread{'s' * (threads > 1)}"
    bar = tqdm(total=work.epochs * work.turns, desc=label, unit="turn", file=sys.stderr, dynamic_ncols=True)
    with bar, Contest(LIBRARIES, threads, FULL) as contest:
        return run(contest, asked, bar)


def run(contest: Contest, asked: Case, bar: tqdm) -> Race:
    """Compare the first losses, then let both train. The bar is moved with each turn of both."""
    work, result = training(asked), Race(asked, contest.threads)
    bar.set_postfix_str("getting ready")
    entered = contest.enter(asked, result)
    if result.failed:
        return result  # a race of one is not worth its minutes
    bar.set_postfix_str("epoch 1")
    bar.unpause()  # what is left is told from the turns alone
    for epoch in range(work.epochs):
        watch, times = contest.watch(), dict.fromkeys(entered, 0.0)
        for order in turns(entered, work.turns):
            for each in order:
                times[each] += contest.processes[each.package].ask("block", each.variant, 1, False)
            bar.update()
        result.others_cores.append(watch.lap())
        for each, ns in times.items():
            result.times_ns.setdefault(str(each), []).append(ns)
            result.laps.setdefault(str(each), []).append(contest.processes[each.package].ask("tell", each.variant))
        bar.set_postfix_str(standing(result, epoch + 1))
    return result


def training(asked: Case) -> Training:
    """The work of a race. TypeError for a case of another kind."""
    if not isinstance(asked.work, Training):
        raise TypeError(f"accuracy: {asked} is no training")
    return asked.work


def standing(result: Race, epochs: int) -> str:
    """How it goes, in a few words."""
    return ", ".join([f"epochs {epochs}", *(f"{name} {laps[-1].accuracy:.1%}" for name, laps in result.laps.items())])


def races(results: Sequence[Result]) -> list[Race]:
    return [result for result in results if isinstance(result, Race)]
