"""`python -m leaderboard export`: the leaderboard as CSV, Markdown or JSON, the same bytes for the same submissions."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaderboard.document import document
from leaderboard.markdown import to_markdown
from leaderboard.show import loaded
from leaderboard.spreadsheet import to_csv
from leaderboard.store import StoreError
from leaderboard.text import inert
from leaderboard.view import View

EXAMPLES = """\
  python -m leaderboard export csv --out board.csv   one line for each submission, unrounded
  python -m leaderboard export md                    tables for a README, with digits as in the terminal
  python -m leaderboard export json | jq .events     everything, unrounded; `leaderboard/document.py` says its shape
"""


def to_json(view: View) -> str:
    """The whole leaderboard as JSON, a line for each value, so that two can be compared line by line."""
    return json.dumps(document(view), indent=1, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[View], str]] = {"csv": to_csv, "md": to_markdown, "json": to_json}


def add_parser(commands: Any) -> None:
    """Add `export` to the command line."""
    command = commands.add_parser(
        "export", help="the leaderboard as CSV, Markdown or JSON", description=__doc__,
        epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    command.add_argument("format", choices=FORMATS, help="what to write")
    command.add_argument("--out", type=Path, metavar="FILE", help="where to (default: the terminal)")
    command.add_argument("--leaderboard", type=Path, metavar="DIR", help="where the submissions lie")


def run(options: argparse.Namespace) -> int:
    """Write it. Raises UnknownName, and StoreError where it cannot be read or written."""
    from leaderboard.atomic import remove_stale, write_atomically

    content = FORMATS[options.format](loaded(options.leaderboard))
    if options.out is None:
        sys.stdout.write(content)
        return 0
    try:
        remove_stale(options.out.parent, options.out.name)
        write_atomically(options.out, content.encode())
    except OSError as error:
        raise StoreError(
            f"export: cannot write {options.out}: {error.strerror or error}; name a file in a folder that is there"
        ) from error
    print(f"{len(content.encode()):,} bytes in {inert(str(options.out))}")
    return 0
