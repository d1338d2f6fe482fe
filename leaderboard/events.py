"""Who is best over several boards: three events by kind of network, and all of them together.

The score of an event is the weighted geometric mean of a submitter's best scores. A model without a valid submission
counts as 1, which the reference itself has, so leaving one out never helps, and nobody's score depends on who else is
there. Divisions and thread policies are events of their own.

The weights say what is worth the work. The three kinds count about alike. A task on real data counts one and a half
times its small twin. The two smallest nets count little: most of their time is Python's cost of a call, so that one
compiled function makes them ten times faster.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Generic, NamedTuple

from leaderboard.ranking import tie_groups
from leaderboard.schema import Division, ThreadPolicy
from leaderboard.standing import One, Standing, standing_of

PERCENT = {
    "MLP Sprint": {"perceptron": 5, "xor": 5, "mlp": 8, "mlp-mnist": 12},
    "CNN Marathon": {"cnn": 14, "cnn-cifar10": 21},
    "Transformer Decathlon": {"transformer": 14, "gpt-shakespeare": 21},
}
ALL_ROUND = "All-round"
EVENTS: dict[str, dict[str, float]] = {
    ALL_ROUND: {model: share / 100 for shares in PERCENT.values() for model, share in shares.items()},
    **{name: {model: share / sum(of.values()) for model, share in of.items()} for name, of in PERCENT.items()},
}
LEAST_TIER = 99  # percent of the reference's quality: the closed division's gate holds in every event


class Place(NamedTuple, Generic[One]):
    """Where a submitter stands: `score` is the event's, `most` what it would be with every interval's upper end.

    `counted` are the submissions that the score is made of, `attempts` all that were made for the event's models.
    """

    rank: int
    tied: bool
    submitter_id: str
    submitter: str
    score: float
    most: float
    attempts: int
    counted: tuple[One, ...]


class Event(NamedTuple, Generic[One]):
    """One event in one division."""

    name: str
    division: Division
    thread_policy: ThreadPolicy
    weights: Mapping[str, float]
    places: tuple[Place[One], ...]


Rows = list[tuple[Any, Standing]]  # submissions, or rows themselves, each with its row


def slug_of(event: str) -> str:
    """What an event is called on a command line."""
    return event.lower().replace(" ", "-")


def standings(submissions: Iterable[One]) -> tuple[Event[One], ...]:
    """All events somebody takes part in, by division and thread policy; the same whatever the order of submissions."""
    rows = [(one, standing_of(one)) for one in submissions]
    current = current_versions(row for _, row in rows)
    leagues: dict[tuple[Division, ThreadPolicy], Rows] = defaultdict(list)
    for one, row in rows:
        if current.get(row.model) == row.benchmark_version and row.division != "practice":
            leagues[row.division, row.thread_policy].append((one, row))
    found = []
    for division, policy in sorted(leagues):
        for name, weights in EVENTS.items():
            members = [pair for pair in leagues[division, policy] if pair[1].model in weights]
            if places := _places(members, weights):
                found.append(Event(name, division, policy, weights, places))
    return tuple(found)


def current_versions(rows: Iterable[Standing]) -> dict[str, str]:
    """Of each model the benchmark version that most submitters have a valid submission for, the latest of equals.

    The newest alone would not do: one who changed a task by mistake would end the event for everybody.
    """
    who: dict[tuple[str, str], set[str]] = defaultdict(set)
    last: dict[tuple[str, str], str] = defaultdict(str)
    for row in rows:
        if row.score is not None:
            key = (row.model, row.benchmark_version)
            who[key].add(row.submitter_id)
            last[key] = max(last[key], row.created_utc)
    return dict(sorted(who, key=lambda key: (len(who[key]), last[key], key)))


def _places(members: Rows, weights: Mapping[str, float]) -> tuple[Place, ...]:
    """Everybody with a valid submission for one of the models; who reaches the leader's score shares the place."""
    by_submitter: dict[str, Rows] = defaultdict(list)
    for pair in members:
        by_submitter[pair[1].submitter_id].append(pair)
    unplaced = []
    for submitter, attempts in by_submitter.items():
        attempts.sort(key=lambda pair: (pair[1].created_utc, pair[1].submission_id))
        best = _best_of_each_model(attempts)
        if best:
            score = mean(weights, {model: row.ratio_lo for model, (_, row) in best.items()})
            most = mean(weights, {model: row.ratio_hi for model, (_, row) in best.items()})
            counted = tuple(best[model][0] for model in weights if model in best)
            latest = attempts[-1][1]
            unplaced.append(Place(0, False, submitter, latest.submitter, score, most, len(attempts), counted))
    unplaced.sort(key=lambda place: (-place.score, place.submitter_id))
    found: list[Place] = []
    for group in tie_groups(unplaced, lambda place: -place.most, lambda place: -place.score):
        above = len(found)
        found += [place._replace(rank=above + 1, tied=len(group) > 1) for place in group]
    return tuple(found)


def _best_of_each_model(attempts: Rows) -> dict[str, tuple[Any, Standing]]:
    best: dict[str, tuple[Any, Standing]] = {}
    for one, row in attempts:
        if row.score is None or (row.tier or 0) < LEAST_TIER:
            continue
        if row.model not in best or row.score > (best[row.model][1].score or 0):
            best[row.model] = one, row
    return best


def mean(weights: Mapping[str, float], scores: Mapping[str, float]) -> float:
    """Weighted geometric mean, each score at least 1; a missing one counts as 1."""
    total = math.fsum(weights.values())
    logs = (weight * math.log(max(1.0, scores.get(model, 1.0))) for model, weight in weights.items())
    return math.exp(math.fsum(logs) / total)
