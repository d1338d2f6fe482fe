"""Order: which submissions are compared with each other, and who stands where. What it looks like is in `tables.py`.

Only equals are compared: same model, division, thread policy and benchmark version, in the open division also the same
tier of quality. Every order here is total, so the result does not depend on the order in which files were read.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from leaderboard.gates.quality import quality_tier
from leaderboard.schema import Division, Submission, ThreadPolicy

By = Literal["score", "latency", "size", "accuracy"]


class Entry(NamedTuple):
    """A submission and its place; no rank if it is INVALID. `tied`: others share the rank."""

    submission: Submission
    rank: int | None
    tied: bool


class Group(NamedTuple):
    """What is ranked together. `tier` is in percent of the reference's quality, in the open division only."""

    model: str
    division: Division
    thread_policy: ThreadPolicy
    benchmark_version: str
    tier: int | None


class Board(NamedTuple):
    """One ranked table."""

    group: Group
    by: By
    entries: tuple[Entry, ...]


def _figure(compare: Callable[[Submission], float | None]) -> Callable[[Submission], float]:
    """A missing figure counts as the worst."""

    def worst_if_missing(submission: Submission) -> float:
        value = compare(submission)
        return float("inf") if value is None else value

    return worst_if_missing


def _quality(submission: Submission) -> float:
    value = submission.quality.value
    return -value if submission.task.higher_is_better else value


# Smaller is better in each.
ORDERS: dict[By, Callable[[Submission], float]] = {
    "score": lambda submission: -submission.derived.ratio_lo,
    "latency": _figure(lambda submission: submission.derived.latency_us_p90),
    "size": lambda submission: submission.candidate.bytes_stored,
    "accuracy": _quality,
}


def _display(submission: Submission) -> tuple[float, int, str, str]:
    """Order among equals: higher quality, fewer bytes, earlier date, id."""
    return (
        _quality(submission),
        submission.candidate.bytes_stored,
        submission.created_utc,
        submission.submission_id,
    )


def _tie_groups(ordered: Sequence[Submission], by: By) -> list[list[Submission]]:
    """Who cannot be told apart. The leader opens a group; by score one joins whose interval reaches the leader's bound.

    Comparing with the leader alone keeps the relation well defined: overlapping intervals are not transitive.
    """
    figure = ORDERS[by]
    groups: list[list[Submission]] = []
    for submission in ordered:
        leader = groups[-1][0] if groups else None
        if leader is None:
            joins = False
        elif by == "score":
            joins = submission.derived.ratio_hi >= leader.derived.ratio_lo
        else:
            joins = figure(submission) == figure(leader)
        if joins:
            groups[-1].append(submission)
        else:
            groups.append([submission])
    return groups


def rank(submissions: Iterable[Submission], by: By = "score") -> tuple[Entry, ...]:
    """Places for submissions that are comparable: ranked ones first ("1 1 3"), then the unranked."""
    ordered = sorted(submissions, key=lambda submission: (ORDERS[by](submission), *_display(submission)))
    entries: list[Entry] = []
    for group in _tie_groups([one for one in ordered if one.derived.score is not None], by):
        place = len(entries) + 1
        entries += [Entry(one, place, len(group) > 1) for one in sorted(group, key=_display)]
    unranked = [one for one in ordered if one.derived.score is None]
    return (*entries, *(Entry(one, None, False) for one in sorted(unranked, key=_display)))


def group_of(submission: Submission) -> Group:
    """What a submission may be compared with."""
    tier = quality_tier(submission) if submission.division == "open" else None
    return Group(submission.model, submission.division, submission.thread_policy, submission.benchmark_version, tier)


def _position(group: Group) -> tuple[str, str, str, str, int]:
    return (*group[:4], -(group.tier or 0))


def boards(submissions: Iterable[Submission], by: By = "score") -> tuple[Board, ...]:
    """All tables, in the order model, division, thread policy, benchmark version, tier from the highest."""
    ordered = sorted(submissions, key=lambda submission: _position(group_of(submission)))
    return tuple(Board(group, by, rank(members, by)) for group, members in groupby(ordered, group_of))
