"""`python -m mlperf submit`, `tune` and `list`. Progress goes to stderr, results to stdout, the last line is JSON.

Exit code 0 only for a VALID submission or settings that were found, 1 for INVALID, none found or a failed run, 2 for
something unknown or data that are not to be had, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from leaderboard import StoreError, default_directory, load_all, row, write
from mlperf import environment, report, tuning
from mlperf.harness import Progress
from mlperf.metrics import Score
from mlperf.process import WorkerError, steps_of
from mlperf.recipe import STAGES, RecipeError
from mlperf.recipe import load as load_recipe
from mlperf.submission import Division, Entry, submit
from mlperf.tasks import TASKS, UnknownTask, find
from tinytorch.datasets import DataError
from tinytorch.engine.dispatch import backend
from tinytorch.files import require_writable
from tinytorch.recipes import VISION

EXAMPLES = """examples:
  python -m mlperf list                                   the tasks
  python -m mlperf submit --model cnn                     optimise, measure, enter
  python -m mlperf submit --model cnn --division open     may train: channels removed, then fine-tuned
  python -m mlperf submit --model cnn --fast              a quick try that is not ranked
  python -m mlperf submit --model cnn-cifar10             on CIFAR-10, which is downloaded unless it is here
  python -m mlperf submit --model mlp --skip prune        leave a stage out
  python -m mlperf submit --model mlp --recipe mine.toml  other settings
  python -m mlperf tune --model cnn --division open       choose settings by validation, without the test part
