"""The rules that make a submission INVALID, as far as its own data can tell.

`mlperf` calls these through `verdict.finalise` right after measuring, and the leaderboard calls them again on every
reading, so a status is never taken on trust. They live here and not in `mlperf` because the leaderboard imports none of
the other packages. One function per code: its name is the code, its docstring the rule. Rules that need more than the
file (hashes of the pinned data, audits, a replay) are `mlperf`'s; it hands their reasons to `verdict.finalise`.
"""

from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

from leaderboard.derive import blocks_in_order
from leaderboard.measured import Arm, Quality, Worker
from leaderboard.schema import Division, Measured


class Finding(NamedTuple):
    """What a rule found amiss."""

    measured: int | float | str
    required: str
    hint: str


Rule = Callable[[Measured], Finding | None]


class Protocol(NamedTuple):
    """The least that a division asks for. A harness should aim above `block_ns`: it is judged by the median block."""

    workers: int
    pairs: int
    block_ns: int
    queries: int


RANKED = Protocol(workers=5, pairs=15, block_ns=20_000_000, queries=64)
PROTOCOLS: dict[Division, Protocol] = {
    "closed": RANKED,
    "open": RANKED,
    "practice": Protocol(workers=1, pairs=5, block_ns=2_000_000, queries=64),
}

# Percent of the reference's quality. The open division is ranked in tiers, so its gate is the lowest of them.
QUALITY_TIERS = (100, 99, 97, 95)
GATE_PERCENT: dict[Division, int] = {"closed": 99, "practice": 99, "open": QUALITY_TIERS[-1]}

DIRTY_CPU_SHARE = 0.8  # a block that got less CPU time than this share of its wall time was disturbed
DIRTY_BLOCKS = 0.2  # this share of disturbed blocks is tolerated
BUSY_CPU_SHARE = 1.1  # CPU time per wall time and thread; the rest is the clocks' disagreement


def keeps(quality: Quality, percent: int, higher_is_better: bool) -> bool:
    """Is the candidate's quality at least `percent` of the reference's? Integer counts are compared as integers."""
    if quality.ref_correct is not None and quality.opt_correct is not None:
        return 100 * quality.opt_correct >= percent * quality.ref_correct
    if higher_is_better:
        return 100 * quality.value >= percent * quality.ref_value
    return 100 * quality.value <= (200 - percent) * quality.ref_value


def reaches(measured: Measured, percent: int) -> bool:
    """`keeps` for a submission."""
    return keeps(measured.quality, percent, measured.task.higher_is_better)


def quality_tier(measured: Measured) -> int | None:
    """The highest of QUALITY_TIERS that is reached, in percent; None below all of them."""
    return next((percent for percent in QUALITY_TIERS if reaches(measured, percent)), None)


