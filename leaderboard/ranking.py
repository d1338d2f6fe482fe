"""Order: which submissions are compared with each other, and who stands where. What it looks like is in `tables.py`.

Only equals are compared: same model, division, thread policy and benchmark version, in the open division also the same
tier of quality. Everybody takes one place on a board, with the best of their submissions there; how many they made is
kept beside it. Every order here is total, so the result does not depend on the order in which files were read; and a
rival who comes or goes never lets anyone overtake another.

Submissions and their rows (`Standing`) are ranked alike; of a submission only its row is looked at.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, Generic, Literal, NamedTuple

from leaderboard.schema import Division, ThreadPolicy
from leaderboard.standing import One, Standing, standing_of

By = Literal["score", "latency", "size", "accuracy", "throughput"]


class Entry(NamedTuple, Generic[One]):
    """A submission, its row and its place. No rank if it is INVALID, or its submitter has a better one: `behind`.

    `tied`: others share the rank. `attempts`: how many submissions its submitter made for this model, division, thread
    policy and benchmark version.
    """

    submission: One
    standing: Standing
    rank: int | None
    tied: bool
    attempts: int
    behind: str | None = None


class Group(NamedTuple):
    """What is ranked together. `tier` is in percent of the reference's quality, in the open division only."""

    model: str
    division: Division
    thread_policy: ThreadPolicy
    benchmark_version: str
    tier: int | None


class Board(NamedTuple, Generic[One]):
    """One ranked table: those with a rank, then what their submitters did besides, then the INVALID."""

    group: Group
    by: By
    entries: tuple[Entry[One], ...]


class Order(NamedTuple):
    """What is compared, smaller being better, and how good or bad it may be as far as one can tell."""

    figure: Callable[[Standing], float]
    at_best: Callable[[Standing], float]
    at_worst: Callable[[Standing], float]


def _exact(figure: Callable[[Standing], float]) -> Order:
    return Order(figure, figure, figure)


def _p90(standing: Standing) -> float:
    """A missing latency counts as the worst."""
    return math.inf if standing.latency_us_p90 is None else standing.latency_us_p90


def _quality(standing: Standing) -> float:
    return -standing.quality if standing.higher_is_better else standing.quality


def latency_interval(standing: Standing) -> tuple[float, float]:
    """Between what the 90th percentile (us) may lie: it is taken to differ from process to process as blocks do."""
    p90 = _p90(standing)
    return p90 * standing.query_ns_lo / standing.query_ns, p90 * standing.query_ns_hi / standing.query_ns


ORDERS: dict[By, Order] = {
    "score": Order(lambda one: -one.ratio_lo, lambda one: -one.ratio_hi, lambda one: -one.ratio_lo),
    "latency": Order(_p90, lambda one: latency_interval(one)[0], lambda one: latency_interval(one)[1]),
    "size": _exact(lambda one: one.bytes),
    "accuracy": _exact(_quality),
    "throughput": Order(lambda one: one.query_ns, lambda one: one.query_ns_lo, lambda one: one.query_ns_hi),
}


def _display(standing: Standing) -> tuple[float, int, str, str]:
    """Order among equals: higher quality, fewer bytes, earlier date, id."""
    return (_quality(standing), standing.bytes, standing.created_utc, standing.submission_id)


def tie_groups(ordered: Sequence[Any], at_best: Callable[[Any], float], at_worst: Callable[[Any], float]) -> list[list]:
    """Who cannot be told apart. The leader opens a group; one joins who may be as good as the leader is at worst.

    Comparing with the leader alone keeps the relation well defined: overlapping intervals are not transitive.
    """
    groups: list[list] = []
    for one in ordered:
        if groups and at_best(one) <= at_worst(groups[-1][0]):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def rank(submissions: Iterable[One], by: By = "score") -> tuple[Entry[One], ...]:
    """Places for submissions that are comparable: "1= 1= 3", then what has no rank."""
    rows = [(one, standing_of(one)) for one in submissions]
    return _rank(rows, by, Counter(row.submitter_id for _, row in rows))


def _rank(rows: Iterable[tuple[One, Standing]], by: By, attempts: Counter[str]) -> tuple[Entry[One], ...]:
    figure, at_best, at_worst = ORDERS[by]
    valid, best, behind, unranked = [], dict[str, str](), [], []
    for pair in sorted(rows, key=lambda pair: (figure(pair[1]), *_display(pair[1]))):
        row = pair[1]
        if row.score is None:
            unranked.append(pair)
        elif row.submitter_id in best:
            behind.append(pair)
        else:
            best[row.submitter_id] = row.submission_id
            valid.append(pair)

    def entry(pair: tuple[One, Standing], place: int | None = None, tied: bool = False) -> Entry[One]:
        one, row = pair
        better = best.get(row.submitter_id) if place is None and row.score is not None else None
        return Entry(one, row, place, tied, attempts[row.submitter_id], better)

    entries: list[Entry[One]] = []
    for group in tie_groups(valid, lambda pair: at_best(pair[1]), lambda pair: at_worst(pair[1])):
        place = len(entries) + 1
        entries += [entry(pair, place, len(group) > 1) for pair in sorted(group, key=lambda pair: _display(pair[1]))]
    unranked.sort(key=lambda pair: _display(pair[1]))
    return (*entries, *map(entry, behind), *map(entry, unranked))


def group_of(row: Standing) -> Group:
    """What a submission may be compared with."""
    tier = row.tier if row.division == "open" else None
    return Group(row.model, row.division, row.thread_policy, row.benchmark_version, tier)


def _position(group: Group) -> tuple[str, str, str, str, int]:
    return (*group[:4], -(group.tier or 0))


def boards(submissions: Iterable[One], by: By = "score") -> tuple[Board[One], ...]:
    """All tables, in the order model, division, thread policy, benchmark version, tier from the highest."""
    members: dict[Group, list[tuple[One, Standing]]] = {}
    for one in submissions:
        row = standing_of(one)
        members.setdefault(group_of(row), []).append((one, row))
    found = []
    for _, tiers in groupby(sorted(members, key=_position), lambda group: group[:4]):
        groups = list(tiers)
        attempts = Counter(row.submitter_id for group in groups for _, row in members[group])
        found += [Board(group, by, _rank(members[group], by, attempts)) for group in groups]
    return tuple(found)
