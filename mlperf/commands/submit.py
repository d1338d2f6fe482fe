"""`python -m mlperf submit`: optimise, measure, judge, keep, show."""

from __future__ import annotations

import argparse
import getpass
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from leaderboard import Submission, default_directory, load_all, row, write
from mlperf import environment, report
from mlperf.commands.terminal import UsageError, add_command, compile_all, part, phase
from mlperf.contestant import Contestant, of_recipe
from mlperf.entries import source
from mlperf.entries.building import of_entry
from mlperf.entries.source import EntryError, Source
from mlperf.metrics import Score
from mlperf.process import steps_of
from mlperf.recipe import STAGES
from mlperf.recipe import load as load_recipe
from mlperf.submission import Division, Entry, submit
from mlperf.tasks import TASKS, find
from tinytorch.engine.dispatch import backend
from tinytorch.files import require_writable

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf submit --model cnn                     optimise, measure, enter
  python -m mlperf submit --model cnn --division open     may train: channels removed, then fine-tuned
  python -m mlperf submit --model cnn --fast              a quick try that is not ranked
  python -m mlperf submit --model cnn-cifar10             on CIFAR-10, which is downloaded unless it is here
  python -m mlperf submit --model mlp --skip prune        leave a stage out
  python -m mlperf submit --model mlp --recipe mine.toml  other settings
  python -m mlperf submit --model cnn --entry mine.py     your own code; `mlperf new mine.py` writes a first one
"""


def add_parser(commands: Commands) -> None:
    """Add `submit` to the command line."""
    entry = add_command(commands, "submit", "run the pipeline, measure, and enter the result", EXAMPLES)
    entry.add_argument("--model", required=True, metavar="MODEL", help=f"one of {', '.join(TASKS)}")
    entry.add_argument("--submitter", metavar="NAME", help="shown on the leaderboard (default: your user name)")
    entry.add_argument("--division", choices=("closed", "open", "practice"), help="default: closed")
    entry.add_argument("--threads", type=int, default=1, metavar="N", help="threads for both arms (default: 1)")
    entry.add_argument("--recipe", type=Path, metavar="FILE", help="settings of the stages, .json or .toml")
    entry.add_argument("--skip", action="append", default=[], metavar="STAGE", help=f"one of {', '.join(STAGES)}")
    entry.add_argument("--fast", action="store_true", help="measure briefly; division practice, never ranked")
    entry.add_argument("--entry", type=Path, metavar="FILE", help="your own code, a file or folder with `optimize`")
    entry.add_argument("--dry-run", action="store_true", help="do all of it, write nothing")
    entry.add_argument("--leaderboard", type=Path, metavar="DIR", help="where submissions are kept")


def entry_of(options: argparse.Namespace) -> Entry:
    """The options as an entry. Raises UsageError, UnknownTask or RecipeError before anything is measured."""
    task = find(options.model)
    own = None if options.entry is None else read_source(options)
    default = task.open_recipe if options.division == "open" else task.recipe
    recipe = default if options.recipe is None else load_recipe(options.recipe, default)
    if options.fast and options.division not in (None, "practice"):
        raise UsageError(f"--fast is always division practice; leave out --division {options.division} or --fast")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not 1 <= options.threads <= cpus:
        raise UsageError(f"--threads is {options.threads}; this process may use 1 to {cpus}")
    name = options.submitter if options.submitter is not None else user_name()
    if not 1 <= len(name) <= 200:
        raise UsageError(f"--submitter has {len(name)} characters; 1 to 200 are shown")
    division: Division = "practice" if options.fast else options.division or ("closed" if own is None else "open")
    return Entry(task, recipe.skipping(options.skip), name, division, options.threads, options.fast, own)


def read_source(options: argparse.Namespace) -> Source:
    """The student's own entry. Raises UsageError for what does not go with one and for what is wrong with it."""
    if options.division == "closed":
        raise UsageError(
            "--division closed takes recipes alone, so that all start from the given weights: an --entry is free to do "
            "anything and stands in the open division"
        )
    if options.recipe is not None or options.skip:
        raise UsageError("--entry composes the stages itself; leave out --recipe and --skip")
    try:
        return source.read(options.entry)
    except EntryError as error:
        raise UsageError(str(error)) from None


def user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return "anonymous"


def run(options: argparse.Namespace) -> int:
    """Optimise, measure, judge, keep, show. Returns the exit code."""
    load_1m = environment.load_1m()
    entry = entry_of(options)
    _ = entry.task.data  # a text may have to be fetched, or cannot be had: known before anything is compiled
    directory = options.leaderboard or default_directory()
    try:
        if not options.dry_run:
            require_writable(directory)
        backend()
        import kernels.simd  # noqa: F401  (reads KERNELS_SIMD)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None
    compile_all()
    with tempfile.TemporaryDirectory(prefix="mlperf-") as name:
        folder = Path(name)
        contestant, shown = by_recipe(entry, folder) if entry.source is None else by_source(entry, entry.source, folder)
        with phase("measure", entry.effort.workers * steps_of(entry.effort), "step") as bar:
            submission = submit(entry, contestant, folder, load_1m, lambda: bar.update())
    path = None if options.dry_run else write(submission, directory, contestant.files)
    print(shown(submission))
    print(f"\n{report.verdict(submission)}\n\n{row(submission, load_all(directory).submissions)}\n")
    if options.dry_run:
        print("A dry run: nothing was written.\n")
    print(report.last_line(submission, path), flush=True)
    return 0 if submission.validity.status == "VALID" else 1


Shown = Callable[[Submission], str]  # what a person sees of how it was made


def by_recipe(entry: Entry, folder: Path) -> tuple[Contestant, Shown]:
    """Run the pipeline."""
    from kernels.threads import set_num_threads
    from mlperf import pipeline

    set_num_threads(entry.threads, blas=entry.threads)
    with phase("pipeline", len(STAGES), "stage") as bar:

        def done(stage: str) -> None:
            bar.set_postfix_str(stage, refresh=False)
            bar.update()

        state, rows = pipeline.run(entry.task, entry.recipe, entry.threads, done, part)

    def shown(submission: Submission) -> str:
        profile = f"\nThe reference, layer by layer\n\n{report.profile_table(state.layers)}\n" if state.layers else ""
        return f"{profile}\nThe pipeline, estimated stage by stage\n\n{report.waterfall(rows, yardstick(submission))}"

    return of_recipe(entry.task, entry.recipe, state, rows, folder, entry.threads), shown


def by_source(entry: Entry, source: Source, folder: Path) -> tuple[Contestant, Shown]:
    """Build a student's own entry."""
    with phase("build the entry", 1, "entry") as bar:
        contestant = of_entry(entry.task, source, folder, entry.threads)
        bar.update()
    return contestant, lambda submission: f"\n{report.entry_waterfall(submission, yardstick(submission))}"


def yardstick(submission: Submission) -> tuple[Score, int, int]:
    """Quality, bytes and FLOPs of the reference."""
    quality, reference = submission.quality, submission.reference
    return Score(quality.ref_value, quality.n, quality.ref_correct), reference.bytes, reference.flops or 0
