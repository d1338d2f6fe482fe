"""A program together with the memory it runs in, some of which belongs to somebody else and is worked on where it lies.

Left out: what the memory means (`step.py`: a model's weights; `stateful.py`: a cache of keys and values).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import is_not

import numpy as np

from tinytorch.engine.graph import Graph, Value
from tinytorch.engine.lowering import PlanError, addresses, lower, table
from tinytorch.engine.watching import run_watched, watchers


class Linked:
    """`graph` lowered, on inputs of its own and on arrays that `link` is given: one for each of the graph's inputs.

    `own` are the inputs up to `count`, to be written before each run; the result lies in `output`.
    """

    def __init__(self, graph: Graph, count: int, threads: int) -> None:
        from kernels import machine
        from kernels.program import aligned

        self.graph, self.count, self.threads = graph, count, threads
        self.lowered = lower(graph)
        self.program = self.lowered.program
        self.own = [aligned(np.zeros(v.shape, v.dtype)) for v in graph.inputs[:count]]
        self.output = aligned(np.zeros(graph.output.shape, np.float32))
        self._arena = aligned(np.zeros(self.program.arena_bytes, np.uint8))
        self.program.fill_borders(self._arena)
        self._execute = machine.loop().execute
        self._turn = threading.Lock()
        self._linked: list[np.ndarray] = []

    def link(self, arrays: Sequence[np.ndarray]) -> None:
        """Put the addresses of these arrays into the rows, unless they are there. PlanError where they do not fit."""
        if len(arrays) == len(self._linked) and not any(map(is_not, arrays, self._linked)):
            return
        wanted = self.graph.inputs[self.count :]
        if len(wanted) != len(arrays) or any(
            (v.shape, v.dtype, v.strides) != (a.shape, a.dtype, Value.like(a).strides) for v, a in zip(wanted, arrays)
        ):
            raise PlanError(
                "plan: the arrays it works on have other shapes, types or strides than when it was captured; capture "
                "it again"
            )
        self._linked = list(arrays)
        inputs = [*self.own, *arrays]
        self._rows = self.program.link(addresses(self.program, inputs, self.output, self._arena))
        self._call = (self._rows.ctypes.data, *self._rows.shape, self.threads)

    def run(self) -> None:
        if watchers:
            run_watched(self.lowered, *self._call)
        else:
            self._execute(*self._call)

    @contextmanager
    def turn(self, refusal: str) -> Iterator[None]:
        """Nobody else inside; PlanError with this text for who comes meanwhile."""
        if not self._turn.acquire(blocking=False):
            raise PlanError(refusal)
        try:
            yield
        finally:
            self._turn.release()

    def __str__(self) -> str:
        """One line for each kernel step, as a plan's."""
        shapes = ", ".join("x".join(map(str, a.shape)) or "scalar" for a in self.own)
        return (
            f"{table(self.lowered)}\ninputs {shapes} and {len(self._linked)} arrays that stay, "
            f"arena {self.program.arena_bytes} bytes"
        )
