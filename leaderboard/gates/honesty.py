"""Did the timed run do the work it claims? Audits of the same code path, two clocks, who computed when nobody asked.

They expose a cheat that the harness saw; whoever makes up a whole file consistently is found by a replay alone. Rules
that came with schema 1.2.0 ask every ranked run for these observations and do not touch older files.
"""

import math
from collections.abc import Iterator, Sequence

from leaderboard.bands import (
    CLOCK_NS,
    CLOCK_SHARE,
    IDLE_CPU_SHARE,
    OTHER_ORDER,
    REFERENCE_SLOWED,
    SAME_SAMPLE,
    SHORT_QUERY_NS,
    SHUFFLED_KNOWS,
    SHUFFLED_TIME,
    STANDARD_ERRORS,
    Band,
)
from leaderboard.derive import blocks_in_order, query_ns
from leaderboard.measured import Arm, Worker
from leaderboard.rules import Finding, audit_missing, made_with, since
from leaderboard.schema import Measured

ARMS: tuple[Arm, ...] = ("ref", "opt")


def allowed(measured: Measured, band: Band) -> float:
    """The ratio that a band allows this candidate, decided in ns before any change of unit."""
    return band.short if query_ns(measured, "opt") < SHORT_QUERY_NS else band.usual


@since("1.2.0")
def perf_acc_mismatch(measured: Measured) -> Finding | None:
    """Answers copied while timed, at places nobody knew beforehand, equal those given when only quality was asked."""
    workers, required = measured.raw.workers, "0 answers that differ, some compared in every worker"
    found = sum(worker.kept_mismatches or 0 for worker in workers)
    found += measured.quality.perf_mode_mismatches or 0
    if measured.audits is not None:
        found += measured.audits.perf_output_mismatch or 0
    if found:
        return Finding(found, required, "answer timed queries by the same code as all others, and without randomness")
    if all(worker.kept and worker.kept_mismatches is not None for worker in workers):
        return None
    return audit_missing(measured, required)


@since("1.2.0")
def caching_suspected(measured: Measured) -> Finding | None:
    """No answer is remembered: one sample over and over is not quicker than the trace, new samples are not slower."""
    limit, audits = allowed(measured, SAME_SAMPLE), measured.audits
    required = f"<= {limit} (trace by one sample repeated, and new samples by the trace)"
    ratios = [] if audits is None else [audits.same_sample_ratio, audits.fresh_ratio]
    known = [ratio for ratio in ratios if ratio is not None]
    if known and max(known) > limit:
        hint = "keep keys, values and packed weights, never whole answers: a query's answer is computed for that query"
        return Finding(max(known), required, hint)
    return None if len(known) == 2 else audit_missing(measured, required)


@since("1.2.0")
def seed_sensitive(measured: Measured) -> Finding | None:
    """Another order of the same queries takes the same time, within 5 % (20 % for queries below 200 us)."""
    limit, audits = allowed(measured, OTHER_ORDER), measured.audits
    required = f"within a factor of {limit} (another order of the queries by the ranked one)"
    if audits is None or audits.alt_seed_ratio is None:
        return audit_missing(measured, required)
    if within(audits.alt_seed_ratio, limit):
        return None
    return Finding(audits.alt_seed_ratio, required, "do not prepare for an order of queries; then quieten the machine")


@since("1.2.0")
def weights_ignored(measured: Measured) -> Finding | None:
    """With shuffled weights the quality falls to chance while the time stays: the weights are what answers.

    Of what the candidate has above chance a quarter may stay, or 3 standard errors (each at least one answer) where
    answers are counted and that is more.
    """
    limit, audits, quality = allowed(measured, SHUFFLED_TIME), measured.audits, measured.quality
    shuffled = None if audits is None else audits.weight_shuffle
    if shuffled is None or shuffled.chance is None:
        return audit_missing(measured, "quality and time with shuffled weights, and what chance would give")
    hint = "compute every answer from the candidate's own weights, and nothing from what was stored beside them"
    margin = SHUFFLED_KNOWS * (quality.value - shuffled.chance)
    if measured.task.higher_is_better:
        error = max(math.sqrt(max(shuffled.chance * (1 - shuffled.chance), 0) / quality.n), 1 / quality.n)
        bound = shuffled.chance + max(margin, STANDARD_ERRORS * error)
        falls = shuffled.quality <= bound
    else:
        bound = shuffled.chance + margin
        falls = shuffled.quality >= bound
    if not falls:
        sign = "<=" if measured.task.higher_is_better else ">="
        return Finding(shuffled.quality, f"{sign} {bound:.6g} ({measured.task.metric} with shuffled weights)", hint)
    if within(shuffled.ratio, limit):
        return None
    return Finding(shuffled.ratio, f"within a factor of {limit} (time with shuffled weights by the real ones)", hint)


def within(ratio: float, limit: float) -> bool:
    """Is a ratio of times at most `limit` times from 1, in either direction?"""
    return 1 / limit <= ratio <= limit


