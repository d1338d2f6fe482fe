"""From a run to a graph: watch one inference, or one training step, at the seam and keep what depends on the inputs.

Whatever does not depend on an input is a constant and is not computed again. Left out: making it fewer steps
(`rewrites.py`), memory and kernels (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinytorch.engine import dispatch
from tinytorch.engine.dispatch import Phase
from tinytorch.engine.names import Names


@dataclass(eq=False)
class Value:
    """An array of the graph. `node` makes it, None for constants and inputs.

    `array` is set for constants: an array or a weight in a format (`formats.Format`). `strides`, in elements, are those
    of an input that is not row-major.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    array: Any = None
    node: Node | None = None
    strides: tuple[int, ...] | None = None

    @classmethod
    def like(cls, a: np.ndarray) -> Value:
        """An input with the layout of `a`."""
        return cls(a.shape, a.dtype, strides=tuple(s // a.itemsize for s in a.strides))


class Origin(NamedTuple):
    """An op as it was traced: the layer that called it and its class, the phase, the FLOPs of its mathematics.

    `executed`: not where a rewrite did it once and for all, as with batch norm folded into weights.
    """

    layer: str
    kind: str
    phase: Phase
    op: str
    flops: int
    executed: bool = True


@dataclass(eq=False)
class Node:
    """One op of the graph: inputs in order (None: absent), parameters, output. `origins`: the op that was traced, and
    behind it those that rewrites made part of it.
    """

    op: str
    inputs: list[Value | None]
    params: dict[str, Any]
    out: Value
    origins: tuple[Origin, ...] = ()

    def operand(self, i: int) -> Any:
        """What is known of input i: a constant array or weight format, as kernels of this op take it, or None."""
        value = self.inputs[i] if i < len(self.inputs) else None
        array: Any = value.array if value is not None else None
        return array.operand(self.op) if dispatch.is_packed(array) else array


@dataclass
class Graph:
    """Nodes in an order in which they can run. Those that update an input in place give it a new Value."""

    inputs: list[Value]
    output: Value
    nodes: list[Node] = field(default_factory=list)

    @property
    def input(self) -> Value:
        """The input of a model that has one."""
        return self.inputs[0]

    def uses(self, value: Value) -> int:
        """How often a value is read; the output counts as one more use."""
        return sum(node.inputs.count(value) for node in self.nodes) + (value is self.output)


class GraphError(ValueError):
    """The function cannot be captured: its result does not depend on its input through ops."""


Seen = list[tuple[Value, np.ndarray]]


def trace(
    function: Callable[..., np.ndarray], *examples: np.ndarray, seen: Seen | None = None
) -> tuple[Graph, np.ndarray]:
    """Run `function` once on the examples, with the NumPy reference, and return its graph and its result.

    `function` must give the same steps for every input of these shapes: a branch on values is not seen. `seen` is
    filled with the inputs and all results on the way.
    """
    with dispatch.use_backend("numpy"):
        return follow(lambda: function(*examples), examples, seen=seen)


def follow(
    run: Callable[[], np.ndarray],
    inputs: Sequence[np.ndarray],
    drawn: Callable[[dispatch.Event, int], bool] = lambda event, i: False,
    seen: Seen | None = None,
) -> tuple[Graph, np.ndarray]:
    """Call `run` once and return the graph that leads from `inputs` to its result, and the result.

    An array is known by where it lies, so views made on the way are recognised. `drawn(event, i)` says that array i
    of a call, which no op made, is drawn anew for every run: it becomes one more input, behind the others.
    """
    events: list[dispatch.Event] = []
    with dispatch.watch(events.append):
        result = run()
    values = {place(a): Value.like(a) for a in inputs}
    graph = Graph(list(values.values()), next(iter(values.values())))
    if seen is not None:
        seen += zip(values.values(), inputs)
    names = Names(next((event.root for event in events if event.root is not None), None))
    for event in events:
        where = names.of(event)
        for i, a in enumerate(event.arrays):
            if a is not None and place(a) not in values and drawn(event, i):
                values[place(a)] = Value.like(a)
                graph.inputs.append(values[place(a)])
        known = [None if a is None else values.get(place(a)) or flattened(a, inputs, values, graph)
                 for a in event.arrays]  # fmt: skip
        if not any(known):
            continue  # made of constants only, so its result is one
        operands = [v if v or a is None else Value(a.shape, a.dtype, a) for v, a in zip(known, event.arrays)]
        flops = event.op.flops(event.out, *event.arrays, **event.params)
        origin = Origin(*where, event.phase, event.op.name, flops)
        node = Node(event.op.name, operands, dict(event.params), Value(event.out.shape, event.out.dtype), (origin,))
        node.out.node, values[place(event.out)] = node, node.out
        graph.nodes.append(node)
        if seen is not None:
            seen.append((node.out, event.out))
    if place(result) not in values or not graph.nodes:
        raise GraphError(
            "capture: the result does not come from the input through ops; compute with tensors from input to output, "
            "and do not leave them for plain NumPy in between"
        )
    graph.output = values[place(result)]
    return graph, result


def place(a: Any) -> tuple:
    """What tells arrays apart that exist at the same time; a weight format is its own."""
    if dispatch.is_packed(a):
        return (id(a),)
    return a.__array_interface__["data"][0], a.shape, a.strides, a.dtype


def flattened(a: np.ndarray, inputs: Sequence[np.ndarray], values: dict[tuple, Value], graph: Graph) -> Value | None:
    """The reshape that makes `a`, if it is one of the inputs under another shape; losses so turn targets into rows."""
    for source in inputs:
        if (
            isinstance(a, np.ndarray) and place(source)[0] == place(a)[0] and source.dtype == a.dtype
            and source.size == a.size and source.flags.c_contiguous and a.flags.c_contiguous
        ):  # fmt: skip
            out = values[place(a)] = Value(a.shape, a.dtype)
            out.node = Node("reshape", [values[place(source)]], {"shape": a.shape}, out)
            graph.nodes.append(out.node)
            return out
    return None


def difference(one: Graph, other: Graph) -> str | None:
    """Where two traces of a function differ: in their ops, or in a constant, which then is none. None if nowhere."""
    places: list[dict[int, int]] = []
    for graph in (one, other):
        made = [*graph.inputs, *(node.out for node in graph.nodes)]
        places.append({id(value): i for i, value in enumerate(made)})
    if len(one.nodes) != len(other.nodes) or not all(map(same_op, one.nodes, other.nodes)):
        return "its ops depend on the data"
    for a, b in zip(one.nodes, other.nodes):
        for i, (v, w) in enumerate(zip(a.inputs, b.inputs)):
            if places[0].get(id(v)) != places[1].get(id(w)) or not same_constant(v, w):
                return f"input {i} of op {a.op}, {v and v.shape}, depends on the data and was not computed by ops"
    return None


def same_op(a: Node, b: Node) -> bool:
    try:
        return a.op == b.op and a.params == b.params
    except ValueError:  # an array among the parameters, which no lowering takes: it says so better
        return True


def same_constant(v: Value | None, w: Value | None) -> bool:
    if v is None or w is None:
        return v is w
    a, b = v.array, w.array
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a is b


def constant(array: np.ndarray) -> Value:
    array = np.ascontiguousarray(array, np.float32)
    return Value(array.shape, array.dtype, array)
