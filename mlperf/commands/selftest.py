"""`python -m mlperf selftest`: what the harness finds where the answer is known. A cheat must be caught, the honest
must pass, the reference must be as quick as itself, and the harness must cost next to nothing.

Every run goes the way of a submission: the same processes, blocks, audits and rules, with less effort where it says so.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tabulate import tabulate

from kernels.threads import set_num_threads
from leaderboard import Seeds, Submission
from leaderboard.derive import pair_median
from leaderboard.measured import Blocks
from mlperf import environment
from mlperf.commands.terminal import UsageError, add_command, compile_all, phase
from mlperf.confinement.attacked import ATTACKS, GUARDS, rows
from mlperf.confinement.hearing import Refused, Report
from mlperf.confinement.sandbox import bubblewrap
from mlperf.contestant import Making, of_recipe
from mlperf.entries import source
from mlperf.entries.building import of_entry
from mlperf.entries.cheats import CHEATS, FOLDER, Cheat
from mlperf.harness import PRACTICE, RANKED, Arm, Effort
from mlperf.submission import Conditions, Entry, ask_workers, submit, write_samples
from mlperf.tasks import Task, find
from mlperf.worker import Pair

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf selftest cheats                        planted cheats, each 20 times
  python -m mlperf selftest honest --runs 5               honest models, which must pass
  python -m mlperf selftest aa --model cnn                the reference against itself, 40 ranked runs
  python -m mlperf selftest overhead                      what the harness adds to a query
  python -m mlperf selftest sandbox                       attacks on this machine, with limits and in the sandbox
"""
RUNS = {"cheats": 20, "honest": 20, "aa": 40, "overhead": 5, "sandbox": 1}
EMBEDDED = ("perceptron", "xor", "mlp", "cnn", "transformer")
HONEST_ENTRY = FOLDER / "none.py"
LOW, HIGH, SHARE = 0.98, 1.02, 0.95  # the reference by itself lies within these, in so many of the runs


class Line(NamedTuple):
    """One row of a table: its cells, and whether it is as it should be."""

    cells: tuple[str, ...]
    passed: bool
    document: dict[str, Any]


def add_parser(commands: Commands) -> None:
    """Add `selftest` to the command line."""
    command = add_command(commands, "selftest", "try the harness on what is known", EXAMPLES, about=__doc__)
    command.add_argument("what", choices=tuple(RUNS), help="which test")
    command.add_argument("--runs", type=int, metavar="N", help="how often (default: 20; aa 40, overhead 5, sandbox 1)")
    command.add_argument("--model", action="append", metavar="MODEL", help="only this model (may be said again)")
    command.add_argument("--cheat", action="append", metavar="NAME", help="only this cheat (may be said again)")


def run(options: argparse.Namespace) -> int:
    """Do a test and print its table. Returns 1 if something is not as it should be."""
    runs = RUNS[options.what] if options.runs is None else options.runs
    if runs < 1:
        raise UsageError(f"--runs is {runs}; at least 1 is needed")
    models = [find(name).name for name in options.model or ()]
    compile_all()
    headers, lines = TESTS[options.what](runs, models, options.cheat or [])
    print(f"\n{tabulate([line.cells for line in lines], headers, disable_numparse=True)}\n")
    passed = all(line.passed for line in lines)
    document = {"test": options.what, "runs": runs, "passed": passed, "rows": [line.document for line in lines]}
    print(json.dumps(document, separators=(",", ":"), allow_nan=False), flush=True)
    return 0 if passed else 1


# -- cheats and the honest ---------------------------------------------------------------------------------------------


def enter(task: Task, path: Path | None) -> set[str]:
    """The codes against one short submission of the default recipe, or of the entry in a file."""
    entry = Entry(task, task.recipe, "selftest", "practice", fast=True)
    with tempfile.TemporaryDirectory(prefix="mlperf-") as name:
        folder = Path(name)
        try:
            if path is None:
                from mlperf import pipeline

                state, rows = pipeline.run(task, entry.recipe, 1)
                contestant = of_recipe(task, entry.recipe, state, rows, folder, 1)
            else:
                entry = replace(entry, source=source.read(path))
                contestant = of_entry(task, source.read(path), folder, 1)
            return codes(submit(entry, contestant, folder, environment.load_1m(), lambda: None))
        except Refused as refused:
            return {refused.code}


