"""Colours of all drawings: those of Okabe and Ito 2008, told apart also by colour-blind readers.

Nothing is said by colour alone: each phase of a pass has a marker and a hatch as well, which grey paper keeps.
"""

from __future__ import annotations

from typing import NamedTuple

from tinytorch.engine.dispatch import Phase

BLUE, ORANGE, INK = "#0072B2", "#D55E00", "#333333"
GREEN, PINK, SKY, YELLOW = "#009E73", "#CC79A7", "#56B4E9", "#F0E442"
GREY, PALE = "#999999", "#dddddd"


class Look(NamedTuple):
    """How something is drawn: colour, marker of a point, hatch of an area and the hatch's colour."""

    colour: str
    marker: str
    hatch: str
    hatched: str = INK


PHASES: dict[Phase, Look] = {  # from dark to light
    "forward": Look(BLUE, "o", ""),
    "backward": Look(ORANGE, "^", "////", "white"),
    "update": Look(YELLOW, "s", "...."),
}
OUTSIDE = Look("white", "x", "xxxx")
BEFORE, AFTER = Look("white", "o", "////"), Look(BLUE, "s", "")
HELD, MOST = Look(SKY, "o", ""), Look("white", "o", "///")
