"""Everything that is shown, in whatever form: boards, events, whose word it is, and what to look at twice.

`tables.py` makes text of it, `spreadsheet.py` CSV, `markdown.py` Markdown, `document.py` JSON. None of them computes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from leaderboard.events import Event, standings
from leaderboard.flags import Flag, flags
from leaderboard.ranking import Board, By, boards
from leaderboard.standing import Standing
from leaderboard.store import Problem
from leaderboard.trust import CLAIMED, Trust


class View(NamedTuple):
    """What is to be shown. `trusts` and `remarks` are by submission id; who is missing is claimed, or ordinary."""

    boards: tuple[Board, ...]
    events: tuple[Event[Standing], ...] = ()
    trusts: Mapping[str, Trust] = {}
    remarks: Mapping[str, tuple[Flag, ...]] = {}
    problems: tuple[Problem, ...] = ()

    def trust(self, row: Standing) -> Trust:
        """Whose word a submission is."""
        return self.trusts.get(row.submission_id, CLAIMED)

    def flags(self, row: Standing) -> tuple[str, ...]:
        """The codes of what is unusual about a submission."""
        return tuple(flag.code for flag in self.remarks.get(row.submission_id, ()))


def view_of(
    rows: Iterable[Standing],
    trusts: Mapping[str, Trust],
    problems: Iterable[Problem] = (),
    by: By = "score",
    wanted: Callable[[Standing], bool] = lambda row: True,
    wanted_event: Callable[[Event], bool] = lambda event: True,
) -> View:
    """The boards of the wanted submissions, and the wanted events.

    What decides an event or is unusual is found among all submissions, so that no choice of what to see changes it.
    """
    every = list(rows)
    return View(
        boards(filter(wanted, every), by),
        tuple(filter(wanted_event, standings(every))),
        trusts,
        flags(every),
        tuple(sorted(problems)),
    )
