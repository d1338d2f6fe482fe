"""`python -m mlperf explain`: what a code means, why there is such a rule, and what to do."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from tabulate import tabulate

from leaderboard import codes
from mlperf.commands.terminal import UsageError, add_command

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

WIDTH = 100
EXAMPLES = """\
  python -m mlperf explain                                every code, in a line
  python -m mlperf explain CACHING_SUSPECTED              rule, reason and remedy of one
"""


def add_parser(commands: Commands) -> None:
    """Add `explain` to the command line."""
    explain = add_command(commands, "explain", "what a reason's code means and what to do", EXAMPLES)
    explain.add_argument("code", nargs="?", metavar="CODE", help="as a submission, a listing or `verify` shows it")


def run(options: argparse.Namespace) -> int:
    """Print one code or the table of all. UsageError for a code that there is not."""
    print(table() if options.code is None else words(options.code))
    return 0


def table() -> str:
    """Every code with the first sentence of its rule, by kind."""
    parts = []
    for kind, about in codes.KINDS.items():
        rows = [
            (entry.code, textwrap.fill(first_sentence(entry.rule), WIDTH - 24))
            for entry in codes.catalogue().values()
            if entry.kind == kind
        ]
        parts.append(f"{kind}: {about}\n\n" + textwrap.indent(tabulate(rows, tablefmt="plain"), "  "))
    return "\n\n".join([*parts, "python -m mlperf explain CODE says why there is such a rule and what to do."])


def first_sentence(text: str) -> str:
    """All up to the first full stop that ends a sentence, in one line."""
    return " ".join(text.split()).partition(". ")[0].rstrip(".") + "."


def words(code: str) -> str:
    """All about one code."""
    entry = codes.catalogue().get(code.upper())
    if entry is None:
        near = codes.near(code)
        meant = f"did you mean {', '.join(near)}? " if near else ""
        raise UsageError(f"unknown code {code!r}; {meant}python -m mlperf explain lists all")
    lines = [f"{entry.code}: {codes.KINDS[entry.kind]}.", ""]
    says = "means" if entry.kind in ("warning", "remark") else "rule"
    for name, text in ((says, entry.rule), ("why", entry.why), ("remedy", entry.remedy)):
        block = textwrap.fill(" ".join(text.split()), WIDTH - 8)
        lines.append(f"{name:<8}" + block.replace("\n", "\n" + " " * 8))
    return "\n".join(lines)
