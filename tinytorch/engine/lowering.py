"""From a graph to a program: each node becomes kernel steps, by the same lowerings that serve eager calls.

Left out: the memory a program runs in, which belongs to whoever runs it (`plan.py`, `step.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tabulate import tabulate

from tinytorch.engine.formats import Format
from tinytorch.engine.graph import Graph, Node, Value
from tinytorch.engine.notes import Lowered

if TYPE_CHECKING:
    from kernels.program import Builder, Program, Ref


class PlanError(ValueError):
    """A plan cannot be built, or is asked for something it was not captured for."""


def lower(graph: Graph) -> Lowered:
    """The program of a graph, labels being each step's op and what the lowering remarks; PlanError without a kernel.

    What depends on constants only is computed here. The program's inputs are the graph's, its output is row-major.
    """
    from kernels.program import Builder

    build = Builder()
    refs = {id(v): build.input(v.shape, v.strides, v.dtype) for v in graph.inputs}
    made_by: dict[int, tuple[int, str]] = {}  # step -> number of its node, label
    for number, node in enumerate(graph.nodes):
        refs[id(node.out)] = lower_node(build, node, refs)
        for step in build.steps:
            if id(step) not in made_by:
                made_by[id(step)] = number, ", ".join(filter(None, (node.op, build.remarks.get(id(step)))))
    result = refs[id(graph.output)]
    if result.dtype != np.float32:
        raise PlanError(f"plan: its output is {result.dtype}; plans answer in float32: convert it last")
    output = whole(build, result)
    build.fold()
    program = build.finish([output])
    found = [made_by.get(id(step), (-1, "copy")) for step in program.steps]
    origins = [graph.nodes[number].origins if number >= 0 else () for number, _ in found]
    return Lowered(program, [label for _, label in found], [number for number, _ in found], origins)


def whole(build: Builder, ref: Ref) -> Ref:
    """`ref` itself if it is all of a temporary, row-major, and so can be written to memory of its size; else a copy."""
    from kernels import layout

    buffer = build.buffers[ref.buffer]
    if buffer.kind == "temp" and ref.contiguous and buffer.nbytes == ref.size * ref.dtype.itemsize:
        return ref
    return layout.copy(build, ref, build.empty(ref.shape, dtype=ref.dtype))


def lower_node(build: Builder, node: Node, refs: dict[int, Ref]) -> Ref:
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


def table(lowered: Lowered) -> str:
    """A line for each step: op, kernel, shapes it reads and writes, bytes it writes, and where the first of those lies.

    Arrays are float32 unless said. Packed weights are in parentheses; constants with one axis, such as biases and
    tables of offsets, are left out. Of several inputs, `input 2` is the third.
    """
    program = lowered.program
    inputs = sum(base.startswith("input") for base in program.bases)
    rows = []
    for i, (step, op) in enumerate(zip(program.steps, lowered.labels)):
        written = step.writes
        place = program.places[written[0].buffer]
        base = kind(program.bases[place.base])
        base = f"{base} {place.base}" if base == "input" and inputs > 1 else base
        where = f"{base} + {place.offset + written[0].offset * written[0].dtype.itemsize}"
        nbytes = sum(ref.size * ref.dtype.itemsize for ref in written)
        rows.append((i, op, step.kernel.name, shapes(program, step.reads), shapes(program, written), nbytes, where))
    return tabulate(rows, ("step", "op", "kernel", "reads", "writes", "bytes", "place"), tablefmt="simple")


def shapes(program: Program, refs: Sequence[Ref]) -> str:
    """`1x16x8x8 u8, (2x9x32)`; what occurs several times is counted: `4 of 64`."""
    told = []
    for ref in refs:
        constant = ref.buffer not in program.places
        if not constant or len(ref.shape) > 1:
            size = "x".join(map(str, ref.shape)) or "scalar"
            text = size if ref.dtype == np.float32 else f"{size} {ref.dtype.kind}{8 * ref.dtype.itemsize}"
            told.append(f"({text})" if constant else text)
    return ", ".join(f"{n} of {text}" if n > 1 else text for text, n in Counter(told).items())


def addresses(program: Program, inputs: Sequence[np.ndarray], output: np.ndarray, arena: np.ndarray) -> list[int]:
    """Where the arrays lie that a program is to run on, in the order in which it is linked."""
    given = iter(inputs)
    others = {"output": output, "arena": arena}
    arrays = [next(given) if kind(base) == "input" else others[kind(base)] for base in program.bases]
    return [array.ctypes.data for array in arrays]


def kind(base: str) -> str:
    """input, output or arena."""
    return base.rstrip("0123456789")
