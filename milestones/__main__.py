"""`python -m milestones list` and `run`: each milestone in its own process, a table at the end, the last line JSON.

Exit code 0 only if all claims are met, 1 if one is not or a run failed, 2 for something unknown or data that are
missing, 130 after Ctrl-C. With `run all`, a script whose data are missing is skipped, and the others decide.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from milestones.catalogue import CLAIM_WIDTH, FOLDER, Entry, entries
from milestones.catalogue import table as list_table
from profiler.clock import stopwatch

EXAMPLES = """examples:
  python -m milestones list                        number, year, script and claim of each
  python -m milestones run 4                       the milestone of 1998, with its report
  python -m milestones run 5 --quick --no-report   options behind the number are the script's
  python -m milestones run all --quick             all of them, trained and measured briefly

exit code: 0 all claims are met, 1 one is not or a run failed, 2 something unknown or data missing, 130 after Ctrl-C;
of all, those whose data are missing are skipped
"""
NO_DATA, INTERRUPTED = 2, 130
PATIENCE_S = 30  # for a script to end after Ctrl-C


class Outcome(NamedTuple):
    """How a script ended: its exit code, its last line if that was JSON, and how long the process ran."""

    entry: Entry
    code: int
    line: dict[str, Any]
    seconds: float

    @property
    def met(self) -> bool:
        return self.code == 0 and self.line.get("met") is True

    @property
    def skipped(self) -> bool:
        """Whether nothing was done, since data are missing."""
        return self.code == NO_DATA and "needs" in self.line

    @property
    def claim(self) -> str:
        """As the script says it: with --quick it may have done another task."""
        return str(self.line.get("claim", self.entry.claim.claim))

    @property
    def reached(self) -> str:
        """What was reached, in the script's words, or why nothing was."""
        if "verdict" in self.line:
            return str(self.line["verdict"])
        if self.skipped:
            return f"needs {self.line['needs']}; see above"
        return f"failed (exit code {self.code}); see above"


def run(entry: Entry, options: Sequence[str], through: Sequence[str] = ()) -> Outcome:
    """Start a script, pass on all it prints, and read its last line. `through` is what Python is told before it.

    It has a session of its own, so that Ctrl-C reaches it once, through us: KeyboardInterrupt after it has ended.
    """
    command = [sys.executable, *through, str(entry.path), *options]
    last = ""
    with stopwatch() as took:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert started.stdout is not None
        try:
            for text in started.stdout:
                print(text, end="", flush=True)
                last = text
            code = started.wait()
        except KeyboardInterrupt:
            stop(started)
            raise
        except BaseException:
            started.kill()
            raise
    if code in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    with contextlib.suppress(ValueError):
        line = json.loads(last)
        return Outcome(entry, code, line if isinstance(line, dict) else {}, took.seconds)
    return Outcome(entry, code, {}, took.seconds)


def stop(started: subprocess.Popen) -> None:
    """Ask a script to end as Ctrl-C does, and make it if it does not."""
    started.send_signal(signal.SIGINT)
    try:
        started.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        started.kill()


def table(outcomes: Sequence[Outcome]) -> str:
    """What each claims, what it reached, how long its process ran, and whether the claim is met."""
    rows = [
        (one.entry.name, one.claim, one.reached, f"{one.seconds:.1f}",
         "yes" if one.met else "skipped" if one.skipped else "NO")
        for one in outcomes
    ]  # fmt: skip
    headers = ("milestone", "claim", "reached", "seconds", "met")
    align = ("left", "left", "left", "right", "left")
    widths = [None, CLAIM_WIDTH * 2 // 3, CLAIM_WIDTH * 2 // 3, None, None]
    return tabulate(rows, headers, colalign=align, disable_numparse=True, maxcolwidths=widths)


def last_line(outcomes: Sequence[Outcome]) -> str:
    """The table for programs; what the scripts' own last lines say in full is not repeated."""
    return json.dumps({
        "met": all(one.met for one in outcomes),
        "skipped": sum(one.skipped for one in outcomes),
        "milestones": [
            {"number": one.entry.number, "script": one.entry.path.name, "claim": one.claim,
             "reached": one.reached, "met": one.met, "exit_code": one.code, "seconds": round(one.seconds, 1)}
            for one in outcomes
        ],
    }, separators=(",", ":"))  # fmt: skip


def chosen(which: str, known: Sequence[Entry]) -> list[Entry]:
    """The scripts of a number, or all. ValueError that lists the known."""
    if which == "all":
        return list(known)
    found = [entry for entry in known if which.isdigit() and entry.number == int(which)]
    if not found:
        numbers = ", ".join(dict.fromkeys(str(entry.number) for entry in known))
        raise ValueError(f"unknown milestone {which!r}; known: {numbers}, or all")
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m milestones",
        description="Historic networks trained from scratch, each with a claim that is checked and a report of costs.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = command.add_subparsers(dest="command", metavar="{list,run}")
    commands.add_parser("list", help="show the milestones (what is done without a command)", allow_abbrev=False)
    start = commands.add_parser(
        "run", help="run one, or all", usage="python -m milestones run N|all [options of the script]", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    start.add_argument("which", metavar="N|all", help="the number of a milestone, or all")
    passed = "passed on, such as --quick, --no-report, --output DIR"
    start.add_argument("options", nargs=argparse.REMAINDER, metavar="options", help=passed)
    return command


def main(argv: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Run a command and return its exit code."""
    command = parser()
    options = command.parse_args(argv)
    known = entries(folder)
    if options.command != "run":
        print(list_table(known))
        return 0
    try:
        todo = chosen(options.which, known)
    except ValueError as error:
        command.error(str(error))
    outcomes: list[Outcome] = []
    try:
        for entry in todo:
            print(f"\n== {entry.name}, {entry.year}\n", flush=True)
            outcomes.append(run(entry, options.options))
    except KeyboardInterrupt:
        if outcomes:
            print(f"\n{table(outcomes)}")
        print(f"\nmilestones: interrupted, {len(outcomes)} of {len(todo)} done", file=sys.stderr)
        return INTERRUPTED
    print(f"\n{table(outcomes)}\n{last_line(outcomes)}", flush=True)
    return exit_code(outcomes)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """That of those which were not skipped; with nothing else, that data are missing."""
    done = [outcome for outcome in outcomes if not outcome.skipped]
    if not done:
        return NO_DATA
    return 0 if all(outcome.met for outcome in done) else 1


if __name__ == "__main__":
    sys.exit(main())
