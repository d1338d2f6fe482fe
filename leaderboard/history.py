"""How somebody got better over time, and which steps were more than luck."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from leaderboard.ranking import Group
from leaderboard.standing import One, Standing, standing_of


class Step(NamedTuple):
    """A submission that was better than all by the same submitter before it.

    `surely`: its lower bound lies above the upper bound of their best before, on the same model of CPU; True for a
    first one. `record`: the same against everybody's best before.
    """

    standing: Standing
    surely: bool
    record: bool


class Course(NamedTuple):
    """A submitter's steps where only equals are compared; tiers of the open division are one course."""

    group: Group
    submitter_id: str
    attempts: int
    steps: tuple[Step, ...]


def best_so_far(submissions: Iterable[One]) -> dict[str, list[One]]:
    """For each submitter's id, their submissions that were better than all of theirs before, in order of time."""
    rows = [(standing_of(one), one) for one in submissions]
    found: dict[str, list[One]] = {}
    best: dict[str, float] = {}
    for row, one in sorted(rows, key=lambda pair: _when(pair[0])):
        if row.score is not None and row.score > best.get(row.submitter_id, 0.0):
            found.setdefault(row.submitter_id, []).append(one)
            best[row.submitter_id] = row.score
    return found


def beats(new: Standing, old: Standing) -> bool:
    """Is it faster beyond doubt? Ratios of different CPUs are not compared: caches and vector widths change them."""
    return new.ratio_lo > old.ratio_hi and new.cpu_model is not None and new.cpu_model == old.cpu_model


def courses(rows: Iterable[Standing], submitter_ids: Iterable[str]) -> tuple[Course, ...]:
    """What these submitters did, course by course."""
    wanted, found = set(submitter_ids), []
    for key, members in groupby(sorted(rows, key=lambda row: _course(row)[:4]), _course):
        everybody = sorted(members, key=_when)
        champions = _champions(everybody)
        attempts: dict[str, int] = defaultdict(int)
        for row in everybody:
            attempts[row.submitter_id] += 1
        for who, own in sorted(best_so_far(everybody).items()):
            if who in wanted:
                steps = tuple(_step(row, before, champions) for row, before in zip(own, [None, *own]))
                found.append(Course(key, who, attempts[who], steps))
    return tuple(found)


def _step(row: Standing, before: Standing | None, champions: dict[str, Standing | None]) -> Step:
    champion = champions[row.submission_id]
    return Step(row, before is None or beats(row, before), champion is None or beats(row, champion))


def _champions(everybody: Iterable[Standing]) -> dict[str, Standing | None]:
    """Of each submission, by id, the best of all that was there before it."""
    found: dict[str, Standing | None] = {}
    best: Standing | None = None
    for row in everybody:
        found[row.submission_id] = best
        if row.score is not None and (best is None or row.score > (best.score or 0.0)):
            best = row
    return found


def _course(row: Standing) -> Group:
    return Group(row.model, row.division, row.thread_policy, row.benchmark_version, tier=None)


def _when(row: Standing) -> tuple[str, str]:
    return (row.created_utc, row.submission_id)
