"""`python -m leaderboard selftest`: the store is tried with everything that could make it lose something.

Processes at once, kills, full disks, closed folders, damaged files and hostile names, all in a scratch folder of its
own. The table says how often each was tried and what held; one loss makes the exit code 1.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate
from tqdm import tqdm

from leaderboard.selftest import damage, limits, names, processes
from leaderboard.selftest.outcome import Outcome, Tick
from leaderboard.text import inert

EXAMPLES = """\
  python -m leaderboard selftest           briefly, half a minute
  python -m leaderboard selftest --full    as often as the table in the README says, some minutes
"""


class Size(NamedTuple):
    """How often each fault is tried; `kills` are shared out among everything that writes."""

    writes: int
    reads: int
    kills: int
    full_disks: int
    mutants: int


BRIEF = Size(writes=10, reads=30, kills=12, full_disks=4, mutants=500)
FULL = Size(writes=50, reads=200, kills=200, full_disks=20, mutants=10_000)


def faults(scratch: Path, size: Size, seed: int) -> list[tuple[int, Callable[[Tick], Outcome]]]:
    """(number of ticks, what tries it) for every fault."""
    commands = processes.commands()
    kills = size.kills // (1 + len(commands))
    most = size.kills - kills * len(commands)
    return [
        (1, partial(processes.at_once, scratch, size.writes)),
        (1, partial(processes.while_writing, scratch, size.reads)),
        (most, partial(processes.killed_writing, scratch, most, seed)),
        *((kills, partial(processes.killed_command, scratch, name, kills, seed)) for name in commands),
        (size.full_disks, partial(limits.full_disk, scratch, size.full_disks, seed)),
        (4, partial(limits.closed_folder, scratch)),
        (size.mutants, partial(damage.mutants, scratch, size.mutants, seed)),
        (len(names.NAMES) + 1, partial(names.hostile, scratch)),
    ]


def try_all(size: Size, seed: int, bar: tqdm | None = None) -> list[Outcome]:
    """Try every fault in a folder that is gone afterwards."""
    found = []
    with tempfile.TemporaryDirectory(prefix="leaderboard-selftest-") as scratch:
        for _, fault in faults(Path(scratch), size, seed):
            found.append(fault(bar.update if bar is not None else _nobody_looks))
    return found


def _nobody_looks() -> None:
    pass


def table(found: list[Outcome]) -> str:
    """What the README shows."""
    rows = [(one.fault, one.tried, one.held, len(one.lost)) for one in found]
    return tabulate(rows, headers=("fault", "tried", "each time", "losses"), tablefmt="github", intfmt=",")


def add_parser(commands: Any) -> None:
    """Add `selftest` to the command line."""
    command = commands.add_parser(
        "selftest",
        help="try to make the store lose something",
        description=__doc__,
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--full", action="store_true", help="as often as it takes to believe it")
    command.add_argument("--seed", type=int, default=0, help="of the random moments and damages (default: 0)")


def run(options: argparse.Namespace) -> int:
    """Try everything; 1 if anything was lost."""
    size = FULL if options.full else BRIEF
    ticks = sum(number for number, _ in faults(Path(), size, 0))
    with tqdm(total=ticks, desc="faults", unit="try", file=sys.stderr) as bar:
        found = try_all(size, options.seed, bar)
    print(table(found))
    for one in found:
        for loss in one.lost[:10]:
            print(f"LOST  {one.fault}: {inert(loss, 300)}")
    lost = sum(len(one.lost) for one in found)
    rows = [{"fault": one.fault, "tried": one.tried, "lost": list(one.lost[:10])} for one in found]
    print(json.dumps({"faults": rows, "lost": lost, "seed": options.seed}, separators=(",", ":")))
    return 1 if lost else 0
