"""`tito capstone`: one page of what you reached, for a portfolio."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from leaderboard import default_directory
from mlperf.commands.terminal import CommandParser, add_command, phase
from tinytorch.files import require_writable, write_atomically
from tito import portfolio, progress
from tito.terminal import next_step, tell
from tito.workspace import Workspace

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  tito capstone report --submitter Ada      capstone.md and capstone.html, from what you did and measured
"""
PICTURE = "roofline.png"


def add_parser(commands: Commands) -> None:
    """Add `capstone` to the command line."""
    command = add_command(commands, "capstone", "one page of what you reached", EXAMPLES)
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=CommandParser)
    report = actions.add_parser("report", help="write it as Markdown and as HTML")
    report.add_argument("--submitter", default="anonymous", metavar="NAME", help="whose submissions count")
    report.add_argument("--leaderboard", type=Path, metavar="DIR", help="where they are")
    report.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: your workspace)")
    report.add_argument("--model", default="cnn", metavar="MODEL", help="whose roofline is measured (default: cnn)")
    report.add_argument("--no-roofline", action="store_true", help="measure nothing")


def run(options: argparse.Namespace) -> int:
    """Write both files; 1 if the roofline cannot be measured."""
    workspace = Workspace.here()
    progress.read(workspace, tell)
    output = options.output or workspace.root
    require_writable(output)
    output.mkdir(parents=True, exist_ok=True)
    picture = ""
    if not options.no_roofline:
        with phase("roofline", 1, "picture") as bar:
            measured(options.model, output)
            bar.update()
        picture = PICTURE
    parts = portfolio.sections(workspace, options.leaderboard or default_directory(), options.submitter, picture)
    files = {"markdown": output / "capstone.md", "html": output / "capstone.html"}
    write_atomically(files["markdown"], portfolio.markdown(options.submitter, parts).encode())
    write_atomically(files["html"], portfolio.page(options.submitter, parts).encode())
    print("\n".join(f"{part.title}: {part.words}" for part in parts))
    next_step(f"open {files['html']}")
    print(json.dumps({name: str(path) for name, path in files.items()}, separators=(",", ":")))
    return 0


def measured(model: str, output: Path) -> None:
    """The profiler's roofline of a network, as a plan that answers one query. OSError if it cannot be made."""
    with tempfile.TemporaryDirectory(prefix="tito-") as folder:
        command = [sys.executable, "-m", "profiler", model, "--inference", "--plan", "--batch", "1", "--plot", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not Path(folder, PICTURE).is_file():
            why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise OSError(f"the roofline of {model} could not be measured: {why[0]}; --no-roofline leaves it out")
        write_atomically(output / PICTURE, Path(folder, PICTURE).read_bytes())
