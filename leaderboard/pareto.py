"""Who is beaten by nobody in latency, quality and bytes at once, as far as one can tell.

Two submissions on the frontier are incomparable by design: no exchange rate between the three is made up.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from leaderboard.intervals import share_interval
from leaderboard.ranking import latency_interval
from leaderboard.schema import Submission, ThreadPolicy
from leaderboard.standing import Standing, standing_of

Interval = tuple[float, float]


class Costs(NamedTuple):
    """What somebody would like to have less of: microseconds, lost quality, bytes; each as value and interval."""

    values: tuple[float, float, float]
    intervals: tuple[Interval, Interval, Interval]


class Frontier(NamedTuple):
    """The submissions that nobody beats, the quickest first, and how many there are in all."""

    model: str
    thread_policy: ThreadPolicy
    benchmark_version: str
    best: tuple[Standing, ...]
    total: int


def costs_of(row: Standing) -> Costs:
    """The three costs of a submission that has a latency. Bytes are exact, and so is a loss, of which only the mean is
    known."""
    assert row.latency_us_p90 is not None
    lost = -row.quality if row.higher_is_better else row.quality
    if row.correct is None:
        of_quality = (lost, lost)
    else:
        low, high = share_interval(row.correct, row.samples)
        of_quality = (-high, -low)
    return Costs((row.latency_us_p90, lost, row.bytes), (latency_interval(row), of_quality, (row.bytes, row.bytes)))


def dominates(one: Costs, other: Costs) -> bool:
    """Is one nowhere worse, and somewhere better beyond doubt: are two intervals apart?"""
    return all(mine <= theirs for mine, theirs in zip(one.values, other.values)) and any(
        mine[1] < theirs[0] for mine, theirs in zip(one.intervals, other.intervals)
    )


def frontier(submissions: Iterable[Submission | Standing]) -> set[str]:
    """The ids of those that no other dominates. Who cannot be told apart from one of them is among them."""
    rows = [standing_of(one) for one in submissions]
    every = sorted(
        (costs_of(row), row.submission_id) for row in rows if row.score is not None and row.latency_us_p90 is not None
    )
    found = set()
    for mine, submission_id in every:
        for other, _ in every:
            if other.values[0] > mine.values[0]:  # all that follow are slower
                found.add(submission_id)
                break
            if dominates(other, mine):
                break
        else:
            found.add(submission_id)
    return found


def _comparable(row: Standing) -> tuple[str, ThreadPolicy, str]:
    return (row.model, row.thread_policy, row.benchmark_version)


def frontiers(rows: Iterable[Standing]) -> tuple[Frontier, ...]:
    """One for each model, thread policy and benchmark version, all divisions and tiers together."""
    timed = [row for row in rows if row.score is not None and row.latency_us_p90 is not None]
    found = []
    for key, group in groupby(sorted(timed, key=_comparable), _comparable):
        members = list(group)
        best = frontier(members)
        chosen = sorted(
            (row for row in members if row.submission_id in best),
            key=lambda row: (row.latency_us_p90 or 0.0, row.submission_id),
        )
        found.append(Frontier(*key, tuple(chosen), len(members)))
    return tuple(found)
