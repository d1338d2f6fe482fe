"""A plan with a memory: arrays that stay between its calls, read and written where they lie, such as a KV cache.

Left out: plans that remember nothing and may be called by many threads (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tinytorch.engine import dispatch
from tinytorch.engine.checks import checks
from tinytorch.engine.graph import Graph, Seen, follow
from tinytorch.engine.linked import Linked
from tinytorch.engine.lowering import PlanError
from tinytorch.engine.plan import Plan
from tinytorch.engine.rewrites import fuse
from tinytorch.engine.verify import disagreement

BUSY = "plan: it is running in another thread, and both would write to one state; give each thread a plan of its own"


class StatefulPlan:
    """`plan(*inputs)` answers inputs of exactly the captured shapes, a new array, and changes the state it works on.

    The state's owner answers for integers in it, such as positions. It is not thread-safe, and says so.
    """

    def __init__(self, graph: Graph, count: int, state: Sequence[np.ndarray], threads: int = 1) -> None:
        self.linked = Linked(graph, count, threads)
        self.linked.link(state)
        self._checks = checks(graph, count)
        self._expected = [(a.shape, a.dtype) for a in self.linked.own]

    def bind(self, state: Sequence[np.ndarray]) -> None:
        """Work on these arrays from now on; PlanError unless they have the shapes and layout of those before."""
        self.linked.link(state)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """PlanError for inputs of other shapes or dtypes and while another thread is inside, IndexError for ids that
        are out of range; then nothing has changed.
        """
        if [(x.shape, x.dtype) for x in inputs] != self._expected:
            given, captured = (
                ", ".join(f"{shape} {dtype}" for shape, dtype in kinds)
                for kinds in ([(x.shape, x.dtype) for x in inputs], self._expected)
            )
            raise PlanError(f"plan: inputs are {given}, the plan was captured for {captured}; capture another for them")
        for check in self._checks:
            check(*inputs)
        with self.linked.turn(BUSY):
            for mine, x in zip(self.linked.own, inputs):
                mine[...] = x
            self.linked.run()
            return self.linked.output.copy()

    def __str__(self) -> str:
        return str(self.linked)


def capture_stateful(
    function: Callable[[], np.ndarray], inputs: Sequence[np.ndarray], state: Sequence[np.ndarray], threads: int = 1
) -> StatefulPlan:
    """Make a plan of `function`, which computes with `inputs` and `state` and writes to the latter; it runs once.

    The plan is verified against that run and is bound to `state`. Running the function twice must give the same answer.
    Raises GraphError and PlanError as `plan.capture` does.
    """
    seen: Seen = []
    with dispatch.use_backend("numpy"):
        graph, expected = follow(function, [*inputs, *state], seen=seen)
    fuse(graph)
    plan = StatefulPlan(graph, len(inputs), state, threads)
    arrays = [*inputs, *state]
    wrong = disagreement(
        graph, seen, arrays, expected, lambda *given: plan(*given[: len(inputs)]), lambda piece: Plan(piece, threads)
    )
    if wrong:
        raise PlanError(f"capture: plan and eager run differ by {wrong}; report this")
    return plan
