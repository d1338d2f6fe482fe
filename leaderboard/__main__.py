"""`python -m leaderboard`: the boards as tables or JSON, and the commands, each a file of its own.

Submissions are made by `python -m mlperf submit`.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from leaderboard import export, html, merge, selftest, show
from leaderboard.show import UnknownName
from leaderboard.store import StoreError
from leaderboard.text import inert

EXAMPLES = """examples:
  python -m leaderboard                              events and boards, the first ten of each
  python -m leaderboard --model cnn --all --wide     everything about one model
  python -m leaderboard --event cnn-marathon         one event and its boards
  python -m leaderboard --by size --division open    smallest first, open division only
  python -m leaderboard --pareto --model cnn         trade-offs of latency, quality and bytes
  python -m leaderboard --history ada                how somebody got better
  python -m leaderboard --json | python -m json.tool

other commands, each with its own --help:
  python -m leaderboard export csv|md|json           the leaderboard as a file
  python -m leaderboard html                         pages for a browser
  python -m leaderboard merge DIR...                 copy submissions, files and records of replays from elsewhere
  python -m leaderboard selftest                     try to make the store lose something

columns:
  rank      1= is shared: whose interval reaches the bound of the group's first. Everybody has one place on a board
  score     the lower bound of the speed-up over the reference, of all processes the worst; ratio: the middle one
  verified  the ratio that a replay by somebody else found, signed; refuted: none agrees; -: a claim
  tries     submissions by the same person on this board. Many tries are many chances: a replay decides
  notes     99.9: keeps 99.9 % of the reference's quality; other words: look twice (`python -m mlperf explain WORD`)
"""

COMMANDS = {
    "export": export,
    "html": html,
    "merge": merge,
    "selftest": selftest,
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line without a command."""
    command = argparse.ArgumentParser(
        prog="python -m leaderboard",
        description="Show who made which model how much faster, recomputed from the raw times of every submission.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    show.add_options(command)
    return command


def commands_parser() -> argparse.ArgumentParser:
    """The command line of what is named first. It is another one, so that a slip in an option is not taken for it."""
    command = argparse.ArgumentParser(prog="python -m leaderboard", allow_abbrev=False)
    commands = command.add_subparsers(dest="command", required=True)
    for module in COMMANDS.values():
        module.add_parser(commands)
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where a command says so; 2 for something unknown; 130 after Ctrl-C."""
    words = sys.argv[1:] if argv is None else argv
    is_command = bool(words) and words[0] in COMMANDS
    command = commands_parser() if is_command else parser()
    arguments = command.parse_args(words)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Unicode still shows every name
    try:
        code = COMMANDS[arguments.command].run(arguments) if is_command else show.run(arguments)
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
