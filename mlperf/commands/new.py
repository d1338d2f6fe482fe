"""`python -m mlperf new`: write a first entry, which works as it is and says in comments how to go on."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlperf.commands.terminal import UsageError, add_command
from mlperf.entries import source, template
from mlperf.tasks import TASKS, find

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf new my_entry.py                        write a first entry of your own, for cnn
  python -m mlperf new my_entry.py --model mlp            for another model
"""


def add_parser(commands: Commands) -> None:
    """Add `new` to the command line."""
    new = add_command(commands, "new", "write a first entry of your own", EXAMPLES)
    new.add_argument("file", type=Path, metavar="FILE", help="where to write it; a file that is there stays")
    new.add_argument("--model", default="cnn", metavar="MODEL", help=f"one of {', '.join(TASKS)} (default: cnn)")


def run(options: argparse.Namespace) -> int:
    """Write the file and say what to do next. UsageError for a name that cannot be an entry's or is taken."""
    task, path = find(options.model), options.file
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\.py", path.name):
        raise UsageError(f"{path.name!a} is no name of a Python module: letters, digits and _, then .py")
    if path.stem in source.taken():
        raise UsageError(f"{path.name} would hide the module {path.stem}; choose another name")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template.written(task, path.name))
    except FileExistsError:
        raise UsageError(f"{path} is there already and stays as it is; choose another name") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    print(f"{path} is an entry for {task.name}. Try it, then read it:\n")
    print(f"  python -m mlperf submit --model {task.name} --entry {path} --fast")
    return 0
