"""A captured model: every step known, all memory laid out, nothing left to decide when a query comes.

`capture` traces a run (`graph.py`), fuses it, lowers each node to kernel steps with the same lowerings that eager calls
use, runs once what depends on constants only (weight packing), and places all intermediate results in one arena by
lifetime. A plan compares itself with the eager run when it is built, and refuses inputs it was not captured for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
from tabulate import tabulate

from tinytorch.engine import saved
from tinytorch.engine.formats import Format
from tinytorch.engine.graph import Graph, GraphError, Node, Value, trace
from tinytorch.engine.rewrites import fuse
from tinytorch.files import write_atomically

__all__ = ["GraphError", "Plan", "PlanError", "capture"]

# Normalised mean square error allowed between plan and eager run: both add up in float32, in different orders.
NMSE_BOUND = 1e-10


class PlanError(ValueError):
    """A plan cannot be built, or is asked for something it was not captured for."""


class Plan:
    """What `capture` returns: `plan(x)` answers a query of exactly the captured shape.

    The arena belongs to the plan, so a plan serves one thread at a time; give each thread a `clone()`.
    """

    def __init__(self, graph: Graph, threads: int = 1) -> None:
        from kernels.program import Builder

        build = Builder()
        self.graph, self.shape, self.dtype, self.threads = graph, graph.input.shape, graph.input.dtype, threads
        refs = {id(graph.input): build.input(self.shape)}
        labels: dict[int, str] = {}
        for node in graph.nodes:
            refs[id(node.out)] = self._lower(build, node, refs)
            labels.update((id(step), node.op) for step in build.steps if id(step) not in labels)
        output = build.contiguous(refs[id(graph.output)])
        build.fold()
        self.program = build.finish([output])
        self._labels = [labels.get(id(step), "copy") for step in self.program.steps]
        self._link()

    def _link(self) -> None:
        """Allocate the plan's own memory and put its addresses into the rows."""
        from kernels import machine
        from kernels.program import aligned

        self._memory = {
            "input": aligned(np.zeros(self.shape, np.float32)),
            "output": aligned(np.zeros(self.program.outputs[0].shape, np.float32)),
            "arena": aligned(np.zeros(self.program.arena_bytes, np.uint8)),
        }
        self.program.fill_borders(self._memory["arena"])
        self._input, self._output = self._memory["input"], self._memory["output"]
        self._rows = self.program.link([self._memory[name.rstrip("0")].ctypes.data for name in self.program.bases])
        self._execute, self._call = machine.loop().execute, (
            self._rows.ctypes.data, *self._rows.shape, self.threads,
        )  # fmt: skip

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The model's answer to x, a new array. PlanError if x is not of the captured shape and dtype."""
        if x.shape != self.shape or x.dtype != self.dtype:
            self._refuse(x)
        self._input[...] = x
        self._execute(*self._call)
        return self._output.copy()

    run = __call__

    def step_by_step(self, x: np.ndarray) -> np.ndarray:
        """The same answer with Python between the steps: what linking them into one call saves."""
        if x.shape != self.shape or x.dtype != self.dtype:
            self._refuse(x)
        self._input[...] = x
        start, count, width, threads = self._call
        for i in range(count):
            self._execute(start + i * width * self._rows.itemsize, 1, width, threads)
        return self._output.copy()

    def clone(self) -> Plan:
        """The same plan with memory of its own, for another thread; constants are shared."""
        other = copy(self)
        other._link()
        return other

    def save(self, path: str | os.PathLike) -> int:
        """Write the plan to a file, whole or not at all; returns its size in bytes. See `saved.py`."""
        return write_atomically(path, saved.to_bytes(self.graph, self.threads))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Plan:
        """The plan in a file, lowered for this CPU.

        Raises PlanError for a file that is damaged, no plan, or of another version; FileNotFoundError.
        """
        try:
            return cls(*saved.read(path))
        except ValueError as error:
            raise PlanError(str(error)) from error

    @property
    def nbytes(self) -> int:
        """Bytes of the file that `save` writes."""
        return len(saved.to_bytes(self.graph, self.threads))

    @property
    def arena_bytes(self) -> int:
        return self.program.arena_bytes

    @property
    def constant_bytes(self) -> int:
        """Packed weights and tables in memory."""
        return sum(array.nbytes for array in self.program.constants)

    def _refuse(self, x: np.ndarray) -> None:
        raise PlanError(
            f"plan: x is {x.shape} {x.dtype}, the plan was captured for {self.shape} {self.dtype}; "
            "capture another plan for this input"
        )

    def _lower(self, build: Any, node: Node, refs: dict[int, Any]) -> Any:
        from kernels import registry

        def ref(i: int, value: Value | None) -> Any:
            if value is None:
                return None
            known = node.operand(i)
            if isinstance(known, np.ndarray):
                return build.constant(known)
            return refs[id(value)] if known is None else known

        inputs = [ref(i, v) for i, v in enumerate(node.inputs)]
        format = next((a.kind for a in inputs if isinstance(a, Format)), "dense")
        lower = registry.lowering(node.op, format)
        if lower is None:
            known = ", ".join(op for op, kind in registry.known() if kind == format)
            raise PlanError(f"plan: op {node.op} has no kernel; known: {known}; run the eager model")
        out = lower(build, *inputs, **node.params)
        if out is None:
            shapes = ", ".join("-" if v is None else str(v.shape) for v in node.inputs)
            raise PlanError(f"plan: the kernel of {node.op} declines {shapes} with {node.params}; run the eager model")
        return out

    def __str__(self) -> str:
        """One line for each step: what it computes, with which kernel, how large its result is and where it lies."""
        rows = []
        for i, (step, op) in enumerate(zip(self.program.steps, self._labels)):
            out = step.writes[0]
            place = self.program.places[out.buffer]
            base = self.program.bases[place.base].rstrip("0")
            where = f"{base} + {place.offset + out.offset * out.dtype.itemsize}"
            rows.append((i, op, step.kernel.name, "x".join(map(str, out.shape)), out.size * out.dtype.itemsize, where))
        table = tabulate(rows, ("step", "op", "kernel", "result", "bytes", "place"), tablefmt="simple")
        shape = "x".join(map(str, self.shape))
        return f"{table}\ninput {shape}, arena {self.arena_bytes} bytes, constants {self.constant_bytes} bytes"


