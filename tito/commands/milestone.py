"""`tito milestone`: the achievements, on TinyTorch's modules or on one's own."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from leaderboard import utc_now
from milestones import catalogue
from milestones.__main__ import Outcome, exit_code
from mlperf.commands.terminal import CommandParser, UsageError, add_command
from tito import milestones, progress
from tito.milestones import NEEDS, missing, needed
from tito.terminal import next_step, paint, table, tell
from tito.workspace import Reached, Workspace

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  tito milestone list              the achievements and what each claims
  tito milestone run 01            as TinyTorch does it
  tito milestone run 01 --mine     on the modules that you completed, beside TinyTorch's
  tito milestone run 04 --mine --quick --no-report
"""


def add_parser(commands: Commands) -> None:
    """Add `milestone` to the command line."""
    command = add_command(commands, "milestone", "run the achievements, also on your own modules", EXAMPLES)
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=CommandParser)
    actions.add_parser("list", help="the achievements and what each claims")
    actions.add_parser("status", help="which of them your modules are enough for")
    start = actions.add_parser("run", help="run one")
    start.add_argument("milestone", metavar="NN", help="its number")
    start.add_argument("--mine", action="store_true", help="on the modules that you completed, beside TinyTorch's")
    start.add_argument("options", nargs=argparse.REMAINDER, help="passed on to its script, such as --quick")


def run(options: argparse.Namespace) -> int:
    """Show, or run one."""
    workspace = Workspace.here()
    if options.action == "list":
        print(catalogue.table(catalogue.entries()))
        next_step("tito milestone run 01")
        return 0
    if options.action == "status":
        return status(workspace)
    try:
        entries = milestones.find(options.milestone)
    except milestones.UnknownMilestone as error:
        raise UsageError(str(error)) from None
    progress.read(workspace, tell)  # a broken record is mended first
    passed = [word for word in options.options if word != "--mine"]
    if not options.mine and "--mine" not in options.options:
        outcomes = []
        for entry in entries:
            outcomes.append(milestones.run(entry, passed, {}))
            record(workspace, entry, outcomes[-1], ())
        next_step(f"tito milestone run {options.milestone} --mine")
        met = all(outcome.met for outcome in outcomes)
        print(json.dumps({"milestone": entries[0].number, "met": met, "mine": []}, separators=(",", ":")))
        return exit_code(outcomes)
    return mine(entries, passed, workspace)


def status(workspace: Workspace) -> int:
    """Which milestones run on one's own code."""
    record = progress.read(workspace, tell)
    rows = []
    for number in NEEDS:
        lacking = ", ".join(one.slug for one in missing(number, record))
        rows.append((f"{number:02}", lacking or paint("ready: --mine", "green")))
    print(table(rows, ("milestone", "your modules that it still needs")))
    next_step("tito checkpoint status")
    return 0


def mine(entries: list[catalogue.Entry], options: list[str], workspace: Workspace) -> int:
    """Run on a student's modules, then on ours, and compare. UsageError that names the modules that are missing."""
    number = entries[0].number
    lacking = missing(number, workspace.progress())
    if lacking:
        raise UsageError(
            f"milestone {number:02} needs these modules of yours first: {', '.join(one.slug for one in lacking)}; "
            f"`tito module start {lacking[0].number:02}`"
        )
    files = progress.active(workspace, needed(number))
    yours = ", ".join(one.slug for one in needed(number))
    rows, outcomes = [], []
    for entry in entries:
        print(f"== {entry.name} on your {yours}\n", flush=True)
        own = milestones.run(entry, options, files)
        print(f"\n== {entry.name} on TinyTorch's own, to compare\n", flush=True)
        ours = milestones.run(entry, options, {})
        record(workspace, entry, own, tuple(one.slug for one in needed(number)))
        outcomes.append(own)
        rows += [(entry.name, "yours", *figures(own)), (entry.name, "TinyTorch", *figures(ours))]
    print(f"\nYours were {yours}; everything else is TinyTorch's.\n")
    print(table(rows, ("milestone", "modules", "reached", "training", "met")))
    next_step("tito checkpoint status")
    print(json.dumps({
        "milestone": number, "met": all(one.met for one in outcomes), "mine": sorted(files),
        "rows": [dict(zip(("script", "modules", "reached", "training", "met"), row)) for row in rows],
    }, separators=(",", ":")))  # fmt: skip
    return exit_code(outcomes)


def record(workspace: Workspace, entry: catalogue.Entry, outcome: Outcome, own: tuple[str, ...]) -> None:
    """Keep how a script ended; a short run, and one that had no data, is no achievement."""
    if not outcome.skipped and not outcome.line.get("quick"):
        seconds = outcome.line.get("seconds")
        workspace.reach(entry.name, Reached(
            ran_utc=utc_now(), met=outcome.met, verdict=outcome.reached, mine=own,
            seconds=seconds if isinstance(seconds, int | float) else None,
        ))  # fmt: skip


def figures(outcome: Outcome) -> tuple[str, str, str]:
    """What was reached, how long training took, and whether the claim is met."""
    seconds = outcome.line.get("seconds")
    training = f"{seconds:.2f} s" if isinstance(seconds, int | float) else "-"
    return outcome.reached, training, "yes" if outcome.met else "NO"
