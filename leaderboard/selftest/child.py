"""A process for the self-test to kill: `python -m leaderboard.selftest.child write DIR NAME NUMBER` or a command.

It says `ready` when everything is imported; from then on the moment at which it is killed counts.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from leaderboard.selftest.made import keep
from leaderboard.store import StoreError


def say(line: str) -> None:
    """One line, past every buffer: what was said before a kill was said."""
    os.write(1, f"{line}\n".encode())


def write_many(directory: str, name: str, number: str) -> None:
    """Write submissions and say the id of each that was kept."""
    for count in range(int(number)):
        say(keep(Path(directory), f"{name} {count}"))


def limited(directory: str, name: str, file_bytes: str) -> None:
    """Write one where no file may grow beyond so many bytes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_bytes), int(file_bytes)))
    write_many(directory, name, "1")


def powerless(directory: str, name: str) -> None:
    """Write one as somebody whom no file here belongs to, if this is run by root, whom nothing is closed to."""
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
    write_many(directory, name, "1")


def command(name: str, *arguments: str) -> None:
    """Run `python -m leaderboard NAME`."""
    module = import_module(f"leaderboard.{name}")
    parser = argparse.ArgumentParser()
    module.add_parser(parser.add_subparsers())
    options = parser.parse_args([name, *arguments])
    say("ready")
    sys.exit(module.run(options))


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind != "command":
        say("ready")
    kinds: dict[str, Callable[..., None]] = {
        "write": write_many, "limited": limited, "powerless": powerless, "command": command
    }  # fmt: skip
    try:
        kinds[kind](*rest)
    except StoreError as error:
        say(f"refused {error}")
        sys.exit(1)