def codes(submission: Submission) -> set[str]:
    """What makes a submission INVALID, beside that it was a short one."""
    reasons = submission.validity.reasons
    return {reason.code for reason in reasons if reason.severity == "invalid"} - {"PRACTICE_ONLY"}


def cheats(runs: int, models: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], list[Line]]:
    """Each planted cheat must be caught by its code in every run."""
    known = {cheat.name: cheat for cheat in CHEATS}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"unknown cheat {unknown[0]!r}; known: {', '.join(known)}")
    chosen = [cheat for cheat in CHEATS if not names or cheat.name in names]
    with phase("cheats", runs * len(chosen), "run") as bar:
        lines = [caught(cheat, runs, bar.update) for cheat in chosen]
    return ("cheat", "what it does", "caught by", "runs", "found beside it"), lines


def caught(cheat: Cheat, runs: int, progress: Callable[[], object]) -> Line:
    """One cheat, entered so many times."""
    found = Counter[str]()
    for _ in range(runs):
        found.update(enter(find(cheat.model), cheat.path))
        progress()
    times = found.pop(cheat.code, 0)
    beside = ", ".join(f"{code} {count}" for code, count in sorted(found.items()))
    cells = (cheat.name.replace("_", " "), cheat.how, cheat.code, f"{times} of {runs}", beside)
    document = {"cheat": cheat.name, "code": cheat.code, "caught": times, "beside": dict(sorted(found.items()))}
    return Line(cells, times == runs, document)


def honest(runs: int, models: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], list[Line]]:
    """The default recipes, and an entry that does nothing wrong, must pass."""
    who: list[tuple[str, Task, Path | None]] = [(name, find(name), None) for name in models or EMBEDDED]
    who += [] if models else [("mlp, an entry", find("mlp"), HONEST_ENTRY)]
    lines = []
    with phase("honest", runs * len(who), "run") as bar:
        for name, task, path in who:
            found = Counter[str]()
            passed = 0
            for _ in range(runs):
                against = enter(task, path)
                found.update(against)
                passed += not against
                bar.update()
            beside = ", ".join(f"{code} {count}" for code, count in sorted(found.items()))
            document = {"model": name, "passed": passed, "against": dict(sorted(found.items()))}
            lines.append(Line((name, f"{passed} of {runs}", beside), passed == runs, document))
    return ("honest model", "passed", "found against it"), lines


# -- the reference against itself, and against nothing -----------------------------------------------------------------


def twins(task: str, threads: int, samples: str, empty: bool = False) -> Pair:
    """Factory: the task's reference as both arms; or as the candidate a function that does nothing (`empty`).

    A coin decides which was made first: it lies elsewhere in memory, which may be worth a thousandth of its time.
    """
    chosen = find(task)
    with np.load(samples) as file:
        x, y = file["x"], file["y"]
    asked = chosen.answering.queries(x)
    set_num_threads(threads, blas=threads)
    arms = [chosen.answering.reference(chosen.reference()) for _ in range(2)]
    ref, opt = arms if secrets.randbelow(2) else arms[::-1]
    if empty:
        with ref.around():
            answer = ref.run(asked[0]).copy()
        opt = Arm(lambda x: answer)
    return Pair(ref, opt, asked, lambda arm, progress: chosen.metric.told(arm, asked, x, y, progress))


def measured(task: Task, effort: Effort, **arguments: Any) -> list[Report]:
    """Reports of workers whose arms are `twins`."""
    making = Making("mlperf.commands.selftest:twins", {"task": task.name, "threads": 1, **arguments})
    order, schedule, audit = (secrets.randbelow(2**32) for _ in range(3))
    with tempfile.TemporaryDirectory(prefix="mlperf-") as name:
        samples = write_samples(Path(name) / "samples.npz", task, task.data.x_test, task.data.y_test)
        seeds = Seeds(data=0, order=order, schedule=schedule, audit=audit)
        return ask_workers(making, samples, Conditions(effort, 1, seeds), lambda: None)


