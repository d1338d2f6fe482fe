"""What ops check of the values they are given, found once for a graph: a program must never see an id out of range."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinytorch.engine.graph import Graph, Node
from tinytorch.engine.lowering import PlanError
from tinytorch.engine.op import OPS

Check = Callable[..., None]


def checks(graph: Graph, count: int) -> list[Check]:
    """The checks, each for the first `count` inputs of the graph as arrays, to be called before every run.

    The other inputs are state, whose owner answers for what is in it. PlanError where integers that an op checks are
    computed on the way: nobody could look at them in between.
    """
    found: dict[tuple, Check] = {}  # layers that look up the same ids in tables of one shape share a check
    for node in graph.nodes:
        if OPS[node.op].check is None:
            continue
        places: dict[int, int] = {}
        for i, value in enumerate(node.inputs):
            source = value
            while source is not None and source.node is not None and source.node.op == "reshape":
                source = source.node.inputs[0]
            if source is not None and source in graph.inputs[:count]:
                places[i] = graph.inputs.index(source)
            elif value is not None and value.dtype.kind in "iu" and value.array is None and source not in graph.inputs:
                raise PlanError(
                    f"plan: input {i} of {node.op} is computed on the way, where nothing can check it; make it an input"
                )
        constants = all(v is None or v.array is not None or v.dtype.kind == "f" for v in node.inputs)
        if places:
            shapes = [v and v.shape for v in node.inputs]
            found.setdefault((node.op, *places.items(), *shapes, *node.params.items()), checked(node, places))
        elif constants:
            check_constants(node)
    return list(found.values())


def check_constants(node: Node) -> None:
    """PlanError where values that are known now, and may come from a file, are none that the op takes."""
    try:
        OPS[node.op].check(*(v if v is None or v.array is None else v.array for v in node.inputs), **node.params)
    except IndexError as error:
        raise PlanError(f"plan: {error}") from error


def checked(node: Node, places: dict[int, int]) -> Check:
    """The check of a node on inputs of the graph; of all else it may only look at the shape."""

    def check(*given: np.ndarray) -> None:
        inputs = [
            given[places[i]].reshape(v.shape) if i in places and v is not None else v for i, v in enumerate(node.inputs)
        ]
        OPS[node.op].check(*inputs, **node.params)

    return check
