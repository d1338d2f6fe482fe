"""Who is best over several boards: one event for each embedded model, and all of them together.

The score of an event is the weighted geometric mean of a submitter's best scores. A model without a valid submission
counts as 1, which the reference itself has, so leaving one out never helps, and nobody's score depends on who else is
there. Divisions and thread policies are events of their own.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from leaderboard.gates.quality import quality_tier
from leaderboard.schema import Division, Submission, ThreadPolicy

EVENTS: dict[str, dict[str, float]] = {  # weights; Python's own cost of a call is most of what the two smallest take
    "All-round": {"perceptron": 0.1, "xor": 0.1, "mlp": 0.2, "cnn": 0.3, "transformer": 0.3},
    "MLP Sprint": {"mlp": 1.0},
    "CNN Marathon": {"cnn": 1.0},
    "Transformer Decathlon": {"transformer": 1.0},
}
LEAST_TIER = 99  # percent of the reference's quality: the closed division's gate holds in every event


class Place(NamedTuple):
    """Where a submitter stands. `counted` are the submissions the score is made of, `attempts` all that were made."""

    rank: int
    tied: bool
    submitter_id: str
    submitter: str
    score: float
    most: float
    attempts: int
    counted: tuple[Submission, ...]


class Event(NamedTuple):
    """One event in one division."""

    name: str
    division: Division
    thread_policy: ThreadPolicy
    weights: Mapping[str, float]
    places: tuple[Place, ...]


def standings(submissions: Iterable[Submission]) -> tuple[Event, ...]:
    """All events somebody takes part in, by division and thread policy; the same whatever the order of submissions."""
    found = []
    taking_part = [one for one in submissions if one.division != "practice"]
    for (division, policy), group in groupby(sorted(taking_part, key=_league), _league):
        members = _of_one_version(list(group))
        for name, weights in EVENTS.items():
            if places := _places([one for one in members if one.model in weights], weights):
                found.append(Event(name, division, policy, weights, places))
    return tuple(found)


def _league(one: Submission) -> tuple[Division, ThreadPolicy]:
    return (one.division, one.thread_policy)


def _of_one_version(members: Sequence[Submission]) -> list[Submission]:
    """For each model those of the benchmark version that most submitters have, the latest of equals."""
    who: dict[tuple[str, str], set[str]] = defaultdict(set)
    last: dict[tuple[str, str], str] = defaultdict(str)
    for one in members:
        key = (one.model, one.benchmark_version)
        who[key].add(one.submitter.id)
        last[key] = max(last[key], one.created_utc)
    best = {key[0]: key[1] for key in sorted(who, key=lambda key: (len(who[key]), last[key], key))}
    return [one for one in members if one.benchmark_version == best[one.model]]


def _places(members: Sequence[Submission], weights: Mapping[str, float]) -> tuple[Place, ...]:
    """Everybody with a valid submission for one of the models; who reaches the leader's score shares the place."""
    unplaced = []
    for submitter, group in groupby(sorted(members, key=lambda one: one.submitter.id), lambda one: one.submitter.id):
        attempts = sorted(group, key=lambda one: (one.created_utc, one.submission_id))
        counted = _best_of_each_model(attempts)
        if counted:
            score = _mean(weights, {model: one.derived.ratio_lo for model, one in counted.items()})
            most = _mean(weights, {model: one.derived.ratio_hi for model, one in counted.items()})
            name, chosen = attempts[-1].submitter.display_name, tuple(counted[key] for key in weights if key in counted)
            unplaced.append(Place(0, False, submitter, name, score, most, len(attempts), chosen))
    unplaced.sort(key=lambda place: (-place.score, place.submitter_id))
    groups: list[list[Place]] = []
    for place in unplaced:
        if groups and place.most >= groups[-1][0].score:
            groups[-1].append(place)
        else:
            groups.append([place])
    before = [sum(map(len, groups[:index])) for index in range(len(groups))]
    return tuple(
        place._replace(rank=above + 1, tied=len(group) > 1) for above, group in zip(before, groups) for place in group
    )


def _best_of_each_model(attempts: Sequence[Submission]) -> dict[str, Submission]:
    best: dict[str, Submission] = {}
    for one in attempts:
        if one.derived.score is None or (quality_tier(one) or 0) < LEAST_TIER:
            continue
        if one.model not in best or one.derived.score > (best[one.model].derived.score or 0):
            best[one.model] = one
    return best


def _mean(weights: Mapping[str, float], scores: Mapping[str, float]) -> float:
    """Weighted geometric mean, each score at least 1."""
    total = sum(weights.values())
    return math.exp(sum(weight * math.log(max(1.0, scores.get(key, 1.0))) for key, weight in weights.items()) / total)
