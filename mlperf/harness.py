"""Times any two callables against each other, interleaved, in one process. It knows no model, no data and no score.

Reference and candidate run in blocks of many queries, in the order A B, B A, A B, ...: whatever disturbs the machine
hits both, and the ratio of neighbouring blocks stays honest where absolute times do not. Nothing is averaged, corrected
or left out here: raw times go into the submission and every figure is derived from them there. Fresh processes are
`worker.py`'s part.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from time import perf_counter_ns, process_time_ns
from typing import Any, Literal, NamedTuple

import numpy as np

try:
    import resource
except ImportError:  # not Unix: page faults and context switches stay unknown
    resource = None  # type: ignore[assignment]

Query = Callable[[np.ndarray], Any]
Side = Literal["ref", "opt"]

STEADY_BLOCKS = 4  # two neighbouring halves of so many warm-up blocks are compared
STEADY_CHANGE = 0.1  # relative change of their medians that still counts as steady
MOST_WARMUP_BLOCKS = 40
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


RANKED = Effort(workers=5, pairs=15, block_ns=40_000_000, queries=256)
PRACTICE = Effort(workers=2, pairs=7, block_ns=5_000_000, queries=64)
ESTIMATE = Effort(workers=1, pairs=5, block_ns=5_000_000, queries=0)  # between two stages of the pipeline


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


class Usage(NamedTuple):
    """What the process had used at a moment; None where the system does not tell."""

    cpu_ns: int
    minflt: int | None
    nivcsw: int | None

    @classmethod
    def now(cls) -> Usage:
        if resource is None:
            return cls(process_time_ns(), None, None)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(process_time_ns(), used.ru_minflt, used.ru_nivcsw)


class Block(NamedTuple):
    """One timed block: wall time, and what the process used meanwhile."""

    wall_ns: int
    cpu_ns: int
    minflt: int | None
    nivcsw: int | None


class Runner:
    """An arm walking along its trace of queries, over and over."""

    def __init__(self, arm: Arm, trace: Sequence[np.ndarray]) -> None:
        self.arm, self.queries = arm, cycle(trace)

    def block(self, inner: int) -> Block:
        """Time `inner` queries together, after one untimed: it finds the caches full of the other arm's data."""
        run = self.arm.run
        first, *queries = islice(self.queries, inner + 1)
        with self.arm.around():
            run(first)
            before = Usage.now()
            start = perf_counter_ns()
            for x in queries:
                run(x)
            wall_ns = perf_counter_ns() - start
            after = Usage.now()
        used = (None if a is None or b is None else a - b for a, b in zip(after[1:], before[1:]))
        return Block(wall_ns, after.cpu_ns - before.cpu_ns, *used)

    def singles(self, count: int) -> list[int]:
        """Time `count` queries one by one."""
        run, times = self.arm.run, []
        first, *queries = islice(self.queries, count + 1)
        with self.arm.around():
            run(first)
            for x in queries:
                start = perf_counter_ns()
                run(x)
                times.append(perf_counter_ns() - start)
        return times

    def calibrate(self, block_ns: int) -> int:
        """How many queries a block needs to last `block_ns`: doubled until a quarter of it is reached, then scaled."""
        inner = 1
        while (wall_ns := self.block(inner).wall_ns) < block_ns / 4:
            inner *= 2
        return max(1, math.ceil(inner * block_ns / wall_ns))


@contextmanager
def without_gc() -> Iterator[None]:
    """No garbage collection inside: one arm would pay for the other's."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def is_steady(times: Sequence[float]) -> bool:
    """Whether the last two halves of STEADY_BLOCKS times agree in their medians."""
    if len(times) < 2 * STEADY_BLOCKS:
        return False
    earlier, later = median(times[-2 * STEADY_BLOCKS : -STEADY_BLOCKS]), median(times[-STEADY_BLOCKS:])
    return abs(later - earlier) <= STEADY_CHANGE * earlier


class WarmUp(NamedTuple):
    """How the warm-up went: short blocks per arm, whether both became steady, and how many queries make a block."""

    blocks: int
    steady: bool
    inner: dict[Side, int]


def warm_up(runners: dict[Side, Runner], block_ns: int) -> WarmUp:
    """Run short blocks of both arms in turn until both are steady, then see how many queries last `block_ns`."""
    short = {side: max(1, runner.calibrate(block_ns) // 4) for side, runner in runners.items()}
    times: dict[Side, list[float]] = {side: [] for side in runners}
    while len(times["ref"]) < MOST_WARMUP_BLOCKS and not all(map(is_steady, times.values())):
        for side, runner in runners.items():
            times[side].append(runner.block(short[side]).wall_ns / short[side])
    steady = all(map(is_steady, times.values()))
    # The quickest block counts: a disturbed one would make all timed blocks too short.
    return WarmUp(len(times["ref"]), steady, {side: math.ceil(block_ns / min(times[side])) for side in runners})


def dummies(samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Inputs of the same shapes and dtypes that say nothing about the real ones; integers (indices, say) are zeros."""
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal(x.shape).astype(x.dtype) if x.dtype.kind == "f" else np.zeros_like(x)
        for x in samples[:QUERIES_PER_TURN]
    ]


