"""Every figure of `derived`, each a pure function of what was measured.

The score is built on logarithms of paired times. Within a worker the median over the block pairs resists spikes;
across workers the median is the ratio and the minimum its lower bound: n independent medians all lie above the true
one with probability 2^-n, so `ratio_lo` of six is a one-sided 98.4 % bound, of five, the fewest allowed, a 96.9 % one,
without any assumption on the distribution.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, wraps
from statistics import median
from typing import TypeVar

from leaderboard.measured import Arm, Blocks, Generation, Quality, Worker
from leaderboard.schema import Derived, Measured, Task

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
OBJECTS = 16


def once_per_object(figure: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
    """Remember a figure of the objects that were asked about last, for several rules ask for the same.

    What was measured is immutable, so the same object has the same figure; it is held, so nothing else can be at its
    place in memory.
    """
    latest: dict[int, tuple[Asked, Answer]] = {}

    @wraps(figure)
    def remembered(asked: Asked) -> Answer:
        known = latest.get(id(asked))
        if known is None:
            if len(latest) >= OBJECTS:
                latest.clear()
            known = latest[id(asked)] = asked, figure(asked)
        return known[1]

    return remembered


def log_ratios(blocks: Blocks) -> Iterator[float]:
    """ln(reference time per query / candidate time per query) of each pair, in the order in which they ran."""
    for ref, opt in zip(blocks.ref_block_ns, blocks.opt_block_ns):
        yield math.log((ref * blocks.inner_opt) / (opt * blocks.inner_ref))


def pair_median(blocks: Blocks) -> float:
    """Median over the pairs of `log_ratios`."""
    return median(log_ratios(blocks))


@once_per_object
def worker_medians(measured: Measured) -> tuple[float, ...]:
    """One `pair_median` per worker, in the order in which the workers ran."""
    return tuple(pair_median(worker) for worker in sorted(measured.raw.workers, key=lambda worker: worker.pid_order))


@once_per_object
def blocks_in_order(worker: Worker) -> tuple[tuple[Arm, int], ...]:
    """(arm, wall ns) of every block, in the order in which they ran: the order of `cpu_ns`, `minflt` and `nivcsw`."""
    blocks: list[tuple[Arm, int]] = []
    for first, ref, opt in zip(worker.order, worker.ref_block_ns, worker.opt_block_ns):
        blocks += (("ref", ref), ("opt", opt)) if first == "ref" else (("opt", opt), ("ref", ref))
    return tuple(blocks)


def query_ns(measured: Measured, arm: Arm) -> float:
    """An arm's time per query in ns: the median over the workers of the median over their blocks."""
    return median(
        median(worker.ref_block_ns) / worker.inner_ref
        if arm == "ref"
        else median(worker.opt_block_ns) / worker.inner_opt
        for worker in measured.raw.workers
    )


@lru_cache(maxsize=256)
def slow_queries_allowed(queries: int, percentile: float, confidence: float = 0.99) -> int:
    """The largest t with P[Binomial(queries, 1 - percentile) <= t] <= 1 - confidence; 0 where there is none.

    MLPerf's early stopping (inference rules, appendix A): with t of q queries above a limit, the percentile is at or
    below that limit with the confidence asked for. p90 needs 64 queries for t = 1, p99 needs 662.
    """
    log_slow, log_quick = math.log1p(-percentile), math.log(percentile)
    below = 0.0
    for t in range(queries + 1):
        log_ways = math.lgamma(queries + 1) - math.lgamma(t + 1) - math.lgamma(queries - t + 1)
        below += math.exp(log_ways + t * log_slow + (queries - t) * log_quick)
        if below > 1 - confidence:
            return max(t - 1, 0)
    return queries


def early_stopping_ns(times_ns: Sequence[int], percentile: float = 0.9) -> int | None:
    """An upper estimate of a percentile of latency, in ns: few queries are allowed but cost score. None if too few."""
    slow = slow_queries_allowed(len(times_ns), percentile)
    return sorted(times_ns)[-slow] if slow else None


def _us(time_ns: float | None) -> float | None:
    return None if time_ns is None else time_ns / 1000


def _p50_us(times_ns: Sequence[int]) -> float | None:
    return _us(median(times_ns)) if times_ns else None


def quality_rel(quality: Quality, task: Task) -> float | None:
    """Candidate's quality as a share of the reference's; above 1 is better, also for a loss. None if undefined."""
    if quality.ref_correct and quality.opt_correct is not None:
        return quality.opt_correct / quality.ref_correct
    better, base = quality.value, quality.ref_value
    if not task.higher_is_better:
        better, base = base, better
    share = better / base if base else math.inf
    return share if math.isfinite(share) else None


def ttft_ms_p50(generation: Generation) -> float:
    """Time until the first token is there, the median over the prompts, in ms."""
    return median(generation.ttft_ns) / 1e6


def tokens_per_s(generation: Generation) -> float | None:
    """How quickly tokens follow the first: the inverse of the median time of one. None where none followed."""
    times_ns = [ns for later in generation.per_token_ns for ns in later]
    return 1e9 / median(times_ns) if times_ns else None


def derive(measured: Measured, valid: bool) -> Derived:
    """All figures. `valid` is the verdict of `verdict.judge`: only a valid submission has a score."""
    medians = worker_medians(measured)
    queries, reference = measured.raw.queries, measured.reference
    lowest, generation = math.exp(min(medians)), measured.generation
    return Derived(
        worker_medians=medians,
        ratio=math.exp(median(medians)),
        ratio_lo=lowest,
        ratio_hi=math.exp(max(medians)),
        latency_us_p50=_p50_us(queries.opt_ns),
        latency_us_p90=_us(early_stopping_ns(queries.opt_ns)),
        reference_latency_us_p50=_p50_us(queries.ref_ns),
        reference_latency_us_p90=_us(early_stopping_ns(queries.ref_ns)),
        quality_rel=quality_rel(measured.quality, measured.task),
        size_ratio=reference.bytes / measured.candidate.bytes_stored,
        stage_ratios=tuple(
            math.exp(pair_median(stage.blocks)) if stage.blocks else None for stage in measured.pipeline
        ),
        score=lowest if valid else None,
        ttft_ms_p50=ttft_ms_p50(generation) if generation else None,
        tokens_per_s=tokens_per_s(generation) if generation else None,
    )
