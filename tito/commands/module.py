"""`tito module`: begin a module, test it, complete it, begin it anew."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

from mlperf.commands.terminal import CommandParser, UsageError, add_command, compile_all, phase
from tito import progress
from tito.checks import Module
from tito.course import find, modules
from tito.milestones import NEEDS, missing, needed
from tito.terminal import mark, next_step, table, tell, told
from tito.testing import Result
from tito.workspace import Workspace

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  tito module list                 all modules, and the question that each answers
  tito module start 02             a file with signatures, examples and hints, yours to fill in
  tito module test tensor          its checkpoint against your file: what failed, with the smallest case
  tito module complete 02_tensor   test it, and use it from now on
  tito module reset 02             put your file aside and begin anew
"""
ACTIONS = {
    "start": "write the file that you fill in", "test": "run its checkpoint against your file",
    "complete": "test it, record it, and use it from now on", "reset": "put your file aside and begin anew",
}  # fmt: skip


def add_parser(commands: Commands) -> None:
    """Add `module` to the command line."""
    command = add_command(commands, "module", "begin, test and complete modules", EXAMPLES)
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=CommandParser)
    actions.add_parser("list", help="all modules, and the question that each answers")
    status = actions.add_parser("status", help="how far you are")
    status.add_argument("module", nargs="?", metavar="NN", help="one module: 2, 02, tensor or 02_tensor")
    for name, about in ACTIONS.items():
        actions.add_parser(name, help=about).add_argument("module", metavar="NN", help="2, 02, tensor or 02_tensor")


def run(options: argparse.Namespace) -> int:
    """Do what is asked of one module, or show all."""
    workspace = Workspace.here()
    chosen = find(options.module) if getattr(options, "module", None) else None
    progress.read(workspace, tell)  # a broken record is mended first
    if chosen is None or options.action == "status":
        return show(workspace, list(modules()) if chosen is None else [chosen])
    try:
        return {"start": start, "test": test, "complete": complete, "reset": reset}[options.action](chosen, workspace)
    except (progress.NotStarted, progress.AlreadyThere) as error:
        raise UsageError(str(error)) from None


def show(workspace: Workspace, which: list[Module]) -> int:
    """A table of modules and how far each is."""
    record = workspace.progress()
    rows = [(one.slug, one.question, mark(workspace.state(one, record))) for one in which]
    print(table(rows, ("module", "question", "you")))
    next_step(after(workspace))
    return 0


def after(workspace: Workspace) -> str:
    """The command for the first module that is not completed."""
    record = workspace.progress()
    for module in modules():
        state = workspace.state(module, record)
        if state != "completed":
            return f"tito module {'complete' if state else 'start'} {module.number:02}"
    return "tito milestone list"


def start(module: Module, workspace: Workspace) -> int:
    """Write the file, say what is to be done in it."""
    for path in progress.start(module, workspace):
        print(f"{path} is yours to fill in.")
    parts = [part.name for parts in module.parts.values() for part in parts]
    print("\n".join(textwrap.wrap(f"{module.question} Write {', '.join(parts)}.", 100)))
    next_step(f"tito module test {module.number:02}")
    return 0


def tested(module: Module, workspace: Workspace) -> Result:
    """Run the checkpoint and print what it found."""
    compile_all()
    with phase(module.slug, len(module.checks), "check") as bar:
        result = progress.test(module, workspace, bar.update)
    print(told(result, workspace))
    return result


def document(result: Result, **more: object) -> str:
    """What programs read: how many checks passed, and the cases that failed."""
    failed = [failure._asdict() for failure in result.failures]
    passed = len(result.checks) - len(failed)
    return json.dumps({
        "module": result.module.slug, "passed": result.passed, "checks": len(result.checks), "checks_passed": passed,
        "failed": failed, "ended": result.ended, **more,
    }, separators=(",", ":"))  # fmt: skip


def test(module: Module, workspace: Workspace) -> int:
    """Test; 1 if something failed."""
    result = tested(module, workspace)
    verb = "complete" if result.passed else "test"
    next_step(f"tito module {verb} {module.number:02}")
    print(document(result))
    return 0 if result.passed else 1


def complete(module: Module, workspace: Workspace) -> int:
    """Test and record; 1 if something failed, and then nothing is recorded."""
    before = {number for number in NEEDS if not missing(number, workspace.progress())}
    result = tested(module, workspace)
    if not result.passed:
        next_step(f"mend it, then tito module complete {module.number:02}")
        print(document(result, completed=False))
        return 1
    workspace.complete(module)
    used = module in needed(max(NEEDS))
    print(f"\nCompleted.{f' What runs with --mine uses your {module.name} from now on.' if used else ''}")
    new = [n for n in NEEDS if n not in before and not missing(n, workspace.progress())]
    next_step(f"tito milestone run {new[0]:02} --mine" if new else after(workspace))
    print(document(result, completed=True))
    return 0


def reset(module: Module, workspace: Workspace) -> int:
    """Begin anew; nothing that a student wrote is lost."""
    moved = progress.reset(module, workspace)
    for path in moved:
        print(f"What you wrote is at {path}.")
    next_step(f"tito module test {module.number:02}")
    return 0