def quality_gate(measured: Measured) -> Finding | None:
    """Quality must reach 99 % of the reference's own on the full test set (95 % in the open division)."""
    percent, quality = GATE_PERCENT[measured.division], measured.quality
    if reaches(measured, percent):
        return None
    hint = "quantize or prune less, or calibrate better: quality is a gate and buys no speed"
    if quality.ref_correct is not None and quality.opt_correct is not None:
        least = -(-percent * quality.ref_correct // 100)
        return Finding(quality.opt_correct, f">= {least} correct ({percent} % of {quality.ref_correct})", hint)
    limit = f">= {percent} %" if measured.task.higher_is_better else f"<= {200 - percent} %"
    return Finding(quality.value, f"{limit} of the reference's {quality.ref_value!r}", hint)


def quality_floor(measured: Measured) -> Finding | None:
    """Quality must also reach the task's absolute floor, so that a bad reference cannot hollow out the task."""
    value, floor = measured.quality.value, measured.task.quality_floor
    higher = measured.task.higher_is_better
    if (value >= floor) if higher else (value <= floor):
        return None
    required = f"{'>=' if higher else '<='} {floor!r} ({measured.task.metric})"
    return Finding(value, required, "the task's floor holds whatever the reference does: restore the pinned weights")


def output_length(measured: Measured) -> Finding | None:
    """Every answer has exactly the tokens the task asks for: stopping early saves time, going on hides a bad answer."""
    asked, generation = measured.task.output_tokens, measured.generation
    if asked is None and generation is None:
        return None
    required, hint = f"{asked} tokens in every answer", "let the harness count the tokens: it asks for as many"
    if asked is None or generation is None:
        found = "no answers timed token by token" if generation is None else "answers in tokens that no task asked for"
        return Finding(found, required, hint)
    wrong = [tokens for tokens in generation.tokens if tokens != asked]
    return Finding(wrong[0], required, hint) if wrong else None


def greedy_agreement(measured: Measured) -> Finding | None:
    """A cache of keys and values changes no answer: without it, in float32 both, the same tokens come out."""
    agreement = 1.0 if measured.generation is None else measured.generation.greedy_agreement
    if agreement == 1:
        return None
    hint = "the cache holds other keys and values than a run over the whole text computes: compare their logits"
    return Finding(agreement, "1.0 of the tokens as without a cache", hint)


def test_set_incomplete(measured: Measured) -> Finding | None:
    """Quality is measured on the whole test set, neither less nor more."""
    asked, size = measured.quality.n, measured.task.n_test
    return None if asked == size else Finding(asked, f"{size} test samples", "run the accuracy pass over all samples")


def too_few_workers(measured: Measured) -> Finding | None:
    """Processes differ by luck that no repetition inside one of them reveals: five must agree."""
    have, least = len(measured.raw.workers), PROTOCOLS[measured.division].workers
    return None if have >= least else Finding(have, f">= {least} workers", "measure in more fresh processes")


def too_few_blocks(measured: Measured) -> Finding | None:
    """Every worker needs 15 pairs of blocks for its median to resist spikes."""
    have, least = min(len(worker.order) for worker in measured.raw.workers), PROTOCOLS[measured.division].pairs
    return None if have >= least else Finding(have, f">= {least} block pairs per worker", "measure more block pairs")


def too_few_queries(measured: Measured) -> Finding | None:
    """Below 64 single queries per arm no 90th percentile can be stated (early stopping)."""
    queries, least = measured.raw.queries, PROTOCOLS[measured.division].queries
    have = min(len(queries.ref_ns), len(queries.opt_ns))
    return None if have >= least else Finding(have, f">= {least} queries per arm", "lengthen the single-query pass")


def block_too_short(measured: Measured) -> Finding | None:
    """A block must last 20 ms, or the clock and one interruption weigh too much. Judged by each worker's median."""
    least = PROTOCOLS[measured.division].block_ns
    shortest = min(
        median(block_ns) for worker in measured.raw.workers for block_ns in (worker.ref_block_ns, worker.opt_block_ns)
    )
    if shortest >= least:
        return None
    return Finding(shortest, f">= {least} ns per block", "raise the inner loops until a block is long enough")


def not_steady(measured: Measured) -> Finding | None:
    """Timing may begin only after the warm-up has reached a steady state in every worker."""
    unsteady = sum(worker.steady is False for worker in measured.raw.workers)
    return Finding(unsteady, "0 unsteady workers", "warm up longer on a quiet machine") if unsteady else None


def recompiled_while_timed(measured: Measured) -> Finding | None:
    """Nothing may be compiled between the first and the last timed block."""
    compiled = sum(worker.compiled_while_timed or 0 for worker in measured.raw.workers)
    hint = "warm up with the very shapes, dtypes and contiguity that are timed"
    return Finding(compiled, "0 kernels compiled while timed", hint) if compiled else None


def _cpu_shares(worker: Worker) -> Iterator[tuple[Arm, float]]:
    """(arm, CPU time / wall time) of each block, nothing where CPU time is unknown."""
    for (arm, wall_ns), cpu_ns in zip(blocks_in_order(worker), worker.cpu_ns or ()):
        yield arm, cpu_ns / wall_ns


def noisy(measured: Measured) -> Finding | None:
    """More than 20 % of the blocks got less than 80 % of a CPU: somebody else was using the machine."""
    shares = [share for worker in measured.raw.workers for _, share in _cpu_shares(worker)]
    dirty = sum(share < DIRTY_CPU_SHARE for share in shares)
    if not shares or dirty <= DIRTY_BLOCKS * len(shares):
        return None
    required = f"<= {DIRTY_BLOCKS:.0%} of blocks with less than {DIRTY_CPU_SHARE:.0%} of a CPU"
    return Finding(dirty / len(shares), required, "close other programs and measure again")


def clock_inconsistent(measured: Measured) -> Finding | None:
    """The blocks of a worker cannot take longer than the time that passed around them."""
    worst = max((sum(w.ref_block_ns) + sum(w.opt_block_ns)) / w.wall_ns for w in measured.raw.workers)
    if worst <= 1:
        return None
    return Finding(worst, "<= 1 (sum of blocks / wall time around them)", "the clock was tampered with or stepped")


def thread_policy(measured: Measured) -> Finding | None:
    """t1 is one thread, tN several; every pool has exactly that many, and neither arm keeps more CPUs busy."""
    threads, policy = measured.threads, measured.thread_policy
    found = []
    if (threads == 1) != (policy == "t1"):
        found.append(f"{policy} with threads = {threads}")
    pools = {"blas": measured.env.blas.threads, "numba": measured.env.numba_threads}
    found += [f"{name} pool of {size}" for name, size in pools.items() if size not in (None, threads)]
    shares: dict[Arm, list[float]] = {"ref": [], "opt": []}
    for worker in measured.raw.workers:
        for arm, share in _cpu_shares(worker):
            shares[arm].append(share)
    busy = {arm: median(values) for arm, values in shares.items() if values}
    found += [f"{arm} kept {cpus:.2f} CPUs busy" for arm, cpus in busy.items() if cpus > BUSY_CPU_SHARE * threads]
    if not found:
        return None
    required = "1 thread in every pool" if policy == "t1" else f"one count >= 2 in every pool (here {threads})"
    return Finding("; ".join(found), required, "let the harness set the thread counts, before anything is imported")


def division_rule(measured: Measured) -> Finding | None:
    """Closed means the given weights: whoever trains, fine-tuning included, enters the open division."""
    if measured.division != "closed" or not measured.candidate.retrained:
        return None
    return Finding("retrained", "the reference's weights, not trained further", "enter with --division open")


def practice_only(measured: Measured) -> Finding | None:
    """Practice runs are short and are never ranked."""
    if measured.division != "practice":
        return None
    return Finding("practice", "division closed or open", "run again without --fast to be ranked")


GATES: tuple[Rule, ...] = (
    quality_gate,
    quality_floor,
    output_length,
    greedy_agreement,
    test_set_incomplete,
    too_few_workers,
    too_few_blocks,
    too_few_queries,
    block_too_short,
    not_steady,
    recompiled_while_timed,
    noisy,
    clock_inconsistent,
    thread_policy,
    division_rule,
    practice_only,
)
