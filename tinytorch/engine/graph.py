"""From a run to a graph: watch one inference at the seam and keep what depends on the input.

Whatever does not depend on the input is a constant and is not computed again. Left out: making it fewer steps
(`rewrites.py`), memory and kernels (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinytorch.engine import dispatch


@dataclass(eq=False)
class Value:
    """An array of the graph. `node` makes it, None for constants and the input.

    `array` is set for constants: an array or a weight in a format (`formats.Format`).
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    array: Any = None
    node: Node | None = None


@dataclass(eq=False)
class Node:
    """One op of the graph: inputs in order (None: absent), parameters, output."""

    op: str
    inputs: list[Value | None]
    params: dict[str, Any]
    out: Value

    def operand(self, i: int) -> Any:
        """What is known of input i: a constant array or weight format, as kernels of this op take it, or None."""
        value = self.inputs[i] if i < len(self.inputs) else None
        array: Any = value.array if value is not None else None
        return array.operand(self.op) if dispatch.is_packed(array) else array


@dataclass
class Graph:
    """Nodes in an order in which they can run."""

    input: Value
    output: Value
    nodes: list[Node] = field(default_factory=list)

    def uses(self, value: Value) -> int:
        """How often a value is read; the output counts as one more use."""
        return sum(node.inputs.count(value) for node in self.nodes) + (value is self.output)


class GraphError(ValueError):
    """The function cannot be captured: its result does not depend on its input through ops."""


def trace(function: Callable[[np.ndarray], np.ndarray], example: np.ndarray) -> tuple[Graph, np.ndarray]:
    """Run `function` once on the example, with the NumPy reference, and return its graph and its result.

    `function` must give the same steps for every input of this shape: a branch on values is not seen.
    """
    events: list[dispatch.Event] = []
    with dispatch.use_backend("numpy"), dispatch.watch(events.append):
        result = function(example)
    values: dict[int, Value] = {id(example): Value(example.shape, example.dtype)}
    graph = Graph(values[id(example)], values[id(example)])
    for event in events:
        known = [values.get(id(a)) for a in event.arrays]
        if not any(known):
            continue  # made of constants only, so its result is one
        inputs = [v if v or a is None else Value(a.shape, a.dtype, a) for v, a in zip(known, event.arrays)]
        node = Node(event.op.name, inputs, dict(event.params), Value(event.out.shape, event.out.dtype))
        node.out.node, values[id(event.out)] = node, node.out
        graph.nodes.append(node)
    if id(result) not in values or not graph.nodes:
        raise GraphError(
            "capture: the result does not come from the input through ops; compute with tensors from input to output, "
            "and do not leave them for plain NumPy in between"
        )
    graph.output = values[id(result)]
    return graph, result


def constant(array: np.ndarray) -> Value:
    array = np.ascontiguousarray(array, np.float32)
    return Value(array.shape, array.dtype, array)
