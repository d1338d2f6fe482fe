"""`python -m mlperf doctor`: is this machine fit for a ranked run? Without root, and unknown where it cannot tell."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from mlperf import checkup
from mlperf.commands.terminal import UsageError, add_command, phase

if TYPE_CHECKING:
    from mlperf.checkup import Check
    from mlperf.commands.terminal import Commands

WIDTH = 56
CHECKS = 15
EXAMPLES = """\
  python -m mlperf doctor                                 is this machine fit for a ranked run?
  python -m mlperf doctor --threads 2                     and for one with two threads?
"""


def add_parser(commands: Commands) -> None:
    """Add `doctor` to the command line."""
    about = (
        "Look at this machine before a run, without root. Exit code 0 if nothing stands against a ranked run, else 1."
    )
    doctor = add_command(commands, "doctor", "is this machine fit for a ranked run?", EXAMPLES, about)
    doctor.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads that a run would have (default: 1)"
    )


def run(options: argparse.Namespace) -> int:
    """Show all checks and the verdict; 1 if something stands against a ranked run."""
    if options.threads < 1:
        raise UsageError(f"--threads is {options.threads}; a run has at least 1")
    checks = []
    with phase("look", CHECKS, "check") as bar:
        for check in checkup.look(options.threads):
            checks.append(check)
            bar.update()
    against = [check.name for check in checks if check.stands]
    print(table(checks))
    counts = Counter(check.status for check in checks)
    verdict = f"Against a ranked run: {', '.join(against)}." if against else "Nothing stands against a ranked run."
    print(f"\n{verdict} ({counts['ok']} ok, {counts['warn']} warnings, {counts['unknown']} unknown)\n")
    line = {"fit": not against, "against": against, "checks": {check.name: check.status for check in checks}}
    print(json.dumps(line, separators=(",", ":")), flush=True)
    return 1 if against else 0


def table(checks: Sequence[Check]) -> str:
    """A line for each check; what it means and what to do where it is not ok."""
    rows = []
    for check in checks:
        remedy = f"\n-> {check.remedy}" if check.remedy else ""
        lines = f"{check.means}{remedy}".splitlines()
        words = "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="   " * line.startswith("->")) for line in lines)
        rows.append((check.name, check.status, textwrap.fill(check.found, 36), words))
    return tabulate(rows, ("check", "", "found", "what it means, and what to do"))