def capture(
    function: Callable[[np.ndarray], np.ndarray],
    example: np.ndarray,
    *,
    rewrite: Callable[[Graph], None] | None = fuse,
    threads: int = 1,
) -> Plan:
    """Make a plan of `function`, such as `model.predict`, for float32 inputs shaped like `example`.

    `rewrite` changes the graph in place before it is lowered; None leaves it as traced. Raises GraphError where the
    function cannot be traced, PlanError where an op has no kernel or the plan's answer differs from the eager one.
    """
    example = np.ascontiguousarray(example)
    if example.dtype != np.float32:
        raise PlanError(f"capture: the example is {example.dtype}, plans compute in float32; convert it first")
    graph, expected = trace(function, example)
    if rewrite is not None:
        rewrite(graph)
    plan = Plan(graph, threads)
    error = nmse(plan(example), expected)
    if not error <= NMSE_BOUND:
        raise PlanError(
            f"capture: plan and eager run differ by {error:.2g} (normalised mean square), {NMSE_BOUND} is allowed; "
            "if the model depends on values of its input it cannot be captured, otherwise report this"
        )
    return plan


def nmse(actual: np.ndarray, expected: np.ndarray) -> float:
    """Mean square of the difference over mean square of what was expected."""
    difference = np.square(actual.astype(np.float64) - expected).sum()
    return float(difference / max(np.square(expected.astype(np.float64)).sum(), np.finfo(np.float64).tiny))
