"""What the report of milestone 06 looks at: a network as it was and as it became, and how its plan grows with batch and
threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import profiler
from kernels.threads import set_num_threads
from milestones.report import BUDGET_S, QUICK_BUDGET_S, Findings
from milestones.run import Run
from milestones.sweeps import Case, Sweep, Swept, swept
from mlperf.answering import eager, eagerly
from profiler import units
from profiler.profiling import profile
from tinytorch.core.layers import Layer
from tinytorch.perf.acceleration import accelerate

BATCHES, QUICK_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256), 6
BEFORE, AFTER = "one query before", "one query after"


def findings(reference: Layer, optimised: Layer, x: np.ndarray, size: int, run: Run) -> Findings:
    """Profile one query of x (N, ...) before and after; measure the plan in batches, on one thread and on more."""
    brief: dict[str, Any] = {"roofline": False, "budget_s": QUICK_BUDGET_S if run.quick else BUDGET_S}
    query = np.ascontiguousarray(x[:1])
    with eagerly("numpy"):
        before = profile(reference, query, backward=False, **brief)
    plan = accelerate(optimised, query)
    after = profile(plan, query, **brief)
    ours = {
        "parameters": profiler.parameters(optimised), "query_flops": before.flops, "threads": 1, "bytes": size,
    }  # fmt: skip
    scaling = list(batches(optimised, x, run.quick))
    return Findings(optimised, {BEFORE: before, AFTER: after}, scaling, 2024, ours)


def batches(model: Layer, x: np.ndarray, quick: bool) -> Iterator[Swept]:
    """The time of a plan over the batch, for one thread and then for twice as many each time, up to all."""
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for threads in sorted({min(2**i, most) for i in range(most.bit_length() + 1)}):
        set_num_threads(threads, blas=1)
        of = f"a query of the plan, {threads} thread{'s' * (threads > 1)}"
        yield swept(Sweep("batch", of, BATCHES, partial(batch_of, model, x, threads), QUICK_BATCHES), quick)
    set_num_threads(1, blas=1)


def batch_of(model: Layer, x: np.ndarray, threads: int, size: int) -> Case:
    """So many examples answered by one plan."""
    examples = np.ascontiguousarray(x[:size])
    plan = accelerate(model, examples, threads)

    def observe() -> None:
        with eagerly("numpy"):
            eager(model)(examples)

    return Case(lambda: plan(examples), observe, profiler.parameters(model), plan.arena_bytes + plan.constant_bytes)


def questions(found: Findings) -> list[str]:
    before, after = found.passes[BEFORE], found.passes[AFTER]
    one, most = found.scaling[0], found.scaling[-1]
    single, whole = one.points[0], one.points[-1]
    best = most.points[-1]
    per_example = single.ns / (whole.ns / whole.size)
    return [
        f"Before, {units.duration(before.ops_ns)} of {units.duration(before.wall_ns)} were inside ops; now the whole query "
        f"takes {units.duration(after.wall_ns)}. Would faster kernels alone have met the claim?",
        f"FLOPs fell from {before.flops:,} to {after.flops:,}, a factor of {before.flops / after.flops:.1f}, time by "
        f"{before.wall_ns / after.wall_ns:.0f}. Which stages changed the one, and which only the other?",
        f"Batch {whole.size} takes {whole.ns / single.ns:.0f} times as long as batch 1, {per_example:.1f} times less for each "
        f"example, an exponent of {one.fitted('time').exponent:.2f}. Who pays for that, and who gains?",
        f"At batch {best.size} {most.sweep.of.rpartition(', ')[2]} need {units.duration(best.ns)}, one needs "
        f"{units.duration(whole.ns)}; at batch 1 {units.duration(most.points[0].ns)} and {units.duration(single.ns)}. From "
        "which batch on is a second thread worth waking?",
    ]
