"""`python -m mlperf duel A B`: two contestants head to head, in turn in the same processes, on the same queries.

Each of six fresh processes gives a median of how many times as long A takes as B. `ratio` is the median of the six, its
bounds are the least and the greatest: if both were equally quick, each would lie above 1 as often as below, so that all
six are on the same side in 2 of 64 duels. A duel of something with itself is a tie in the other 96.9 %.

A and B are submissions (with the files beside them), entries (.py or a folder) or recipes (.toml or .json).
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tabulate import tabulate

from leaderboard import Blocks, Submission
from leaderboard.derive import pair_median
from leaderboard.proof import prove_file
from leaderboard.text import inert
from mlperf.commands.terminal import UsageError, add_command, compile_all, part, phase
from mlperf.confinement.limits import ENTRY
from mlperf.confinement.sandbox import available, locked_up
from mlperf.contestant import Making, of_recipe
from mlperf.entries import source
from mlperf.entries.building import of_entry
from mlperf.harness import PRACTICE, RANKED, Effort
from mlperf.metrics import Score
from mlperf.process import Report, steps_of
from mlperf.recipe import load as load_recipe
from mlperf.replays.inspection import travelled
from mlperf.replays.replay import Secret, again
from mlperf.replays.verifying import subject_of
from mlperf.sources import places
from mlperf.submission import Conditions, ask_workers, write_samples
from mlperf.tasks import TASKS, Task, find

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf duel A.json B.json                     which of two submissions is quicker
  python -m mlperf duel mine.py A.json                    an entry against a submission
  python -m mlperf duel one.toml two.toml --model cnn     two recipes
"""
WORKERS = 6
FACTORY = "mlperf.rivals:pair"


class Rival(NamedTuple):
    """One of the two: how workers make it, and what it takes on disk."""

    making: Making
    bytes: int


class Outcome(NamedTuple):
    """How many times as long A takes as B, with bounds, and the quality of both."""

    ratio: float
    ratio_lo: float
    ratio_hi: float
    a: Score
    b: Score

    @property
    def verdict(self) -> str:
        return "B faster" if self.ratio_lo > 1 else "A faster" if self.ratio_hi < 1 else "tie"


def add_parser(commands: Commands) -> None:
    """Add `duel` to the command line."""
    command = add_command(commands, "duel", "two submissions, entries or recipes head to head", EXAMPLES, __doc__)
    command.add_argument("a", type=Path, metavar="A")
    command.add_argument("b", type=Path, metavar="B")
    command.add_argument("--model", metavar="MODEL", help="the task, unless a submission names it")
    command.add_argument("--threads", type=int, metavar="N", help="for both (default: the submissions', else 1)")
    command.add_argument("--no-sandbox", action="store_true", help="run foreign code with limits alone")
    command.add_argument("--fast", action="store_true", help="short blocks: a quick try, with wider bounds")


def run(options: argparse.Namespace) -> int:
    """Make both, let them run in turn, say who is quicker."""
    sandboxed = not options.no_sandbox
    if sandboxed and (why := available()):
        raise UsageError(why)
    given = {path: submitted(path) for path in (options.a, options.b)}
    task, threads = agreed(given, options)
    _ = task.data  # known before anything is compiled whether they are to be had
    effort = replace(PRACTICE if options.fast else RANKED, workers=WORKERS, queries=0)
    compile_all()
    with tempfile.TemporaryDirectory(prefix="mlperf-") as name:
        folders = [Path(name, which) for which in "ab"]
        for folder in folders:
            folder.mkdir()
        rivals = [
            rival(task, path, given[path], folder, threads, sandboxed)
            for path, folder in zip((options.a, options.b), folders)
        ]
        with phase("duel", effort.workers * steps_of(effort), "step") as bar:
            found = fight(task, rivals[0], rivals[1], threads, effort, Path(name), sandboxed, bar)
    print(table(options, found, rivals))
    print(f"\n{sentence(found)}\n")
    print(last_line(task, found, rivals), flush=True)
    return 0


def submitted(path: Path) -> Submission | None:
    """The submission in a file; None for a recipe or an entry. Raises UsageError for what is none of them."""
    if not path.exists():
        raise UsageError(f"no file {path}: name a submission, an entry (.py or a folder) or a recipe (.toml or .json)")
    if path.suffix != ".json":
        return None
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise UsageError(f"{path}: neither a submission nor a recipe: {error}") from None
    if not isinstance(content, dict) or "submission_id" not in content:
        return None
    submission, faults = prove_file(path)
    if submission is None:
        raise UsageError(f"{path}: {'; '.join(f'{code}: {reason}' for code, reason in faults)}")
    wrong = [check for check in travelled(subject_of(path, submission)) if not check.passed]
    if wrong:
        raise UsageError(f"{path}: {'; '.join(f'{check.code}: {check.measured}' for check in wrong)}")
    return submission


