"""`python -m leaderboard`: the boards as tables or JSON, and the commands, each a file of its own.

Submissions are made by `python -m mlperf submit`.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from leaderboard import html, merge, selftest
from leaderboard.ranking import By, boards
from leaderboard.schema import Division
from leaderboard.store import StoreError, default_directory, load_all
from leaderboard.tables import document, inert, problems_text, text

EXAMPLES = """examples:
  python -m leaderboard                            every board
  python -m leaderboard --model cnn                one model
  python -m leaderboard --by size --division open  smallest first, open division only
  python -m leaderboard --json | python -m json.tool

other commands, each with its own --help:
  python -m leaderboard html                       pages for a browser
  python -m leaderboard merge DIR...               copy submissions, files and records of replays from elsewhere
  python -m leaderboard selftest                   try to make the store lose something

The score is the lower bound of the speed-up over the reference (`ratio` is the middle, `at most` the upper bound).
Submissions whose intervals overlap the leader's share a rank. INVALID and practice runs are listed without one.
"""

COMMANDS = {
    "html": html,
    "merge": merge,
    "selftest": selftest,
}  # fmt: skip


class UnknownName(Exception):
    """Something was named that is not there; the text lists what is."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m leaderboard",
        description="Show who made which model how much faster, recomputed from the raw times of every submission.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("--model", help="only this model (perceptron, xor, mlp, cnn, ...)")
    command.add_argument("--by", choices=get_args(By), default="score", help="what to rank by (default: score)")
    command.add_argument("--division", choices=get_args(Division), help="only this division")
    command.add_argument("--leaderboard", type=Path, metavar="DIR", help="where the submissions lie")
    command.add_argument("--json", action="store_true", help="one compact JSON document instead of tables")
    return command


def commands_parser() -> argparse.ArgumentParser:
    """The command line of what is named first. It is another one, so that a slip in an option is not taken for it."""
    command = argparse.ArgumentParser(prog="python -m leaderboard", allow_abbrev=False)
    commands = command.add_subparsers(dest="command", required=True)
    for module in COMMANDS.values():
        module.add_parser(commands)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Print the boards that were asked for, return the exit code. Raises UnknownName, and StoreError from reading."""
    directory = arguments.leaderboard or default_directory()
    if arguments.leaderboard and not directory.is_dir():
        raise UnknownName(f"no directory {directory}: name the one that was given to `python -m mlperf submit`")
    submissions, problems = load_all(directory)
    models = sorted({submission.model for submission in submissions})
    if arguments.model and models and arguments.model not in models:
        raise UnknownName(f"unknown model {arguments.model!r}: there are submissions for {', '.join(models)}")
    chosen = [submission for submission in submissions if arguments.model in (None, submission.model)]
    divisions = sorted({submission.division for submission in chosen})
    shown = boards((one for one in chosen if arguments.division in (None, one.division)), arguments.by)
    if arguments.json:
        print(json.dumps(document(shown, problems), separators=(",", ":"), allow_nan=False))
        return 0
    if shown:
        print(text(shown))
    elif submissions:
        print(f"No such submission in the {arguments.division} division; there are some in {', '.join(divisions)}.")
    else:
        print(f"No submissions under {inert(str(directory))} yet. Make the first entry:\n")
        print(f"  python -m mlperf submit --model {inert(arguments.model or 'cnn')}")
    if problems:
        print(f"\n{problems_text(problems)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where a command says so; 2 for something unknown; 130 after Ctrl-C."""
    words = sys.argv[1:] if argv is None else argv
    is_command = bool(words) and words[0] in COMMANDS
    command = commands_parser() if is_command else parser()
    arguments = command.parse_args(words)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode still shows every name
    try:
        code = COMMANDS[arguments.command].run(arguments) if is_command else run(arguments)
        sys.stdout.flush()
        return code
    except UnknownName as error:
        command.error(inert(str(error)))
    except StoreError as error:
        print(inert(str(error)), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
