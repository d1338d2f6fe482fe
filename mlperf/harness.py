"""Two arms and a trace of queries: what is asked of both, in which order, and which raw times are kept. No model here.

Reference and candidate run in blocks of many queries, in the order A B, B A, A B, ...; the clock is the repository's
(`profiler.samples`). Nothing is averaged, corrected or left out: raw times go into the submission and every figure is
derived from them there. Fresh processes are `worker.py`'s part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from profiler.samples import (
    UNPROBED,
    Block,
    Probe,
    Runner,
    Usage,
    arrivals,
    pause,
    stopwatch,
    turns,
    warm_up,
    without_gc,
)

Query = Callable[[np.ndarray], Any]
Progress = Callable[[int, int], object]  # told how many are done, of how many
Side = Literal["ref", "opt"]

LOOKED_AT = 50  # of so many timed queries one answer is looked at, ...
LEAST_LOOKED_AT, MOST_LOOKED_AT = 4, 64  # ... but at least and at most so many a block
PAUSE_S = 0.003  # after each block, in which nothing may be computed
QUERIES_PER_TURN = 16  # single queries: so many of one arm, then of the other
PROMPTS_PER_WORKER = 16  # answers whose tokens are timed one by one


@dataclass(frozen=True)
class Effort:
    """How much is measured. `block_ns` is what a block should last: twice the rules, as clocks may double."""

    workers: int
    pairs: int
    block_ns: int
    queries: int

    @property
    def queries_per_worker(self) -> int:
        return math.ceil(self.queries / self.workers)


# One more than the rules ask for: a reference against itself is above 1 in all of five processes once in 32 runs.
RANKED = Effort(workers=6, pairs=15, block_ns=40_000_000, queries=256)
PRACTICE = Effort(workers=2, pairs=7, block_ns=5_000_000, queries=64)
ESTIMATE = Effort(workers=1, pairs=5, block_ns=5_000_000, queries=0)  # between two stages of the pipeline


class NoArray(TypeError):
    """An arm answered with something else than a NumPy array, which might compute the answer later."""


class Arm(NamedTuple):
    """One of the two contestants: array in, array out; `around` is entered around each block, not each query.

    One that writes its answer token by token also shows it so (`stream`) and can be told what to write (`forced`: the
    logits (N, T, V) at every position of texts (N, T)). Where only the answers count and not their time, `at_once`
    queries may be asked together.
    """

    run: Query
    around: Callable[[], AbstractContextManager] = nullcontext
    stream: Callable[[np.ndarray], Iterator[np.ndarray]] | None = None
    forced: Query | None = None
    at_once: int = 1


def dummies(samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Inputs of the same shapes and dtypes that say nothing about the real ones; integers (indices, say) are zeros."""
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(x.shape).astype(x.dtype) if x.dtype.kind == "f" else np.zeros_like(x)
        for x in samples[:QUERIES_PER_TURN]
    ]


def runners(ref: Arm, opt: Arm, trace: Sequence[np.ndarray], first: Side) -> dict[Side, Runner]:
    """Both arms at the beginning of the same trace, the one that begins first."""
    arms: dict[Side, Arm] = {"ref": ref, "opt": opt}
    order: list[Side] = ["ref", "opt"] if first == "ref" else ["opt", "ref"]
    return {side: Runner(arms[side].run, trace, arms[side].around) for side in order}


