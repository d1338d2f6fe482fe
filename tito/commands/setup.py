"""`tito setup`: a folder for one's modules, and kernels that are compiled."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mlperf.commands.terminal import add_command, compile_all
from tinytorch.files import require_writable
from tito import progress
from tito.terminal import next_step, tell
from tito.workspace import FOLDER, Progress, Workspace

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  tito setup                       my_tinytorch/ for your modules (or TITO_WORKSPACE), kernels compiled
"""


def add_parser(commands: Commands) -> None:
    """Add `setup` to the command line."""
    add_command(commands, "setup", "make a folder for your modules and compile the kernels", EXAMPLES)


def run(options: argparse.Namespace) -> int:
    """Make the folder, unless it is there; compile what is not compiled yet."""
    workspace = Workspace.here()
    require_writable(workspace.root)
    (workspace.root / FOLDER).mkdir(parents=True, exist_ok=True)
    if not workspace.record.exists():
        workspace.save(Progress())
    progress.read(workspace, tell)
    compile_all()
    print(f"Your modules live in {workspace.root / FOLDER}, your progress in {workspace.record}.")
    next_step("tito module start 02")
    return 0
