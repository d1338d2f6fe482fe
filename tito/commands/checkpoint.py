"""`tito checkpoint`: the questions that have been answered, and when."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mlperf.commands.terminal import CommandParser, add_command
from tito import progress
from tito.commands import module
from tito.course import find, modules
from tito.milestones import NEEDS, missing
from tito.terminal import mark, next_step, paint, table, tell
from tito.workspace import Workspace

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  tito checkpoint status           every question, and whether your code answers it
  tito checkpoint test 06          ask one again
  tito checkpoint timeline         what you completed, in its order
"""


def add_parser(commands: Commands) -> None:
    """Add `checkpoint` to the command line."""
    command = add_command(commands, "checkpoint", "the questions that your code answers", EXAMPLES)
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=CommandParser)
    actions.add_parser("status", help="every question, and whether your code answers it")
    actions.add_parser("timeline", help="what you completed, in its order")
    again = actions.add_parser("test", help="ask one again")
    again.add_argument("module", metavar="NN", help="2, 02, tensor or 02_tensor")


def run(options: argparse.Namespace) -> int:
    """Show, or ask one again."""
    workspace = Workspace.here()
    if options.action == "test":
        return module.run(options)
    record = progress.read(workspace, tell)
    return (status if options.action == "status" else timeline)(workspace, record)


def status(workspace: Workspace, record: progress.Progress) -> int:
    """Every question, and which milestones run on one's own code."""
    rows = [(one.slug, one.question, mark(workspace.state(one, record))) for one in modules()]
    print(table(rows, ("checkpoint", "question", "you")))
    print(f"\n{len(record.completed)} of {len(rows)} answered by your own code.")
    for number in NEEDS:
        lacking = missing(number, record)
        word = paint("ready", "green") if not lacking else f"needs {', '.join(one.slug for one in lacking)}"
        print(f"  milestone {number:02} --mine: {word}")
    next_step(module.after(workspace))
    return 0


def timeline(workspace: Workspace, record: progress.Progress) -> int:
    """What was completed, the first first."""
    done = sorted(record.completed.items(), key=lambda item: (item[1].completed_utc, item[0]))
    print(table([(one.completed_utc, slug, find(slug).question) for slug, one in done], ("when", "module", "question")))
    next_step(module.after(workspace))
    return 0
