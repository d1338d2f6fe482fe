"""`tito grade`: the modules of a whole class."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from leaderboard.spreadsheet import harmless
from mlperf.commands.terminal import UsageError, add_command, compile_all, phase
from mlperf.confinement import sandbox
from tinytorch.files import require_writable, write_atomically
from tito import grading
from tito.course import modules
from tito.grading import Row
from tito.terminal import next_step, table

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  tito grade class/                a folder for each student in it: grades.csv and grades.json
  tito grade class/ --jobs 4 --output results/
"""


def add_parser(commands: Commands) -> None:
    """Add `grade` to the command line."""
    about = (
        "Run the checkpoints of all students' modules, each in a sandbox without network that sees nothing but that "
        "student's files, with limits of time and memory."
    )
    command = add_command(commands, "grade", "run the checkpoints of a whole class", EXAMPLES, about)
    command.add_argument("folder", type=Path, metavar="DIR", help="holds a folder for each student")
    command.add_argument("--output", type=Path, metavar="DIR", help="for grades.csv and grades.json (default: DIR)")
    command.add_argument("--jobs", type=int, metavar="N", help="so many at a time (default: one a core)")
    command.add_argument("--no-sandbox", action="store_true", help="run students' code with limits alone")


def run(options: argparse.Namespace) -> int:
    """Grade all, write both files, print a table; 0 also where students failed."""
    if not options.folder.is_dir():
        raise UsageError(f"{options.folder} is no folder")
    if options.jobs is not None and options.jobs < 1:
        raise UsageError(f"--jobs is {options.jobs}; at least 1 is needed")
    if not options.no_sandbox and (why := sandbox.available()):
        raise UsageError(why)
    try:
        folders = grading.students(options.folder)
    except ValueError as error:
        raise UsageError(str(error)) from None
    output = options.output or options.folder
    require_writable(output)
    compile_all()
    found = list(grading.tasks(folders))
    with phase("grade", len(found), "module") as bar:
        rows = grading.grade(found, options.jobs, not options.no_sandbox, bar.update)
    output.mkdir(parents=True, exist_ok=True)
    names = [folder.name for folder in folders]
    write_atomically(output / "grades.csv", spreadsheet(rows).encode())
    write_atomically(output / "grades.json", (json.dumps(document(names, rows), indent=1) + "\n").encode())
    print(overview(names, rows))
    next_step(f"open {output / 'grades.csv'}; a student sees the same with `tito module test NN`")
    print(json.dumps({
        "students": len(names), "modules": len(rows), "passed": sum(row.passed for row in rows),
        "csv": str(output / "grades.csv"), "json": str(output / "grades.json"),
    }, separators=(",", ":")))  # fmt: skip
    return 0


def spreadsheet(rows: list[Row]) -> str:
    """A line for each module of each student; what they wrote is harmless text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow([harmless(value) if isinstance(value, str) else value for value in row])
    return text.getvalue()


def document(names: list[str], rows: list[Row]) -> dict[str, object]:
    """By student, those without any module too."""
    return {name: [row.document() for row in rows if row.student == name] for name in names}


def overview(names: list[str], rows: list[Row]) -> str:
    """A line for each student: passed, partly, or not written, module by module."""
    marks = {(row.student, row.module): "+" if row.passed else "-" for row in rows}
    lines = []
    for name in names:
        shown = "".join(marks.get((name, module.slug), ".") for module in modules())
        lines.append((harmless(name), shown, sum(mark == "+" for mark in shown)))
    return table(lines, ("student", "01 to 20: + passed, - failed, . not written", "passed"))
