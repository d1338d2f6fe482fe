"""`python -m mlperf list`: the tasks one can submit to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mlperf import report
from mlperf.commands.terminal import add_command

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf list                                   the tasks
"""


def add_parser(commands: Commands) -> None:
    """Add `list` to the command line."""
    add_command(commands, "list", "show the tasks", EXAMPLES)


def run(options: argparse.Namespace) -> int:
    """Print the table of the tasks."""
    print(report.tasks_table())
    return 0
