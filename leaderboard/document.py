"""What is shown as JSON values: unrounded, complete, the same for the same submissions.

    {"boards": [{model, division, thread_policy, benchmark_version, tier, by, entries: [ENTRY]}],
     "events": [{name, division, thread_policy, weights: {model: share}, places: [PLACE]}],
     "problems": [{path, code, reason}]}

ENTRY: rank (null without one), tied, attempts, behind (the id of a better one by the same submitter, or null), every
figure of `Standing`, `reasons` and `warnings` as lists of codes, `flags`, and `verification`: {word, ratio, ratio_lo,
ratio_hi, verifiers}. PLACE: rank, tied, submitter_id, submitter, score, most, attempts, and `counted`: {model: id}.
Foreign text stands as it was given, in ASCII with escapes: make it inert before showing it.
"""

import json
from collections.abc import Iterable
from typing import Any

from leaderboard.events import Event
from leaderboard.history import Course
from leaderboard.pareto import Frontier
from leaderboard.ranking import Entry
from leaderboard.standing import Standing
from leaderboard.view import View

OF_THE_BOARD = ("model", "division", "thread_policy", "benchmark_version", "tier")


def document(view: View) -> dict[str, Any]:
    """Everything that is shown."""
    return {
        "boards": [
            {**board.group._asdict(), "by": board.by, "entries": [entry_values(entry, view) for entry in board.entries]}
            for board in view.boards
        ],
        "events": [event_values(event) for event in view.events],
        "problems": [problem._asdict() for problem in view.problems],
    }


def compact(content: Any) -> str:
    """JSON in one line of ASCII."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def entry_values(entry: Entry, view: View) -> dict[str, Any]:
    """An ENTRY."""
    values = row_values(entry.standing, view)
    place = {"rank": entry.rank, "tied": entry.tied, "attempts": entry.attempts, "behind": entry.behind}
    return place | {name: value for name, value in values.items() if name not in OF_THE_BOARD}


def row_values(row: Standing, view: View) -> dict[str, Any]:
    """A submission's figures, and what others say of it."""
    return row._asdict() | {
        "reasons": list(row.invalid),
        "warnings": list(row.warnings),
        "flags": list(view.flags(row)),
        "verification": view.trust(row)._asdict(),
    }


def event_values(event: Event[Standing]) -> dict[str, Any]:
    """An event with its places."""
    return event._asdict() | {
        "places": [
            place._asdict() | {"counted": {row.model: row.submission_id for row in place.counted}}
            for place in event.places
        ]
    }


def frontier_values(frontiers: Iterable[Frontier], view: View) -> list[dict[str, Any]]:
    """{model, thread_policy, benchmark_version, total, best: [figures]} of each frontier, the quickest first."""
    return [one._asdict() | {"best": [row_values(row, view) for row in one.best]} for one in frontiers]


def course_values(courses: Iterable[Course], view: View) -> list[dict[str, Any]]:
    """{model, division, ..., submitter_id, attempts, steps: [figures, surely, record]} of each course."""
    return [
        {
            **course.group._asdict(),
            "submitter_id": course.submitter_id,
            "attempts": course.attempts,
            "steps": [
                {"surely": step.surely, "record": step.record} | row_values(step.standing, view)
                for step in course.steps
            ],
        }
        for course in courses
    ]