def compare(
    ref: Arm,
    opt: Arm,
    trace: Sequence[np.ndarray],
    effort: Effort,
    first: Side = "ref",
    ready: Callable[[], None] = lambda: None,
    progress: Callable[[], None] = lambda: None,
    bell: Callable[[], None] = lambda: None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Warm both arms up on dummy data, then time `effort.pairs` pairs of blocks along the trace.

    `ready` is called once, just before the first timed block; `progress` after every pair; `bell` just before and just
    after each block's clock runs. Returns the fields of the leaderboard's `Worker` that can be known here, by name;
    times in ns. With a seed for where to look, some answers are copied while timed (`taken` are the candidate's) and a
    pause follows each block. Raises NoArray if one that is looked at is none.
    """
    warm = warm_up(runners(ref, opt, dummies(trace), "ref"), effort.block_ns)
    arms, order = runners(ref, opt, trace, first), []
    walls: dict[Side, list[int]] = {"ref": [], "opt": []}
    blocks: list[Block] = []
    taken: list[tuple[int, np.ndarray]] = []
    pauses: list[tuple[int, int]] = []
    rng = None if seed is None else np.random.default_rng(seed)
    with without_gc():
        ready()
        for pair in turns(arms, effort.pairs):
            order.append(pair[0])
            for side in pair:
                calls = warm.calls[side]
                probe = UNPROBED if rng is None else Probe(looks(calls, rng), copied, bell)
                block = arms[side].block(calls, probe=probe)
                walls[side].append(block.wall_ns)
                blocks.append(block)
                if rng is not None:
                    taken += block.taken if side == "opt" else ()
                    pauses.append(pause(PAUSE_S))
            progress()
    usage: dict[str, list[int] | None] = {
        name: None
        if any(getattr(block, name) is None for block in blocks)
        else [getattr(block, name) for block in blocks]
        for name in Usage._fields
    }
    return {
        "inner_ref": warm.calls["ref"],
        "inner_opt": warm.calls["opt"],
        "ref_block_ns": walls["ref"],
        "opt_block_ns": walls["opt"],
        "order": order,
        "warmup_blocks": warm.samples,
        "steady": not warm.unsteady,
        **usage,
        "idle_ns": [wall_ns for wall_ns, _ in pauses] if pauses else None,
        "idle_cpu_ns": [cpu_ns for _, cpu_ns in pauses] if pauses else None,
        "taken": taken,
    }


def looks(calls: int, rng: np.random.Generator) -> list[int]:
    """At which of a block's calls the answer is looked at: some that nobody can foresee, and the last."""
    count = min(calls, max(LEAST_LOOKED_AT, min(MOST_LOOKED_AT, calls // LOOKED_AT)))
    return sorted({*rng.choice(calls, size=count, replace=False).tolist(), calls - 1})


def copied(answer: Any) -> np.ndarray:
    """A copy of an answer, which therefore is there. Raises NoArray."""
    if type(answer) is not np.ndarray:
        raise NoArray(f"harness: the arm answered with {type(answer).__name__}; it must give a NumPy array")
    return answer.copy()


def single_queries(
    ref: Arm, opt: Arm, trace: Sequence[np.ndarray], count: int, first: Side = "ref"
) -> dict[str, list[int]]:
    """Times in ns of `count` single queries per arm along the same trace, in short turns."""
    arms = runners(ref, opt, trace, first)
    times: dict[Side, list[int]] = {"ref": [], "opt": []}
    with without_gc():
        for order in turns(arms, math.ceil(count / QUERIES_PER_TURN)):
            some = min(QUERIES_PER_TURN, count - len(times["ref"]))
            for side in order:
                times[side] += arms[side].singles(some)
    return {"ref_ns": times["ref"], "opt_ns": times["opt"]}


def token_times(arm: Arm, prompts: Sequence[np.ndarray], tokens: int) -> dict[str, Any]:
    """Each token's time in the answers to some prompts: fields of the leaderboard's `Generation`, by name; in ns.

    An answer should have `tokens` tokens; of one that goes on, one more is taken, so that it can be told.
    """
    stream = streaming(arm)
    counts, first, later = [], [], []
    with without_gc(), arm.around():
        arm.run(prompts[0])
        for prompt in prompts:
            with stopwatch() as whole:
                times = arrivals(partial(stream, prompt), tokens + 1)
            counts.append(len(times))
            first.append(times[0] if times else whole.ns)
            later.append(times[1:])
    return {"tokens": counts, "ttft_ns": first, "per_token_ns": later}


def streaming(arm: Arm) -> Callable[[np.ndarray], Iterator[np.ndarray]]:
    """How an arm writes its answer token by token. TypeError where it does not."""
    if arm.stream is None:
        raise TypeError("harness: the arm answers at once; to time its tokens it needs `stream`")
    return arm.stream


def unseen(done: int, of: int) -> None:
    """Progress that nobody watches."""


def answers(arm: Arm, samples: Sequence[np.ndarray], progress: Progress = unseen) -> np.ndarray:
    """The arm's outputs for all samples, stacked along the first axis; asked as when timed, or `arm.at_once` together.

    NoArray if the arm answers with something else than an array.
    """
    outputs = []
    with arm.around():
        for start in range(0, len(samples), arm.at_once):
            some = samples[start : start + arm.at_once]
            y = arm.run(some[0] if len(some) == 1 else np.concatenate(some))
            outputs.append(copied(y))
            progress(start + len(some), len(samples))
    return np.concatenate(outputs)
