"""`python -m leaderboard html`: the leaderboard as a folder of pages for a browser, without network or server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from leaderboard.store import default_directory, load_all
from leaderboard.text import inert

EXAMPLES = """\
  python -m leaderboard html                              pages in ./site: open site/index.html
  python -m leaderboard html --out public --leaderboard submissions
"""
OUT = Path("site")


def add_parser(commands: Any) -> None:
    """Add `html` to the command line."""
    command = commands.add_parser(
        "html", help="pages for a browser", epilog=f"examples:\n{EXAMPLES}", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Build the leaderboard as a folder of pages. A site that was built before is replaced, as a whole "
        "and at once; a folder with anything else in it is refused.",
    )  # fmt: skip
    command.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"the folder to build (default: {OUT})")
    command.add_argument("--leaderboard", type=Path, metavar="DIR", help="where the submissions lie")


def run(options: argparse.Namespace) -> int:
    """Build the site and say where it is. Returns the exit code: 2 where the folder cannot be had."""
    from tqdm import tqdm

    from leaderboard import verification
    from leaderboard.site.build import write_site

    directory = options.leaderboard or default_directory()
    if options.leaderboard and not directory.is_dir():
        print(f"html: no directory {inert(str(directory))}: name the one that submissions lie in", file=sys.stderr)
        return 2
    loaded = load_all(directory)
    try:
        with tqdm(desc="pages", unit="page", file=sys.stderr, dynamic_ncols=True, delay=1) as bar:

            def told(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            built = write_site(loaded, verification.load_all(directory), options.out, told)
            seconds = bar.format_dict["elapsed"]
    except OSError as error:
        print(inert(str(error)), file=sys.stderr)
        return 2
    print(
        f"{len(loaded.submissions)} submissions on {built.pages} pages in {seconds:.1f} s. "
        f"Open {inert(str(options.out / 'index.html'))} ({built.index_bytes / 1000:.0f} kB)"
    )
    return 0
