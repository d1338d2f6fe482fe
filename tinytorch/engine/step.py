"""A captured training step: forward, backward and update as one program that works on the model's own arrays.

Left out: making it from a model (`perf.training`), what a plan for answers is (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from tinytorch.engine.checks import checks
from tinytorch.engine.graph import Graph
from tinytorch.engine.linked import Linked
from tinytorch.engine.lowering import PlanError

BUSY = (
    "step: it is running in another thread, and two updates of the same weights at once would be neither; call it from "
    "one thread at a time, or give each thread a model of its own"
)


class Step:
    """`step(x, y)` trains on one batch of exactly the captured shapes and returns its loss.

    The graph's inputs are x, y, one int64 for each function in `draws`, and the arrays that `state()` gives, which are
    read and written where they lie. `begin()` is called once before each run. It is not thread-safe, and says so: a
    call while another is running raises PlanError and changes nothing. The limits say how its graph clips gradients.
    `with step.undone():` takes back what steps inside the block do.
    """

    grad_clip_norm: float | None = None
    grad_clip_value: float | None = None
    undone: Callable[[], AbstractContextManager] = nullcontext

    def __init__(
        self,
        graph: Graph,
        state: Callable[[], list[np.ndarray]],
        draws: Sequence[Callable[[], int]],
        begin: Callable[[], None],
        threads: int = 1,
    ) -> None:
        self._state, self._draws, self._begin = state, list(draws), begin
        self.linked = Linked(graph, 2 + len(draws), threads)
        self._x, self._y, *self._keys = self.linked.own
        self._checks = checks(graph, 2)
        self.linked.link(state())

    @property
    def arena_bytes(self) -> int:
        """What it holds besides the model: activations, gradients and what kernels want as scratch."""
        return self.linked.program.arena_bytes

    def fits(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether a batch has the captured shapes and types."""
        mine = self._x, self._y
        return x.shape == mine[0].shape and y.shape == mine[1].shape and (x.dtype, y.dtype) == (
            mine[0].dtype, mine[1].dtype
        )  # fmt: skip

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        """The loss before the update. PlanError for other shapes and types and while another thread is training,
        IndexError for class numbers or ids that are out of range; then nothing has changed.
        """
        for name, given in (("x", x), ("y", y)):
            if not hasattr(given, "dtype"):
                raise TypeError(f"step: {name} is a {type(given).__name__}; give NumPy arrays")
        if not self.fits(x, y):
            raise PlanError(
                f"step: the batch is {x.shape} {x.dtype}, {y.shape} {y.dtype}; captured were {self._x.shape} "
                f"{self._x.dtype}, {self._y.shape} {self._y.dtype}; train such a batch eagerly"
            )
        for check in self._checks:
            check(x, y)
        with self.linked.turn(BUSY):
            self.linked.link(self._state())
            self._begin()
            for key, draw in zip(self._keys, self._draws):
                key[...] = draw()
            self._x[...] = x
            self._y[...] = y
            self.linked.run()
            return float(self.linked.output)

    def __str__(self) -> str:
        return str(self.linked)
