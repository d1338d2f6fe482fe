"""Which milestones there are: found by their folders, whose names begin with number and year, and read from scripts.

The folders begin with a digit, as the course names them, so scripts are loaded by path and nothing imports them.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from milestones.run import Claim

FOLDER = Path(__file__).parent
CLAIM_WIDTH = 60  # columns of a table


class Entry(NamedTuple):
    """A script: the number and year of its folder, and what it claims."""

    number: int
    year: int
    path: Path
    claim: Claim

    @property
    def name(self) -> str:
        """Number and script, as tables show it."""
        return f"{self.number:02} {self.path.stem}"


def entries(folder: Path = FOLDER) -> list[Entry]:
    """All milestones, in the order of their numbers. A script is one if it defines MILESTONE; others help one."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9]_[0-9][0-9][0-9][0-9]_*/*.py")):
        number, year, _ = path.parent.name.split("_", 2)
        claim = claim_of(path)
        if claim is not None:
            found.append(Entry(int(number), int(year), path, claim))
    return found


def claim_of(path: Path) -> Claim | None:
    """What a script defines as MILESTONE; its own folder is on the path meanwhile, as when it is started."""
    sys.path.insert(0, str(path.parent))
    try:
        claim = runpy.run_path(str(path)).get("MILESTONE")
    finally:
        sys.path.remove(str(path.parent))
    return claim if isinstance(claim, Claim) else None


def table(found: list[Entry]) -> str:
    """Number, year, script and claim of each."""
    rows = [(f"{one.number:02}", one.year, one.path.name, one.claim.claim) for one in found]
    headers = ("number", "year", "script", "claim")
    align = ("left", "left", "left", "left")
    return tabulate(rows, headers, colalign=align, disable_numparse=True, maxcolwidths=[None, None, None, CLAIM_WIDTH])