def blocks_of(report: Report) -> Blocks:
    return Blocks(**{name: report.worker[name] for name in Blocks.model_fields})


def aa(runs: int, models: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], list[Line]]:
    """The reference is as quick as itself, by the ranked protocol."""
    lines = []
    chosen = models or ["mlp"]
    with phase("A/A", runs * len(chosen), "run") as bar:
        for name in chosen:
            ratios, bounds = [], []
            for _ in range(runs):
                medians = [pair_median(blocks_of(report)) for report in measured(find(name), RANKED)]
                ratios.append(math.exp(median(medians)))
                bounds.append(math.exp(min(medians)))
                bar.update()
            inside = sum(LOW <= ratio <= HIGH for ratio in ratios)
            below = sum(bound <= 1 for bound in bounds)
            spread = f"{min(ratios):.4f} to {max(ratios):.4f}"
            cells = (name, f"{median(ratios):.4f}", spread, f"{inside} of {runs}", f"{below} of {runs}")
            document = {
                "model": name, "median": median(ratios), "least": min(ratios), "greatest": max(ratios),
                "inside": inside, "below": below,
            }  # fmt: skip
            lines.append(Line(cells, min(inside, below) >= SHARE * runs, document))
    return ("model", "ratio", "runs", f"in [{LOW}, {HIGH}]", "ratio_lo <= 1"), lines


def overhead(runs: int, models: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], list[Line]]:
    """What a query costs that computes nothing, beside the reference's."""
    lines = []
    chosen = models or list(EMBEDDED)
    with phase("overhead", len(chosen), "model") as bar:
        for name in chosen:
            reports = measured(find(name), replace(PRACTICE, workers=min(runs, RANKED.workers)), empty=True)
            empty, reference = (median(per_query(reports, arm)) for arm in ("opt", "ref"))
            cells = (name, f"{empty:.0f} ns", f"{reference / 1000:.1f} us", f"{empty / reference:.2%}")
            document = {"model": name, "empty_ns": empty, "reference_ns": reference}
            lines.append(Line(cells, empty < reference / 10, document))
            bar.update()
    return ("model", "an empty model's query", "the reference's", "share"), lines


def per_query(reports: Sequence[Report], arm: str) -> Iterator[float]:
    """ns per query in all blocks of an arm."""
    for report in reports:
        for block_ns in report.worker[f"{arm}_block_ns"]:
            yield block_ns / report.worker[f"inner_{arm}"]


# -- hostile code ------------------------------------------------------------------------------------------------------


def sandbox(runs: int, models: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], list[Line]]:
    """What hostile code attains: each attack must end as it is stated. SandboxError where there is no sandbox."""
    bubblewrap()  # or none is made
    with phase("attacks", runs * len(ATTACKS) * len(GUARDS), "attack") as bar:
        made = []
        for _ in range(runs):
            for row in rows():
                made.append(row)
                bar.update()
    lines = []
    for attack in ATTACKS:
        ended = [[row for row in made if (row.attack, row.guard) == (attack, guard)] for guard in GUARDS]
        worst = [min(some, key=lambda row: row.as_stated) for some in ended]
        document = {"attack": attack.name, "limits": str(worst[0]), "sandbox": str(worst[1])}
        passed = all(row.as_stated for row in worst)
        lines.append(Line((attack.about, *map(str, worst)), passed, document))
    return ("attack", "limits alone (submit)", "limits and sandbox (verify)"), lines


Table = tuple[tuple[str, ...], list[Line]]
TESTS: dict[str, Callable[[int, Sequence[str], Sequence[str]], Table]] = {
    "cheats": cheats, "honest": honest, "aa": aa, "overhead": overhead, "sandbox": sandbox,
}  # fmt: skip
