"""`tito`: collects the commands. Exit code 0 where all went well, 1 where something failed, 2 for what is unknown,
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from mlperf.commands.terminal import CommandParser, UsageError
from tito.commands import capstone, checkpoint, grade, milestone, module, setup
from tito.course import UnknownModule

COMMANDS = {
    "setup": setup, "module": module, "checkpoint": checkpoint, "milestone": milestone, "capstone": capstone,
    "grade": grade,
}  # fmt: skip


def forward_leaderboard(words: Sequence[str]) -> int:
    from leaderboard.__main__ import main as leaderboard

    return leaderboard(list(words))


def forward_mlperf(command: str) -> Callable[[Sequence[str]], int]:
    def run(words: Sequence[str]) -> int:
        from mlperf.__main__ import main as mlperf

        return mlperf([command, *words])

    return run


# Handed on as they are, with all that follows.
FORWARDED: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "doctor": ("judge this machine (python -m mlperf doctor)", forward_mlperf("doctor")),
    "submit": ("make and measure a submission (python -m mlperf submit)", forward_mlperf("submit")),
    "leaderboard": ("who stands where (python -m leaderboard)", forward_leaderboard),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="tito",
        description="From your own Tensor to the milestones: each achievement is earned by your own code.",
        epilog="examples:\n" + "".join(one.EXAMPLES for one in COMMANDS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = command.add_subparsers(
        dest="command", required=True, metavar=f"{{{','.join([*COMMANDS, *FORWARDED])}}}", parser_class=CommandParser
    )
    for one in COMMANDS.values():
        one.add_parser(commands)
    for name, (about, _) in FORWARDED.items():
        commands.add_parser(name, help=about, add_help=False)
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in FORWARDED:
        return FORWARDED[words[0]][1](words[1:])
    command = parser()
    options = command.parse_args(words)
    try:
        return COMMANDS[options.command].run(options)
    except (UsageError, UnknownModule) as error:
        print(f"tito: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"tito: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tito: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
