"""Was it measured as thoroughly and as quietly as the division asks, and is it in the division it belongs to?"""

from collections.abc import Iterator
from statistics import median

from leaderboard.bands import BUSY_CPU_SHARE, DIRTY_BLOCKS, DIRTY_CPU_SHARE, PROTOCOLS
from leaderboard.derive import blocks_in_order
from leaderboard.measured import Arm, Worker
from leaderboard.rules import Finding
from leaderboard.schema import Measured


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
    """At most 20 % of the blocks got less than 80 % of a CPU; where more did, somebody else was using the machine."""
    shares = [share for worker in measured.raw.workers for _, share in _cpu_shares(worker)]
    dirty = sum(share < DIRTY_CPU_SHARE for share in shares)
    if not shares or dirty <= DIRTY_BLOCKS * len(shares):
        return None
    required = f"<= {DIRTY_BLOCKS:.0%} of blocks with less than {DIRTY_CPU_SHARE:.0%} of a CPU"
    return Finding(dirty / len(shares), required, "close other programs and measure again")


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
    """Closed means the given weights and the pipeline's recipe: training and code of one's own belong into open."""
    if measured.division != "closed":
        return None
    if measured.candidate.retrained:
        return Finding("retrained", "the reference's weights, not trained further", "enter with --division open")
    if measured.entry is not None or measured.candidate.form == "entry":
        return Finding("an entry's own code", "the pipeline with a recipe", "enter with --division open")
    return None


def practice_only(measured: Measured) -> Finding | None:
    """Practice runs are short and are never ranked."""
    if measured.division != "practice":
        return None
    return Finding("practice", "division closed or open", "run again without --fast to be ranked")
