"""A captured model: every step known, all memory laid out, nothing left to decide when a query comes.

`capture` traces a run (`graph.py`), fuses it, lowers each node to kernel steps with the same lowerings that eager calls
use, runs once what depends on constants only (weight packing), and places all intermediate results in one arena by
lifetime. A plan compares itself with the eager run when it is built, and refuses inputs it was not captured for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinytorch.engine import saved
from tinytorch.engine.checks import checks
from tinytorch.engine.graph import Graph, GraphError, Seen, trace
from tinytorch.engine.lowering import PlanError, addresses, lower, table
from tinytorch.engine.rewrites import fuse
from tinytorch.engine.verify import disagreement
from tinytorch.engine.watching import add_quick, run_watched, watchers
from tinytorch.files import write_atomically

__all__ = ["GraphError", "Plan", "PlanError", "capture"]

FLOAT32, ARRAY, empty = np.dtype(np.float32), np.ndarray, np.empty
INPUTS = (FLOAT32, np.dtype(np.int64))


# Up to here, and on one thread, a plan is run in one call that keeps Python's lock, so that no other thread can be in
# its memory. That is a third quicker for the smallest nets; other threads wait no longer than for an addition in NumPy.
QUICK_NS = 100_000
LOCKED = getattr(sys, "_is_gil_enabled", lambda: True)()


class Memory(NamedTuple):
    """What one run writes to: inputs, output, and how `execute` is called on rows that point there and at the arena."""

    inputs: list[np.ndarray]
    output: np.ndarray
    call: tuple[int, int, int, int]
    arena: np.ndarray
    rows: np.ndarray


class Plan:
    """What `capture` returns: `plan(x)` answers a query of exactly the captured shape, `plan(x, y)` one of two inputs.

    Several threads may call it at once: each run has memory of its own. A plan so keeps as many copies of inputs,
    arena and output as there were calls at the same time; constants are shared.
    """

    def __init__(self, graph: Graph, threads: int = 1) -> None:
        from kernels import machine

        self.graph, self.threads = graph, threads
        for value in graph.inputs:
            if value.dtype not in INPUTS:
                raise PlanError(f"plan: an input is {value.dtype}; plans take float32 and int64: convert it first")
        self.lowered = lower(graph)
        self.program = self.lowered.program
        self._checks = checks(graph, len(graph.inputs))
        loop = machine.loop()
        self._execute, self._quick = loop.execute, loop.answer
        self._idle = [self._memory()]
        self._shape, self._question = self.program.outputs[0].shape, 0
        self._expected = [(v.shape, v.dtype) for v in graph.inputs]
        alone = len(graph.inputs) == 1 and graph.input.dtype == FLOAT32 and not self._checks
        one_thread = threads == 1 or all(step.parts == 1 for step in self.program.steps)
        if alone and LOCKED and one_thread and self.program.cost_ns <= QUICK_NS:
            own = self._memory()
            self._kept = own, loop.question(own.rows, own.inputs[0], own.output)
            add_quick(self)

    def open_quick_way(self, is_open: bool) -> None:
        """Whether queries may be answered in one compiled call, which keeps no times."""
        self._question = self._kept[1].ctypes.data if is_open else 0

    def _memory(self) -> Memory:
        """New memory for a run, its addresses put into rows of its own."""
        from kernels.program import aligned

        inputs = [aligned(np.zeros(v.shape, v.dtype)) for v in self.graph.inputs]
        output = aligned(np.zeros(self.program.outputs[0].shape, np.float32))
        arena = aligned(np.zeros(self.program.arena_bytes, np.uint8))
        self.program.fill_borders(arena)
        rows = self.program.link(addresses(self.program, inputs, output, arena))
        return Memory(inputs, output, (rows.ctypes.data, *rows.shape, self.threads), arena, rows)

    def __call__(self, x: np.ndarray, *more: np.ndarray) -> np.ndarray:
        """The model's answer, a new array. PlanError for inputs of other shapes or dtypes than those captured,
        TypeError for what is no array, IndexError for ids out of range.
        """
        if self._question and not more and type(x) is ARRAY:  # of a small net's microsecond Python is the largest part
            y = empty(self._shape, FLOAT32)
            if self._quick(self._question, id(x), id(y)):
                return y
        return self._answer((x, *more))

    run = __call__

    def step_by_step(self, *inputs: np.ndarray) -> np.ndarray:
        """The same answer with Python between the steps: what linking them into one call saves."""
        return self._answer(inputs, one_by_one=True)

    def _answer(self, inputs: tuple[np.ndarray, ...], one_by_one: bool = False) -> np.ndarray:
        """What `__call__` gives, for any inputs, in memory that no other run has."""
        for x in inputs:
            if not hasattr(x, "dtype"):
                raise TypeError(f"plan: x is a {type(x).__name__}; give a NumPy array")
        if [(x.shape, x.dtype) for x in inputs] != self._expected:
            self._refuse(inputs)
        for check in self._checks:
            check(*inputs)
        memory = self._idle_memory()
        for mine, x in zip(memory.inputs, inputs):
            mine[...] = x
        start, count, width, threads = memory.call
        if one_by_one:
            for i in range(count):
                self._execute(start + i * width * memory.rows.itemsize, 1, width, threads)
        elif watchers:
            run_watched(self.lowered, start, count, width, threads)
        else:
            self._execute(start, count, width, threads)
        y = memory.output.copy()
        self._idle.append(memory)
        return y

    def _idle_memory(self) -> Memory:
        try:
            return self._idle.pop()  # a list lets one thread at a time take what is in it
        except IndexError:
            return self._memory()

    def save(self, path: str | os.PathLike) -> int:
        """Write the plan to a file, whole or not at all; returns its size in bytes. See `saved.py`."""
        return write_atomically(path, saved.to_bytes(self.graph, self.threads))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Plan:
        """The plan in a file, lowered for this CPU.

        Raises PlanError for a file that is damaged, no plan, or of another version; FileNotFoundError.
        """
        try:
            graph, threads = saved.read(path)
        except ValueError as error:
            raise PlanError(str(error)) from error
        try:
            return cls(graph, threads)
        except (PlanError, MemoryError) as error:
            raise PlanError(f"{path}: {error}") from error
        except (TypeError, ValueError, OverflowError, AttributeError) as error:  # parameters that no lowering knows
            raise PlanError(f"{path}: its graph makes no sense ({error!r}); save the plan again") from error

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

    def _refuse(self, inputs: tuple[np.ndarray, ...]) -> None:
        given, captured = (", ".join(f"{a.shape} {a.dtype}" for a in arrays) for arrays in (inputs, self.graph.inputs))
        raise PlanError(
            f"plan: x is {given}, the plan was captured for {captured}; capture another plan for this input"
        )

    def __str__(self) -> str:
        """One line for each step: what it computes, with which kernel, how large its result is and where it lies."""
        shapes = ", ".join("x".join(map(str, v.shape)) for v in self.graph.inputs)
        sizes = f"input {shapes}, arena {self.arena_bytes} bytes, constants {self.constant_bytes} bytes"
        return f"{table(self.lowered)}\n{sizes}"


def capture(
    function: Callable[..., np.ndarray],
    *examples: np.ndarray,
    rewrite: Callable[[Graph], None] | None = fuse,
    threads: int = 1,
) -> Plan:
    """Make a plan of `function`, such as `model.predict`, for float32 and int64 inputs shaped like the examples.

    `rewrite` changes the graph in place before it is lowered; None leaves it as traced. Raises GraphError where the
    function cannot be traced, PlanError where an op has no kernel or the plan's answer differs from the eager one.
    """
    examples = tuple(np.asarray(example, order="C") for example in examples)
    for example in examples:
        if not example.size:
            raise PlanError(f"capture: the example is {example.shape}; a plan for no elements would do nothing")
        if example.dtype not in INPUTS:
            raise PlanError(
                f"capture: the example is {example.dtype}, plans compute in float32 and look up int64 ids; convert it "
                "first"
            )
    seen: Seen = []
    graph, expected = trace(function, *examples, seen=seen)
    if rewrite is not None:
        rewrite(graph)
    plan = Plan(graph, threads)
    wrong = disagreement(graph, seen, examples, expected, plan, lambda piece: Plan(piece, threads))
    if wrong:
        raise PlanError(
            f"capture: plan and eager run differ by {wrong}; if the model depends on values of its input it cannot be "
            "captured, otherwise report this"
        )
    return plan
