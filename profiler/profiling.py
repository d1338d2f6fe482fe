"""One model measured from outside: forward, backward and update, op by op, and what a pass takes when nobody watches.

Passes that are watched and passes that are not take turns, so the profiler's own cost is measured too. The model is
afterwards what it was before. Left out: plans (`plans.py`) and scripts (`scripts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

import numpy as np
import psutil

from kernels.threads import get_num_threads
from profiler.ceilings import ceilings
from profiler.clock import stopwatch, timer, without_gc
from profiler.doubts import Estimate, doubts
from profiler.lines import lines
from profiler.record import Recording
from profiler.report import Memory, Report
from profiler.timeline import memory_of
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Layer
from tinytorch.core.optimizers import Optimizer
from tinytorch.core.tensor import Tensor
from tinytorch.engine.dispatch import backend
from tinytorch.engine.ready import kernels_ready
from tinytorch.perf.training import undone

BUDGET_S = 2.0
FEWEST, MOST = 6, 101  # passes of each kind: six are the fewest whose ends bound a median with 95 %
WARM_UP = 3  # passes: the first loads kernels and fills the seam's cache, the others the processor's
COSTLY = 0.05  # what watching may add to a pass before it is said


@dataclass(frozen=True)
class Pass:
    """What is measured: `model(*inputs)`, with `backward` also the gradients of `loss(answer, target)`, or of the sum
    of the answer without a loss; with an `optimizer` its step.
    """

    model: Layer
    inputs: tuple[Any, ...]
    backward: bool = True
    loss: Callable[..., Tensor] | None = None
    target: Any = None
    optimizer: Optimizer | None = None

    def forward(self) -> Tensor:
        """The loss, or the answer where there is none."""
        answer = self.model(*self.inputs)
        return answer if self.loss is None else self.loss(answer, self.target)

    def finish(self, loss: Tensor) -> None:
        """What follows forward: backward, and the step."""
        loss.backward(None if loss.size == 1 else np.ones_like(loss.data))
        if self.optimizer is not None:
            self.optimizer.step()

    def __call__(self) -> None:
        if not self.backward:
            with no_grad():
                self.forward()
            return
        self.model.zero_grad()
        self.finish(self.forward())


def profile(model: Any, *inputs: Any, **options: Any) -> Report:
    """Profile a model on `inputs` (arrays or tensors), in the mode it is in; or a plan, or a captured step.

    Options are those of `profile_recorded`, whose report this is.
    """
    return profile_recorded(model, *inputs, **options)[0]


def profile_recorded(
    model: Any,
    *inputs: Any,
    backward: bool = True,
    loss: Callable[..., Tensor] | None = None,
    target: Any = None,
    optimizer: Optimizer | None = None,
    subject: str | None = None,
    budget_s: float = BUDGET_S,
    roofline: bool = True,
    memory: bool = True,
) -> tuple[Report, Recording]:
    """The profile of a model, a plan or a captured step, and what it was made from.

    With `backward` the gradients of `loss(answer, target)` are computed, without a loss those of the answer's sum; with
    an `optimizer` it takes its steps, all of which are taken back. `budget_s`: about how long is measured. `roofline`
    compares with the machine's ceilings, which are measured for some seconds the first time. `memory` runs one more,
    slow pass under tracemalloc. Whatever the model raises is raised.
    """
    if not isinstance(model, Layer):
        from profiler.plans import profile_plan

        return profile_plan(model, *inputs, subject=subject, budget_s=budget_s, roofline=roofline, memory=memory)
    tensors = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
    what = Pass(model, tensors, backward or optimizer is not None, loss, target, optimizer)
    with undone(model, optimizer):
        watched, free_ns = watched_passes(what, model, budget_s)
        held = measured_memory(what) if memory else None
    return report_of(watched, free_ns, subject or type(model).__name__, held, roofline), watched.recording


@dataclass(frozen=True)
class Watched:
    """A recording of several passes, and how long each took, watching included."""

    recording: Recording
    walls_ns: Sequence[int]
    compiled: int = 0


def watched_passes(run: Callable[[], Any], model: Layer | None, budget_s: float) -> tuple[Watched, list[int]]:
    """Passes that are watched, and the times of as many that are not, in turns; after some that warm up."""
    for _ in range(WARM_UP):
        ready = kernels_ready()
        with stopwatch() as took:
            run()
        if took.seconds > budget_s and kernels_ready() == ready:
            break
    passes = min(MOST, max(FEWEST, int(budget_s / 2 / max(took.seconds, 1e-9))))
    recording, walls, free = Recording(model), list[int](), list[int]()
    with without_gc():
        ready = kernels_ready()
        for number in range(passes):
            for watching in (True, False) if number % 2 else (False, True):
                if watching:
                    with recording.on(), stopwatch() as took:
                        run()
                    walls.append(took.ns)
                else:
                    with stopwatch() as took:
                        run()
                    free.append(took.ns)
        compiled = kernels_ready() - ready
    return Watched(recording, walls, compiled), free


def measured_memory(what: Pass) -> Memory:
    """Where the memory of a pass goes; it is run a few times, traced, and so slowly."""
    finish = what.finish if what.backward else None
    return memory_of(what.forward, what.model, what.optimizer, finish, given=(*what.inputs, what.target))


def report_of(
    watched: Watched, free_ns: Sequence[int], subject: str, memory: Memory | None, roofline: bool
) -> Report:
    """The report of passes that are all alike."""
    made, inside_ns = lines(watched.recording.calls, watched.recording.table, watched.recording.ends)
    wall, observed = Estimate.of(list(free_ns)), Estimate.of(list(watched.walls_ns))
    outside = median(all_ns - ops_ns for all_ns, ops_ns in zip(watched.walls_ns, inside_ns.tolist()))
    outside -= max(0.0, observed.median - wall.median)
    said = list(doubts(list(free_ns), calls=1, timer_ns=timer().error_ns, steady=True, compiled=watched.compiled))
    added = observed.median / wall.median - 1
    if added > COSTLY:
        said.append(f"watching adds {added:.0%} to a pass; that is left out of the time outside ops")
    return Report(
        subject=subject, form="eager", passes=len(watched.walls_ns), wall_ns=wall.median, wall_low_ns=wall.low,
        wall_high_ns=wall.high, observed_ns=observed.median, outside_ns=max(0.0, outside), lines=tuple(made),
        memory=memory, doubts=tuple(said), **surroundings(roofline),
    )  # fmt: skip


def surroundings(roofline: bool, threads: int | None = None) -> dict[str, Any]:
    """The fields of a report that say where and when it was made."""
    threads = threads or get_num_threads()
    return {
        "backend": backend(), "threads": threads, "created_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ceilings": ceilings(threads) if roofline else None,
    }  # fmt: skip


def report_of_script(recording: Recording, subject: str, roofline: bool = True) -> Report:
    """The report of a script that ran once: totals, without intervals."""
    wall = recording.ended_ns - recording.began_ns
    made, inside_ns = lines(recording.calls, recording.table, [len(recording)])
    inside = float(inside_ns.sum())
    said = ["it ran once, so there are no intervals, and first calls load or compile kernels"]
    if inside > wall:
        said.append("ops of several threads ran at once: their times add up to more than the script took")
    resident = Memory(resident_bytes=psutil.Process().memory_info().rss)
    return Report(
        subject=subject, form="script", passes=1, wall_ns=wall, wall_low_ns=wall, wall_high_ns=wall, observed_ns=wall,
        outside_ns=max(0.0, wall - inside), lines=tuple(made), memory=resident, doubts=tuple(said),
        **surroundings(roofline),
    )  # fmt: skip
