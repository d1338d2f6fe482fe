"""`python -m benchmarks`: progress on stderr, tables on stdout, the last line is JSON.

Exit code 0 if all targets are reached, 1 if one is missed or the run failed, 2 for wrong usage, missing peers or
missing data, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import libraries

GROUPS = ("kernels", "sparse", "inference", "training", "transformer", "overhead")
ACCURACY = "accuracy"  # only where it is asked for: it takes ten minutes or more, and CIFAR-10
GROUPS_HELP = f"of {', '.join(GROUPS)} (default: all of these), or {ACCURACY}, with the most threads asked for"
EXAMPLES = """examples:
  python -m benchmarks                              all but the race to an accuracy, some minutes
  python -m benchmarks kernels inference --quick    a first impression of two groups
  python -m benchmarks training --threads 2         one number of threads
  python -m benchmarks accuracy --plot out          CIFAR-10 to 75 %, ten minutes or more
  python -m benchmarks --json out.json --plot out   keep raw times, draw plots
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="The same work here, in PyTorch, in ONNX Runtime and in NumPy, timed in turn.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("groups", nargs="*", metavar="GROUP", help=GROUPS_HELP)
    quick = "fewer shapes, shorter blocks, no torch.compile, a short race"
    command.add_argument("--quick", action="store_true", help=quick)
    command.add_argument("--threads", default="1,2", metavar="N,N", help="numbers of threads (default: 1,2)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all times there")
    command.add_argument("--plot", type=Path, metavar="DIR", help="draw plots there")
    return command


def thread_counts(text: str) -> list[int]:
    """The numbers in `--threads`. ValueError if one is none, or more than this process has cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ValueError(f"--threads is {text!r}; give numbers with commas between them, such as 1,2") from None
    if not 1 <= counts[0] <= counts[-1] <= cores:
        raise ValueError(f"--threads is {text}; this process may use 1 to {cores}")
    return counts


def measure(groups: Sequence[str], threads: Sequence[int], quick: bool) -> list[Any]:
    """Results of all cases."""
    from importlib import import_module

    from benchmarks import accuracy, overhead
    from benchmarks.contest import FULL, QUICK, Contest

    effort, results = QUICK if quick else FULL, []
    for count in threads if set(groups) & set(GROUPS) else ():
        cases = [
            case
            for group in GROUPS if group in groups
            for case in import_module(f"benchmarks.{group}").cases(count, quick)
        ]  # fmt: skip
        with_imports = "overhead" in groups and count == threads[0]
        label, extra = f"{count} thread{'s' * (count > 1)}", with_imports * (1 + overhead.ROUNDS[quick])
        bar = tqdm(total=sum(case.rounds(effort) for case in cases) + extra, desc=label, unit="round", file=sys.stderr)
        with bar, Contest(list(libraries.FILES), count, effort) as contest:
            for case in cases:
                bar.set_postfix_str(str(case))
                results.append(contest.run(case, bar.update))
            if with_imports:
                bar.set_postfix_str("imports")
                results.append(overhead.imports(list(libraries.FILES), quick, bar.update))
    if ACCURACY in groups:
        results.append(accuracy.measure(threads[-1], quick))
    return results


def show(results: Sequence[Any], targets: Sequence[Any]) -> None:
    """Print all tables."""
    from benchmarks import sparse, table

    summaries = {sparse.GROUP: sparse.summary, ACCURACY: table.accuracy_table}
    for group in (*GROUPS, ACCURACY):
        for threads in sorted({result.threads for result in results}):
            part = [r for r in results if r.case.group == group and r.threads == threads]
            if part:
                text = summaries.get(group, table.group_table)(part)
                print(f"\n{group}, {threads} thread{'s' * (threads > 1)}\n\n{text}")
    if gains := table.cache_table(results):
        print(f"\n{gains}")
    if line := table.limits_line([result for result in results if result.threads == 1]):
        print(f"\n{line}")
    if line := table.disturbance_line(results):
        print(f"\n{line}")
    print(f"\n{table.target_table(targets)}\n")


def run(options: argparse.Namespace, threads: Sequence[int]) -> int:
    """Measure, show, keep. Returns the exit code."""
    from benchmarks import plots, table
    from benchmarks.machine import machine
    from benchmarks.targets import evaluate
    from profiler.samples import stopwatch

    took = stopwatch().start()
    results = measure(options.groups or GROUPS, threads, options.quick)
    targets = evaluate(results)
    show(results, targets)
    if options.json:
        options.json.write_text(json.dumps(table.document(results, targets, machine()), indent=1, allow_nan=False))
    if options.plot:
        for path in plots.draw(results, targets, options.plot):
            print(path)
    print(table.last_line(targets, took.seconds), flush=True)
    return 0 if targets and all(target.reached for target in targets) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from tinytorch.datasets import DataError

    command = parser()
    options = command.parse_args(argv)
    groups, known = set(options.groups or GROUPS), (*GROUPS, ACCURACY)
    if unknown := [group for group in options.groups if group not in known]:
        command.error(f"unknown group {', '.join(unknown)}; known: {', '.join(known)}")
    try:
        threads = thread_counts(options.threads)
    except ValueError as error:
        command.error(str(error))
    if absent := libraries.missing([libraries.TORCH] if groups == {ACCURACY} else libraries.FILES):
        command.error(f"the peers are missing: {', '.join(absent)}; install them with: {libraries.INSTALL}")
    try:
        return run(options, threads)
    except DataError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