"""


class UsageError(Exception):
    """Options that do not go together or name something unknown; exit code 2."""


class CommandParser(argparse.ArgumentParser):
    """Refuses what it does not know with its own usage, which lists what it does; argparse shows the outer one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m mlperf",
        description="Make a network faster without making it worse, and prove it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = command.add_subparsers(
        dest="command", required=True, metavar="{list,submit,tune}", parser_class=CommandParser
    )
    commands.add_parser("list", help="show the tasks", allow_abbrev=False)
    entry = commands.add_parser("submit", help="run the pipeline, measure, and enter the result", allow_abbrev=False)
    entry.add_argument("--model", required=True, metavar="MODEL", help=f"one of {', '.join(TASKS)}")
    entry.add_argument("--submitter", metavar="NAME", help="shown on the leaderboard (default: your user name)")
    entry.add_argument("--division", choices=("closed", "open", "practice"), help="default: closed")
    entry.add_argument("--threads", type=int, default=1, metavar="N", help="threads for both arms (default: 1)")
    entry.add_argument("--recipe", type=Path, metavar="FILE", help="settings of the stages, .json or .toml")
    entry.add_argument("--skip", action="append", default=[], metavar="STAGE", help=f"one of {', '.join(STAGES)}")
    entry.add_argument("--fast", action="store_true", help="measure briefly; division practice, never ranked")
    entry.add_argument("--leaderboard", type=Path, metavar="DIR", help="where submissions are kept")
    tuner = commands.add_parser(
        "tune", help="choose pruning by validation splits of the training part", description=tuning.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    tuner.add_argument("--model", required=True, metavar="MODEL", help=f"one of {', '.join(tuning.tunable())}")
    tuner.add_argument("--division", choices=tuple(tuning.TRIED), default="closed", help="default: closed")
    tuner.add_argument(
        "--fast", action="store_true", help="two splits at most, twins hardly trained: a try of the command"
    )
    return command


def run_tune(options: argparse.Namespace) -> int:
    """Try the settings on validation splits and show which is chosen. Returns the exit code."""
    task = find(options.model)
    if task.name not in tuning.tunable():
        raise UsageError(f"--model {task.name} has nothing to choose here; known: {', '.join(tuning.tunable())}")
    if options.division == "open" and task.answering.output_tokens is not None:
        raise UsageError(f"--division open removes channels, which --model {task.name} cannot lose; leave it out")
    tried, splits, epochs = tuning.settings_of(task, options.division), tuning.splits_of(task), None
    if options.fast:
        splits, epochs = min(splits, 2), 1 if task.name in VISION else 5
    _ = task.data  # as in run_submit
    compile_all()

    from kernels.threads import config, set_num_threads

    set_num_threads(config.NUMBA_NUM_THREADS if task.name in VISION else 1)  # small nets are trained on one
    with phase("validate", splits * len(tried), "setting") as bar:
        trials = tuning.trials(task, tried, splits, epochs, bar.update, part)
    best = tuning.chosen(trials)
    twins = ", ".join(str(Score(q.ref_value, q.n, q.ref_correct)) for q in trials[0].quality)
    print(f"\n{report.trials_table(trials, best)}\n{task.metric.name} of the twins: {twins}\n")
    line = {
        "model": task.name, "division": options.division, "fast": options.fast, "splits": splits,
        "chosen": best and best.settings, "bytes": best and round(best.mean_bytes),
        "quality": best and [q.value for q in best.quality], "twin": [q.ref_value for q in trials[0].quality],
    }  # fmt: skip
    print(json.dumps(line, separators=(",", ":")), flush=True)
    return 0 if best else 1


def entry_of(options: argparse.Namespace) -> Entry:
    """The options as an entry. Raises UsageError, UnknownTask or RecipeError before anything is measured."""
    task = find(options.model)
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
    division: Division = "practice" if options.fast else options.division or "closed"
    return Entry(task, recipe.skipping(options.skip), name, division, options.threads, options.fast)


def user_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return "anonymous"


@contextmanager
def phase(name: str, total: int, unit: str) -> Iterator[tqdm]:
    """A named phase with its progress bar on stderr."""
    with tqdm(total=total, desc=f"{name:<15}", unit=unit, file=sys.stderr, dynamic_ncols=True) as bar:
        yield bar


@contextmanager
def part(name: str) -> Iterator[Progress]:
    """What takes long within a phase, with a progress bar of its own, which is gone afterwards."""
    with tqdm(desc=f"  {name:<13}", file=sys.stderr, dynamic_ncols=True, leave=False, delay=1) as bar:

        def progress(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        yield progress


def compile_all() -> None:
    """Compile the kernels that are not in the cache yet."""
    from kernels import ahead, machine, registry

    registry.known()  # imports all kernels
    with phase("compile kernels", len(machine.KERNELS) + 1, "kernel") as bar:

        def compiled(name: str, seconds: float) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        ahead.compile_kernels(progress=compiled)


def run_submit(options: argparse.Namespace) -> int:
    """Optimise, measure, judge, keep, show. Returns the exit code."""
    load_1m = environment.load_1m()
    entry = entry_of(options)
    _ = entry.task.data  # a text may have to be fetched, or cannot be had: known before anything is compiled
    directory = options.leaderboard or default_directory()
    try:
        require_writable(directory)
        backend()
        import kernels.simd  # noqa: F401  (reads KERNELS_SIMD)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None
    compile_all()

    from kernels.threads import set_num_threads
    from mlperf import pipeline

    set_num_threads(entry.threads, blas=entry.threads)
    with phase("pipeline", len(STAGES), "stage") as bar:

        def done(stage: str) -> None:
            bar.set_postfix_str(stage, refresh=False)
            bar.update()

        state, rows = pipeline.run(entry.task, entry.recipe, entry.threads, done, part)
    with phase("measure", entry.effort.workers * steps_of(entry.effort), "step") as bar:
        submission = submit(entry, state, rows, load_1m, lambda: bar.update())
    path = write(submission, directory)
    quality, reference = submission.quality, submission.reference
    if state.layers:
        print(f"\nThe reference, layer by layer\n\n{report.profile_table(state.layers)}")
    yardstick = Score(quality.ref_value, quality.n, quality.ref_correct), reference.bytes, reference.flops or 0
    print(f"\nThe pipeline, estimated stage by stage\n\n{report.waterfall(rows, yardstick)}")
    print(f"\n{report.verdict(submission)}\n\n{row(submission, load_all(directory).submissions)}\n")
    print(report.last_line(submission, path), flush=True)
    return 0 if submission.validity.status == "VALID" else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    command = parser()
    options = command.parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if options.command == "list":
            print(report.tasks_table())
            return 0
        return run_tune(options) if options.command == "tune" else run_submit(options)
    except (UsageError, UnknownTask, RecipeError) as error:
        command.error(str(error))
    except DataError as error:
        print(f"mlperf: --model {options.model} needs data: {error}", file=sys.stderr)
        return 2
    except (StoreError, WorkerError, OSError, ValueError) as error:
        print(f"mlperf: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mlperf: stopped; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
