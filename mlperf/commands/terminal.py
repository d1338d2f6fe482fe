"""What all commands of `python -m mlperf` share at the terminal: parsers that refuse, progress bars, compiling first.

A command is a file with EXAMPLES (lines of its help), `add_parser(commands)` and `run(options) -> exit code`;
`mlperf.__main__` collects them. What `run` raises becomes an exit code there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from mlperf.harness import Progress

    Commands = argparse._SubParsersAction["CommandParser"]


class UsageError(Exception):
    """Options that do not go together or name something unknown; exit code 2."""


class CommandParser(argparse.ArgumentParser):
    """Refuses what it does not know with its own usage, which lists what it does; argparse shows the outer one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


def add_command(commands: Commands, name: str, help: str, examples: str, about: str | None = None) -> CommandParser:
    """A new command `name`; `help` is its line in the outer help, `about` what its own help opens with."""
    return commands.add_parser(
        name, help=help, description=about or f"{help[:1].upper()}{help[1:]}.", epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip


@contextmanager
def phase(name: str, total: int, unit: str) -> Iterator[tqdm]:
    """A named phase with its progress bar on stderr."""
    with tqdm(total=total, desc=f"{name:<15}", unit=unit, file=sys.stderr, dynamic_ncols=True) as bar:
        yield bar


@contextmanager
def part(name: str) -> Iterator[Progress]:
    """What takes long within a phase, with a progress bar of its own, which is gone afterwards."""
    with tqdm(desc=f"  {name:<13}", file=sys.stderr, dynamic_ncols=True, leave=False, delay=1) as bar:

        def progress(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        yield progress


def compile_all() -> None:
    """Compile the kernels that are not in the cache yet."""
    from kernels import ahead, machine, registry

    registry.known()  # imports all kernels
    with phase("compile kernels", len(machine.KERNELS) + 1, "kernel") as bar:

        def compiled(name: str, seconds: float) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        ahead.compile_kernels(progress=compiled)
