"""From a run to a graph: watch one inference at the seam, keep what depends on the input, and rewrite it into fewer
steps.

Whatever does not depend on the input is a constant and is not computed again: that alone dequantises packed weights
once. The rewrites fold batch norm into the weights before it and a ReLU into the op before it. Left out: memory and
kernels (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinytorch.engine import dispatch

# Ops whose kernels can end with a ReLU and take a scaled weight: name -> axis of the output channels in the weight.
WEIGHTED = {"linear": 1, "conv2d": 0}


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
        array = value.array if value is not None else None
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


def fuse(graph: Graph) -> None:
    """Apply the rewrites, in place."""
    fold_batch_norm(graph)
    fuse_relu(graph)


def only_user(graph: Graph, node: Node, wanted: set[str]) -> Node | None:
    """The node that made this node's first input, if it is one of the `wanted` ops and nobody else reads it."""
    source = node.inputs[0]
    maker = source.node if source else None
    return maker if maker and maker.op in wanted and graph.uses(maker.out) == 1 else None


def replace(graph: Graph, node: Node, maker: Node) -> None:
    """Drop `node`: `maker` now makes its result."""
    maker.out = node.out
    node.out.node = maker
    graph.nodes.remove(node)


def fuse_relu(graph: Graph) -> None:
    for node in [n for n in graph.nodes if n.op == "relu"]:
        maker = only_user(graph, node, set(WEIGHTED))
        if maker is not None and "activation" not in maker.params:
            maker.params["activation"] = "relu"
            replace(graph, node, maker)


def fold_batch_norm(graph: Graph) -> None:
    """y = s (x w + b) + t  with  s = gamma / sqrt(var + eps), t = beta - mean s:  scale w and b instead of y."""
    for node in [n for n in graph.nodes if n.op == "batch_norm"]:
        maker = only_user(graph, node, set(WEIGHTED))
        constants = [v.array for v in node.inputs[1:] if v is not None]
        if maker is None or maker.inputs[1] is None or "activation" in maker.params:
            continue
        w = maker.inputs[1].array
        b = maker.inputs[2] if len(maker.inputs) > 2 else None
        if not isinstance(w, np.ndarray) or (b is not None and b.array is None) or any(c is None for c in constants):
            continue
        gamma, beta, stats = (np.asarray(c) for c in constants)
        scale = gamma / np.sqrt(stats[1] + node.params["eps"])
        along = [1] * w.ndim
        along[WEIGHTED[maker.op]] = -1
        bias = (np.asarray(b.array) if b is not None else 0) * scale + beta - stats[0] * scale
        maker.inputs = [maker.inputs[0], constant(w * scale.reshape(along)), constant(bias)]
        replace(graph, node, maker)


def constant(array: np.ndarray) -> Value:
    array = np.ascontiguousarray(array, np.float32)
    return Value(array.shape, array.dtype, array)