def agreed(given: dict[Path, Submission | None], options: argparse.Namespace) -> tuple[Task, int]:
    """The task and the threads that both have in common. Raises UsageError where they have none."""
    known = [submission for submission in given.values() if submission is not None]
    models = {submission.model for submission in known} | ({options.model} if options.model else set())
    if len(models) != 1:
        why = "they are for " + " and ".join(sorted(models)) if models else "no submission names it"
        raise UsageError(f"a duel needs one model, and {why}; name it with --model, one of {', '.join(TASKS)}")
    counts = {submission.threads for submission in known} if options.threads is None else {options.threads}
    if len(counts) > 1:
        raise UsageError(f"measured with {' and '.join(map(str, sorted(counts)))} threads; choose with --threads N")
    return find(models.pop()), counts.pop() if counts else 1


def rival(task: Task, path: Path, submission: Submission | None, folder: Path, threads: int, sandboxed: bool) -> Rival:
    """Make a contestant of what a path holds."""
    if submission is not None:
        subject = subject_of(path, submission.model_copy(update={"threads": threads}))
        return Rival(again(subject, folder), submission.candidate.bytes_stored)
    if path.is_dir() or path.suffix == ".py":
        with phase(f"build {path.stem[:8]}", 1, "entry") as bar:
            made = of_entry(task, source.read(path), folder, threads, sandboxed)
            bar.update()
        return Rival(made.making, made.candidate.bytes_stored)
    from kernels.threads import set_num_threads
    from mlperf import pipeline

    recipe = load_recipe(path, task.recipe)
    set_num_threads(threads, blas=threads)
    with phase(f"make {path.stem[:9]}", len(pipeline.STAGES), "stage") as bar:
        state, rows = pipeline.run(task, recipe, threads, lambda stage: bar.update(), part)
    made = of_recipe(task, recipe, state, rows, folder, threads)
    return Rival(made.making, made.candidate.bytes_stored)


def fight(
    task: Task, a: Rival, b: Rival, threads: int, effort: Effort, folder: Path, sandboxed: bool, bar: Any
) -> Outcome:
    """Measure both in turn, in fresh processes."""
    data = task.data
    samples = write_samples(folder / "samples.npz", task, data.x_test, data.y_test)
    sides = {name: {"factory": one.making.factory, "arguments": dict(one.making.arguments)} for name, one in
             (("one", a), ("other", b))}  # fmt: skip
    making = Making(FACTORY, sides, ENTRY)
    seeds = Secret().seeds(None).model_copy(update={"audit": None})
    how = Conditions(effort, threads, seeds, sandbox=locked_up([folder], places(task.dataset)) if sandboxed else None)
    reports = ask_workers(making, samples, how, bar.update)
    medians = [pair_median(Blocks(**{name: report.worker[name] for name in Blocks.model_fields})) for report in reports]
    return Outcome(
        math.exp(median(medians)), math.exp(min(medians)), math.exp(max(medians)),
        worst(task, reports, "ref_told"), worst(task, reports, "opt_told"),
    )  # fmt: skip


def worst(task: Task, reports: list[Report], arm: str) -> Score:
    """Quality on the whole test set, from the worker in which it was least."""
    told = [np.asarray(getattr(report, arm)) for report in reports]
    return task.metric.score(told[task.metric.worst(told, task.data.y_test)], task.data.y_test)


def table(options: argparse.Namespace, found: Outcome, rivals: list[Rival]) -> str:
    rows = [
        (which, inert(str(path)), str(score), f"{one.bytes:,}")
        for which, path, score, one in zip("AB", (options.a, options.b), (found.a, found.b), rivals)
    ]
    return tabulate(rows, ("", "contestant", "quality", "bytes"), colalign=("left", "left", "right", "right"))


def sentence(found: Outcome) -> str:
    """The verdict in words."""
    bounds = f"A takes {found.ratio:.4g} times as long as B ({found.ratio_lo:.4g} to {found.ratio_hi:.4g})"
    return f"{bounds}: {found.verdict}"


def last_line(task: Task, found: Outcome, rivals: list[Rival]) -> str:
    """One compact JSON object with what a program wants to know."""
    line = {
        "model": task.name, "verdict": found.verdict, "ratio": found.ratio, "ratio_lo": found.ratio_lo,
        "ratio_hi": found.ratio_hi, "quality": {"a": found.a.value, "b": found.b.value},
        "bytes": {"a": rivals[0].bytes, "b": rivals[1].bytes},
    }  # fmt: skip
    return json.dumps(line, separators=(",", ":"), allow_nan=False)
