"""`python -m mlperf`: collects the commands. Progress goes to stderr, results to stdout, the last line is JSON.

Exit code 0 for a VALID submission and everything else that went well, 1 for INVALID, none found or a failed run, 2 for
something unknown or data that are not to be had, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from leaderboard import StoreError, codes
from leaderboard.text import inert
from mlperf.commands import doctor, duel, explain, keygen, listing, new, selftest, submit, tune, verify
from mlperf.commands.terminal import CommandParser, UsageError
from mlperf.confinement.hearing import Refused, WorkerError
from mlperf.recipe import RecipeError
from mlperf.tasks import UnknownTask
from tinytorch.datasets import DataError

# Each command is a file; what such a file holds says mlperf.commands.terminal.
COMMANDS = {
    "list": listing,
    "selftest": selftest,
    "submit": submit,
    "new": new,
    "tune": tune,
    "doctor": doctor,
    "explain": explain,
    "keygen": keygen,
    "verify": verify,
    "duel": duel,
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m mlperf",
        description="Make a network faster without making it worse, and prove it.",
        epilog="examples:\n" + "".join(module.EXAMPLES for module in COMMANDS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = command.add_subparsers(
        dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}", parser_class=CommandParser
    )
    for module in COMMANDS.values():
        module.add_parser(commands)
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    command = parser()
    options = command.parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return COMMANDS[options.command].run(options)
    except (UsageError, UnknownTask, RecipeError) as error:
        command.error(str(error))
    except DataError as error:
        print(f"mlperf: --model {options.model} needs data: {error}", file=sys.stderr)
        return 2
    except Refused as refused:
        told = "\n".join(map(inert, str(refused).split("\n")))
        remedy = codes.catalogue()[refused.code].remedy
        print(f"mlperf: {refused.code}: {told}\n{remedy} (python -m mlperf explain {refused.code})", file=sys.stderr)
        return 1
    except (StoreError, WorkerError, OSError, ValueError) as error:
        print(f"mlperf: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mlperf: stopped; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