def clock_inconsistent(measured: Measured) -> Finding | None:
    """The blocks of a worker take no longer than the time around them; each is as long as the parent saw it."""
    hint = "the clock was tampered with or stepped, or the machine was too busy to pass a message"
    worst = max((sum(w.ref_block_ns) + sum(w.opt_block_ns)) / w.wall_ns for w in measured.raw.workers)
    if worst > 1:
        return Finding(worst, "<= 1 (sum of blocks / wall time around them)", hint)
    required = f"within {CLOCK_SHARE:.0%} + {CLOCK_NS} ns (a block by the parent's clock by its own, median per arm)"
    if made_with(measured, "1.2.0") and any(w.parent_block_ns is None for w in measured.raw.workers):
        return audit_missing(measured, required)
    strays = [stray for worker in measured.raw.workers for stray in _strays(worker)]
    beyond = [(parent, own) for parent, own in strays if abs(parent - own) > CLOCK_SHARE * own + CLOCK_NS]
    if not beyond:
        return None
    parent, own = max(beyond, key=lambda block: abs(block[0] - block[1]) / block[1])
    return Finding(parent / own, required, hint)


def _strays(worker: Worker) -> Iterator[tuple[float, float]]:
    """(parent's view, own time) in ns of the block whose difference is the median, for each arm of a worker.

    Nothing where no block at all is seen amiss.
    """
    if worker.parent_block_ns is None:
        return
    blocks = blocks_in_order(worker)
    if max(abs(parent - own) for parent, (_, own) in zip(worker.parent_block_ns, blocks)) <= CLOCK_NS:
        return  # nothing to look for, as nearly always
    seen = list(zip(blocks, worker.parent_block_ns))
    for arm in ARMS:
        of_arm = sorted((parent - own, own) for (side, own), parent in seen if side == arm)
        difference, own = of_arm[len(of_arm) // 2]
        yield own + difference, own


@since("1.2.0")
def background_work(measured: Measured) -> Finding | None:
    """Nothing is computed while nobody asks: the process is idle in the pause after each block, no thread is new."""
    required = f"<= {IDLE_CPU_SHARE} of a CPU in the pauses after the blocks, and no new threads"
    hint = "finish every answer before it is handed over: no threads and no work left for later"
    started = sum(worker.threads_started or 0 for worker in measured.raw.workers)
    if started:
        return Finding(f"{started} threads started while timed", required, hint)
    workers = measured.raw.workers
    busiest = max((share for worker in workers for share in _idle_shares(worker)), default=0.0)
    if busiest > IDLE_CPU_SHARE:
        return Finding(busiest, required, hint)
    if any(worker.idle_cpu_ns is None or worker.idle_ns is None for worker in workers):
        return audit_missing(measured, required)
    return None


def _idle_shares(worker: Worker) -> Iterator[float]:
    """CPU time by time of the pauses after each arm's blocks; nothing where no pause at all was busy."""
    if worker.idle_cpu_ns is None or worker.idle_ns is None:
        return
    if max(worker.idle_cpu_ns) <= IDLE_CPU_SHARE * min(worker.idle_ns):
        return  # nothing to look for, as nearly always
    pauses: Sequence[tuple[int, int]] = list(zip(worker.idle_cpu_ns, worker.idle_ns))
    for arm in ARMS:
        after = [pause for (side, _), pause in zip(blocks_in_order(worker), pauses) if side == arm]
        if after:
            yield sum(cpu for cpu, _ in after) / sum(length for _, length in after)


@since("1.2.0")
def reference_out_of_band(measured: Measured) -> Finding | None:
    """The reference is as quick beside the candidate as alone, in a process that never saw the candidate.

    By the least times of both: what disturbs a block only lengthens it, and what slows the reference does so in each.
    """
    required = f"<= {REFERENCE_SLOWED} (the reference's time beside the candidate by its time alone)"
    alone = measured.raw.reference_alone
    if alone is None:
        return audit_missing(measured, required)
    least = min(block_ns / worker.inner_ref for worker in measured.raw.workers for block_ns in worker.ref_block_ns)
    slowed = least * alone.inner / min(alone.block_ns)
    if slowed <= REFERENCE_SLOWED:
        return None
    return Finding(slowed, required, "do not touch NumPy, threads or memory of the process; then quieten the machine")


@since("1.2.0")
def harness_modified(measured: Measured) -> Finding | None:
    """A ranked run is measured by a harness as committed: no changed and no new file in it."""
    if measured.harness.dirty is not True or measured.division == "practice":
        return None
    hint = "commit or undo the changes under mlperf/ and profiler/ (git status), or try it with --division practice"
    return Finding("changed files", "mlperf/ and the profiler's clock as committed", hint)


@since("1.2.0")
def calibration_leak(measured: Measured) -> Finding | None:
    """Making the candidate, its calibration and its training, reads no test data."""
    read = None if measured.audits is None else measured.audits.test_files_read
    if read is None and measured.entry is not None:
        return audit_missing(measured, "what an entry's code reads is watched")
    if not read:
        return None
    shown = ", ".join(read[:5]) + (f" and {len(read) - 5} more" if len(read) > 5 else "")
    return Finding(shown, "no file of the test data opened", "calibrate and train with what is handed over")
