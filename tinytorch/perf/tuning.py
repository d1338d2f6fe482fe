"""Choosing among ways to compute the same by timing them, in turns, so that a disturbance hits all of them alike.

Left out: searching. The caller names the few candidates, simplest first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter_ns
from typing import Any

ROUNDS = 31
ROUND_NS = 200_000  # a round of one candidate; far above the clock's steps, far below a scheduler's
TIE = 0.05  # a candidate must be so much quicker than a simpler one: repeated runs must not disagree by luck


def timings(candidates: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median time in ns of one call of each candidate, over `rounds` rounds in which each has its turn.

    Every other round goes backwards, so that nobody always follows the same neighbour.
    """
    names = list(candidates)
    calls = {name: calls_per_round(run) for name, run in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name in names if number % 2 else names[::-1]:
            times[name].append(timed(candidates[name], calls[name]) / calls[name])
    return {name: median(values) for name, values in times.items()}


def fastest(times_ns: Mapping[str, float], tie: float = TIE) -> str:
    """The name with the least time, or the first one that is not slower by more than `tie`: ties go to the simpler."""
    if not times_ns:
        raise ValueError("fastest: no candidates; name at least one")
    least = min(times_ns.values())
    return next(name for name, ns in times_ns.items() if ns * (1 - tie) <= least)


def calls_per_round(run: Callable[[], Any]) -> int:
    """How many calls last ROUND_NS, after calls that warm up."""
    calls = 1
    while (ns := timed(run, calls)) < ROUND_NS / 2:
        calls *= 2
    return max(1, round(calls * ROUND_NS / ns))


def timed(run: Callable[[], Any], calls: int) -> int:
    start = perf_counter_ns()
    for _ in range(calls):
        run()
    return perf_counter_ns() - start
