"""How `tito` speaks: colours where a person looks, a next step at the end of every command, no prompts at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from tito.checks import Failure, Module
from tito.templates import line_of
from tito.testing import Result
from tito.workspace import Workspace

COLOURS = {"green": 32, "red": 31, "yellow": 33, "dim": 2}
MARKS = {"completed": ("done", "green"), "changed": ("changed since", "yellow"), "started": ("started", "yellow")}


def coloured() -> bool:
    """Whether colours are wanted: a person looks at a terminal that can, and has not said NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    """Text in a colour, where colours are wanted."""
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if coloured() and text else text


def tell(text: str) -> None:
    """Something that a person should know beside the result."""
    print(f"tito: {text}", file=sys.stderr)


def next_step(text: str) -> None:
    """The last thing a command says to a person."""
    print(f"\nNext: {text}")


def mark(state: str) -> str:
    """A module's state as tables show it."""
    word, colour = MARKS.get(state, ("", "dim"))
    return paint(word, colour)


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> str:
    return tabulate(list(rows), headers, disable_numparse=True)


def told(result: Result, workspace: Workspace) -> str:
    """What a checkpoint found, check by check; of one that failed the smallest case, and where to look."""
    lines = [f"{result.module.slug}: {result.module.question}", ""]
    for part, says, failure in result.checks:
        word = paint("FAILED", "red") if failure else paint("passed", "green")
        lines.append(f"  {word}  {part}: {says}" if part else f"  {word}  {says}")
        if failure:
            lines += [f"          {line}" for line in case(failure, result.module, workspace)]
    if result.ended:
        lines.append(f"  {paint('FAILED', 'red')}  it came to no end: {result.ended}")
    return "\n".join(lines)


def case(failure: Failure, module: Module, workspace: Workspace) -> list[str]:
    """The smallest case that failed: what was run, what should have come, what came, and where to look."""
    first, *more = failure.code.splitlines()
    lines = [f">>> {first}", *(f"... {line}" if line.startswith(" ") else f">>> {line}" for line in more)]
    expected, got = (text.replace("\n", "\n" + " " * 10) for text in (failure.expected, failure.got))
    lines += [f"expected  {expected}", f"got       {got}"]
    place = where(failure, module, workspace)
    return [line for text in [*lines, *([f"look at   {place}"] if place else [])] for line in text.splitlines()]


def where(failure: Failure, module: Module, workspace: Workspace) -> str:
    """File and line of the part that a failure points at."""
    for source, parts in module.parts.items():
        if failure.part in [part.name for part in parts]:
            path = workspace.path(module, source)
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            line = failure.line or line_of(text, failure.part)
            return f"{failure.part}, {path}{f', line {line}' if line else ''}"
    return f"line {failure.line} of your file" if failure.line else ""
