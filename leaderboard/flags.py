"""What a person should look at: unusual beside other submissions. Advice for a review, never a reason against anybody.

An honest run can be far ahead, and a forged one can be unremarkable. Shown as remarks where the board is shown; nothing
here is part of a submission, since it depends on who else is there.
"""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from leaderboard.schema import Submission
from leaderboard.standing import Standing, standing_of

FAR_AHEAD = 3.0  # times the next best score
OTHER_REFERENCE = 1.5  # times the reference's usual time on the same model of CPU, or the other way round
LEAST_FIELD = 4  # so many runs on it say what is usual
LEAST_SPREAD = 1e-4  # of the median: blocks of 40 ms are never that equal on a machine that does anything else


class Flag(NamedTuple):
    """A remark: what is unusual, and what would be usual."""

    code: str
    measured: float
    usual: str
    hint: str


def flags(submissions: Iterable[Submission | Standing]) -> dict[str, tuple[Flag, ...]]:
    """The remarks on each submission of a field, by id; those without any are left out."""
    field = [standing_of(one) for one in submissions]
    best: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)  # board -> submitter -> best score
    times: dict[tuple[str | None, ...], list[float]] = defaultdict(list)  # bench -> the reference's times per query
    for one in field:
        if one.score is not None:
            of_board = best[_board(one)]
            of_board[one.submitter_id] = max(one.score, of_board.get(one.submitter_id, 0.0))
        times[_bench(one)].append(one.reference_query_ns)
    usual = {bench: median(some) for bench, some in times.items() if None not in bench and len(some) >= LEAST_FIELD}
    leaders = {board: sorted(scores.items(), key=lambda item: -item[1])[:2] for board, scores in best.items()}
    found = {}
    for one in field:
        others = [score for name, score in leaders.get(_board(one), ()) if name != one.submitter_id]
        remarks = (
            far_ahead(one, others[0] if others else None),
            reference_time(one, usual.get(_bench(one))),
            constant_times(one),
        )
        if some := tuple(flag for flag in remarks if flag):
            found[one.submission_id] = some
    return found


def far_ahead(one: Standing, next_best: float | None) -> Flag | None:
    """The score is more than 3 times the best of all other submitters on the same board."""
    if next_best is None or one.score is None or one.score <= FAR_AHEAD * next_best:
        return None
    hint = "verify it: a discovery or a mistake"
    return Flag("FAR_AHEAD", one.score / next_best, f"<= {FAR_AHEAD:g} times the next best", hint)


def reference_time(one: Standing, usual_ns: float | None) -> Flag | None:
    """The reference took 1.5 times as long as usual for this task on this model of CPU, or the other way round."""
    if usual_ns is None:
        return None
    share = one.reference_query_ns / usual_ns
    if 1 / OTHER_REFERENCE <= share <= OTHER_REFERENCE:
        return None
    usual = f"within a factor of {OTHER_REFERENCE:g} of {usual_ns / 1000:.4g} us"
    return Flag("REFERENCE_TIME", share, usual, "another clock rate, or not the reference: verify it")


def constant_times(one: Standing) -> Flag | None:
    """An arm's blocks took the same time to within 1 in 10,000, in the middle one of the workers."""
    if one.spread >= LEAST_SPREAD:
        return None
    hint = "real times scatter more: were they written by hand, or the clock rounded? verify it"
    return Flag("CONSTANT_TIMES", one.spread, f">= {LEAST_SPREAD:g} (spread of an arm's blocks by their median)", hint)


FLAGS = (far_ahead, reference_time, constant_times)


def _board(one: Standing) -> tuple[str, ...]:
    return one.model, one.division, one.thread_policy, one.benchmark_version


def _bench(one: Standing) -> tuple[str | None, ...]:
    return one.model, one.thread_policy, one.benchmark_version, one.cpu_model