def alternately(pairs: int, first: Side) -> list[Side]:
    """Which arm begins each pair: A B, B A, A B, ..."""
    second: Side = "opt" if first == "ref" else "ref"
    return [first if i % 2 == 0 else second for i in range(pairs)]


def compare(
    ref: Arm,
    opt: Arm,
    trace: Sequence[np.ndarray],
    effort: Effort,
    first: Side = "ref",
    ready: Callable[[], None] = lambda: None,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Warm both arms up on dummy data, then time `effort.pairs` pairs of blocks along the trace.

    `ready` is called once, just before the first timed block; `progress` after every pair. Returns the fields of the
    leaderboard's `Worker` that can be known here, by name; times in ns.
    """
    made_up = dummies(trace)
    idle: dict[Side, Runner] = {"ref": Runner(ref, made_up), "opt": Runner(opt, made_up)}
    warmup_blocks, steady, inner = warm_up(idle, effort.block_ns)
    runners: dict[Side, Runner] = {"ref": Runner(ref, trace), "opt": Runner(opt, trace)}
    order = alternately(effort.pairs, first)
    walls: dict[Side, list[int]] = {"ref": [], "opt": []}
    blocks: list[Block] = []
    with without_gc():
        ready()
        for begins in order:
            for side in alternately(2, begins):
                block = runners[side].block(inner[side])
                walls[side].append(block.wall_ns)
                blocks.append(block)
            progress()
    usage: dict[str, list[int] | None] = {
        name: None
        if any(getattr(block, name) is None for block in blocks)
        else [getattr(block, name) for block in blocks]
        for name in Usage._fields
    }
    return {
        "inner_ref": inner["ref"],
        "inner_opt": inner["opt"],
        "ref_block_ns": walls["ref"],
        "opt_block_ns": walls["opt"],
        "order": order,
        "warmup_blocks": warmup_blocks,
        "steady": steady,
        **usage,
    }


def single_queries(
    ref: Arm, opt: Arm, trace: Sequence[np.ndarray], count: int, first: Side = "ref"
) -> dict[str, list[int]]:
    """Times in ns of `count` single queries per arm along the same trace, in short turns."""
    runners: dict[Side, Runner] = {"ref": Runner(ref, trace), "opt": Runner(opt, trace)}
    times: dict[Side, list[int]] = {"ref": [], "opt": []}
    with without_gc():
        for begins in alternately(math.ceil(count / QUERIES_PER_TURN), first):
            turn = min(QUERIES_PER_TURN, count - len(times["ref"]))
            for side in alternately(2, begins):
                times[side] += runners[side].singles(turn)
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
            times, start = [], perf_counter_ns()
            for _ in islice(stream(prompt), tokens + 1):
                times.append(perf_counter_ns() - start)
                start = perf_counter_ns()
            counts.append(len(times))
            first.append(times[0] if times else perf_counter_ns() - start)
            later.append(times[1:])
    return {"tokens": counts, "ttft_ns": first, "per_token_ns": later}


def streaming(arm: Arm) -> Callable[[np.ndarray], Iterator[np.ndarray]]:
    """How an arm writes its answer token by token. TypeError where it does not."""
    if arm.stream is None:
        raise TypeError("harness: the arm answers at once; to time its tokens it needs `stream`")
    return arm.stream


def answers(arm: Arm, samples: Sequence[np.ndarray]) -> np.ndarray:
    """The arm's outputs for all samples, stacked along the first axis; asked as when timed, or `arm.at_once` together.

    TypeError if the arm answers with something else than an array.
    """
    outputs = []
    with arm.around():
        for start in range(0, len(samples), arm.at_once):
            some = samples[start : start + arm.at_once]
            y = arm.run(some[0] if len(some) == 1 else np.concatenate(some))
            if type(y) is not np.ndarray:
                raise TypeError(f"harness: the arm answered with {type(y).__name__}; it must give a NumPy array")
            outputs.append(y.copy())
    return np.concatenate(outputs)
