"""A captured training step: forward, backward and update as one program that works on the model's own arrays.

Left out: making it from a model (`perf.training`), what a plan for answers is (`plan.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from operator import is_not

import numpy as np

from tinytorch.engine.checks import checks
from tinytorch.engine.graph import Graph, Value
from tinytorch.engine.lowering import PlanError, addresses, lower, table


class Step:
    """`step(x, y)` trains on one batch of exactly the captured shapes and returns its loss.

    The graph's inputs are x, y, the arrays that `state()` gives, which are read and written where they lie, and one
    int64 for each function in `draws`. `begin()` is called once before each run. It is not thread-safe, and says so: a
    call while another is running raises PlanError and changes nothing. The limits say how its graph clips gradients.
    """

    grad_clip_norm: float | None = None
    grad_clip_value: float | None = None

    def __init__(
        self,
        graph: Graph,
        state: Callable[[], list[np.ndarray]],
        draws: Sequence[Callable[[], int]],
        begin: Callable[[], None],
        threads: int = 1,
    ) -> None:
        from kernels import machine
        from kernels.program import aligned

        self.graph, self.threads = graph, threads
        self._state, self._draws, self._begin = state, list(draws), begin
        self.program, self._labels = lower(graph)
        self._x, self._y = (aligned(np.zeros(v.shape, v.dtype)) for v in graph.inputs[:2])
        self._keys = [np.zeros((), np.int64) for _ in draws]
        self._loss = aligned(np.zeros((), np.float32))
        self.arena_bytes = self.program.arena_bytes
        self._arena = aligned(np.zeros(self.arena_bytes, np.uint8))
        self.program.fill_borders(self._arena)
        self._checks = checks(graph, 2)
        self._execute = machine.loop().execute
        self._turn = threading.Lock()
        self._link(state())

    def _link(self, state: list[np.ndarray]) -> None:
        """Put the addresses of the model's arrays into the rows; again whenever a model was given other arrays."""
        wanted = self.graph.inputs[2 : 2 + len(state)]
        if len(self.graph.inputs) != 2 + len(state) + len(self._keys) or any(
            (v.shape, v.dtype, v.strides) != (a.shape, a.dtype, Value.like(a).strides) for v, a in zip(wanted, state)
        ):
            raise PlanError(
                "step: parameters, buffers or moments have other shapes, types or strides than when the step was "
                "captured; capture it again"
            )
        inputs = [self._x, self._y, *state, *self._keys]
        self._linked = state
        self._rows = self.program.link(addresses(self.program, inputs, self._loss, self._arena))
        self._call = (self._rows.ctypes.data, *self._rows.shape, self.threads)

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
        if not self._turn.acquire(blocking=False):
            raise PlanError(
                "step: it is running in another thread, and two updates of the same weights at once would be neither; "
                "call it from one thread at a time, or give each thread a model of its own"
            )
        try:
            state = self._state()
            if len(state) != len(self._linked) or any(map(is_not, state, self._linked)):
                self._link(state)
            self._begin()
            for key, draw in zip(self._keys, self._draws):
                key[...] = draw()
            self._x[...] = x
            self._y[...] = y
            self._execute(*self._call)
            return float(self._loss)
        finally:
            self._turn.release()

    def __str__(self) -> str:
        """One line for each kernel step, as a plan's."""
        shapes = ", ".join("x".join(map(str, a.shape)) for a in (self._x, self._y))
        return (
            f"{table(self.program, self._labels)}\ninputs {shapes} and {len(self._linked)} arrays of the model, "
            f"arena {self.program.arena_bytes} bytes"
        )
