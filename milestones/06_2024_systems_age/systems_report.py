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
        "parameters": profiler.parameters(optimised), "query_flops": after.flops, "threads": 1, "bytes": size,
    }  # fmt: skip
    scaling = list(batches(optimised, x, run.quick))
    return Findings(optimised, {BEFORE: before, AFTER: after}, scaling, 2024, ours)


def batches(model: Layer, x: np.ndarray, quick: bool) -> Iterator[Swept]:
    """The time of a plan over the batch, for one thread and then for twice as many each time, up to all."""
    most = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for threads in sorted({min(2**i, most) for i in range(most.bit_length() + 1)}):
        set_num_threads(threads, blas=1)
        of = f"a query of the plan, {threads} thread{'s' * (threads > 1)}"
        build = partial(batch_of, model, x, threads)
        yield swept(Sweep("batch", of, BATCHES, build, QUICK_BATCHES, memory="arena and constants"), quick)
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
    one, more = found.scaling[0], found.scaling[-1]
    single, whole = one.points[0], one.points[-1]
    others = more.sweep.of.rpartition(", ")[2]
    return [
        f"Before, {units.duration(before.ops_ns)} of {units.duration(before.wall_ns)} passed inside ops; now the "
        f"whole query takes {units.duration(after.wall_ns)}. Would quicker kernels alone have met the claim?",
        f"A query had {before.flops:,} FLOPs and has {after.flops:,}, {before.flops / after.flops:.1f} times less; "
        f"its time became {before.wall_ns / after.wall_ns:.0f} times less. Which stages changed the one, which only "
        "the other?",
        f"Batch {whole.size} takes {whole.ns / single.ns:.0f} times as long as batch {single.size}, an exponent of "
        f"{one.fitted('time').exponent:.2f}: {single.ns * whole.size / whole.ns:.1f} times as many examples a second. "
        "Who gains by that, and who waits?",
        f"With {others} batch {whole.size} takes {units.duration(more.points[-1].ns)} instead of "
        f"{units.duration(whole.ns)}, batch {single.size} {units.duration(more.points[0].ns)} instead of "
        f"{units.duration(single.ns)}. From which batch on is another thread worth waking?",
    ]
