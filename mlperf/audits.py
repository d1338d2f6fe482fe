"""Is an answer computed, from this query and these weights? Asked of the candidate right after its ranked blocks.

Each audit compares the time of two traces, or of two sets of weights, in short blocks that alternate like the ranked
ones; the rules that judge the ratios are the leaderboard's. The ideas are MLPerf's: one sample over and over (TEST04),
answers looked at while timed (TEST01), another order (TEST05), a changed model that must fail as quickly (audits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from mlperf.harness import Arm, answers
from profiler.samples import Runner, turns, without_gc

ROUNDS, MOST_ROUNDS = 6, 18
SETTLED = 1.01  # the third least time of a trace by its least; until then a machine is too busy to compare
PART = 4  # an audit's block is this part of a ranked one
MOST_FRESH = 4096  # inputs made anew for one block; more would measure the memory they lie in
JITTER = 1e-3  # of a sample's own spread: unlike any sample, and as much work
AGREEMENT = 1e-3  # of the largest number in an answer: two roundings of the same answer are closer, two answers are not


def mismatches(arm: Arm, samples: Sequence[np.ndarray], taken: Sequence[tuple[int, np.ndarray]]) -> int:
    """How many answers that were taken while timed differ from those that the arm gives now."""
    asked = sorted({which for which, _ in taken})
    now = dict(zip(asked, np.split(answers(arm, [samples[i] for i in asked]), len(asked)))) if asked else {}
    return sum(not same(answer, now[which]) for which, answer in taken)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two answers are one: equal where they are whole numbers, else but for rounding; nan is never the same."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    largest = np.abs(b).max(initial=0)
    return bool((np.abs(a - b) <= AGREEMENT * largest + np.finfo(a.dtype).tiny).all())


def fresh(samples: Sequence[np.ndarray], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`count` inputs that were never asked: numbers moved a little, whole numbers drawn from those at each place."""
    seen = np.concatenate(samples)
    if seen.dtype.kind == "f":
        some = seen[rng.integers(len(seen), size=count)]
        spread = JITTER * (float(np.std(samples[0])) or 1)
        return queries(some + np.asarray(spread, seen.dtype) * rng.standard_normal(some.shape, np.float32))
    chosen = rng.integers(len(seen), size=(count, *seen.shape[1:]))
    return queries(seen[(chosen, *np.indices(seen.shape[1:]))])


def copies(samples: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """`count` arrays of their own with the samples' values over and over: what `fresh` is compared with."""
    return queries(np.concatenate(samples)[np.arange(count) % len(samples)])


def queries(rows: np.ndarray) -> list[np.ndarray]:
    """Each row as a query (1, ...), in memory of its own."""
    return list(rows[:, None])


def times(runners: Mapping[str, Runner], calls: Mapping[str, int]) -> dict[str, float]:
    """The least time in ns of a call of each, in blocks that take turns until those least times have settled.

    What disturbs a block only lengthens it, and a remembered answer is quick in every one.
    """
    found: dict[str, list[float]] = {name: [] for name in runners}
    with without_gc():
        for done, order in enumerate(turns(runners, MOST_ROUNDS), 1):
            for name in order:
                found[name].append(runners[name].block(calls[name]).wall_ns / calls[name])
            if done >= ROUNDS and all(sorted(values)[2] <= SETTLED * min(values) for values in found.values()):
                break
    return {name: min(values) for name, values in found.items()}


def input_ratios(arm: Arm, trace: Sequence[np.ndarray], calls: int, rng: np.random.Generator) -> dict[str, float]:
    """The ratios of the leaderboard's `Audits` that depend on which inputs are asked. `calls` make a ranked block."""
    part = max(1, calls // PART)
    few = min(part, MOST_FRESH)
    count = (few + 1) * MOST_ROUNDS
    other = [trace[i] for i in rng.permutation(len(trace))]
    traces = {
        "trace": trace, "same": [trace[0]], "other": other, "fresh": fresh(trace, count, rng),
        "copies": copies(trace, count),
    }  # fmt: skip
    runners = {name: Runner(arm.run, inputs, arm.around) for name, inputs in traces.items()}
    ns = times(runners, {name: few if name in ("fresh", "copies") else part for name in runners})
    return {
        "same_sample_ratio": ns["trace"] / ns["same"],
        "fresh_ratio": ns["fresh"] / ns["copies"],
        "alt_seed_ratio": ns["other"] / ns["trace"],
    }


def shuffled_ratio(arm: Arm, shuffled: Arm, trace: Sequence[np.ndarray], calls: int) -> float:
    """Time per query with shuffled weights by the time with the real ones."""
    runners = {"real": Runner(arm.run, trace, arm.around), "shuffled": Runner(shuffled.run, trace, shuffled.around)}
    for runner in runners.values():
        runner.block(1)
    ns = times(runners, dict.fromkeys(runners, max(1, calls // PART)))
    return ns["shuffled"] / ns["real"]


def together(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over the workers of what each found."""
    return {name: median(one[name] for one in found) for name in found[0]}
