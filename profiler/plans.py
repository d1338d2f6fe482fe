"""Plans, captured training steps and decoders profiled step by step, by a clock read inside the compiled loop.

Each kernel step is a line, named after the layers whose ops became it. What reading the clock costs is measured and
taken off each step; it stands in the report. Left out: ops called one by one (`profiling.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from profiler.profiling import BUDGET_S, report_of, surroundings, watched_passes
from profiler.record import Recording
from profiler.report import Report
from profiler.timeline import memory_of
from profiler.units import duration
from tinytorch.engine.plan import Plan
from tinytorch.engine.stateful import StatefulPlan
from tinytorch.engine.step import Step
from tinytorch.engine.watching import Ran, watch_plans
from tinytorch.perf.decoding import Decoder

HALF_CACHE = (
    "cached_attention is counted as when the plan was captured, with half of all positions in the cache; with fewer it "
    "computes less"
)


class Subject(NamedTuple):
    """What is run, what takes back what a run does, and the compiled program with its threads."""

    run: Callable[[], Any]
    undone: Callable[[], AbstractContextManager]
    threads: int
    program: Any


def profile_plan(
    plan: Any, *inputs: Any, subject: str | None = None, budget_s: float = BUDGET_S, roofline: bool = True,
    memory: bool = True,
) -> tuple[Report, Recording]:
    """The profile of `plan(*inputs)`, and what it was made from.

    `plan` is a `Plan`, a captured training `Step`, all of whose steps are taken back, or a `Decoder`, which reads one
    more token of each of its texts (`inputs`: the tokens) without moving on. `budget_s`: about how long is measured;
    `memory` runs it a few times more, traced.
    TypeError for anything else; whatever the plan refuses it refuses here too.
    """
    what = subject_of(plan, inputs)
    with what.undone():
        ran = seen_once(what.run)
        watched, free_ns = watched_passes(what.run, None, budget_s)
        held = memory_of(what.run, program=what.program) if memory else None
    report = report_of(watched, free_ns, subject or type(plan).__name__, held, roofline=False)
    said = [*report.doubts, overhead(ran)]
    if any(note.op.startswith("cached_attention") for note in ran.notes):
        said.append(HALF_CACHE)
    about = {"form": "plan", "doubts": tuple(said), **surroundings(roofline, what.threads)}
    return report.model_copy(update=about), watched.recording


def subject_of(plan: Any, inputs: tuple[Any, ...]) -> Subject:
    arrays = [np.asarray(getattr(x, "data", x)) if not isinstance(x, np.ndarray) else x for x in inputs]
    if isinstance(plan, Decoder):
        tokens = plan.checked(arrays[0], 1)
        plan.cache.positions(1)  # which refuses where they are used up
        return subject_of(plan.decode_plan, (tokens[:, None],))
    if not isinstance(plan, Plan | Step | StatefulPlan):
        raise TypeError(
            f"profile: a {type(plan).__name__} cannot be profiled; give a model, a plan, a captured step or a decoder"
        )
    made = plan if isinstance(plan, Plan) else plan.linked
    return Subject(lambda: plan(*arrays), getattr(plan, "undone", nullcontext), made.threads, made.program)


def seen_once(run: Callable[[], Any]) -> Ran:
    """One run, step by step; what is timed for the first time is loaded by then."""
    seen: list[Ran] = []
    with watch_plans(seen.append):
        run()
    return seen[-1]


def overhead(ran: Ran) -> str:
    count = len(ran.marks_ns)
    return (
        f"the times of steps come from {count} readings of the clock inside the compiled loop, each "
        f"{ran.mark_ns:.0f} ns ({duration(count * ran.mark_ns)} a pass), which are taken off"
    )
