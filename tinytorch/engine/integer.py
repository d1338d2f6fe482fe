"""Keeping activations as bytes from layer to layer: a rewrite of captured graphs.

A layer on integers whose results are read by layers on integers alone, all with the same grid for their input, can
leave that grid's codes instead of float32. Rounding is what the next layer would have done first, so results are the
same bits. Left out: the arithmetic (`formats.py`, kernels).
"""

from __future__ import annotations

import numpy as np

from tinytorch.engine.formats import Grid, Int8
from tinytorch.engine.graph import Graph, Node, Value


def weight_codes(node: Node) -> Int8 | None:
    """The weight of a node that computes on integers."""
    operand = node.operand(1)
    return operand if isinstance(operand, Int8) else None


def keep_bytes(graph: Graph) -> None:
    """Let nodes leave codes where all that read them want the same; in place."""
    for node in graph.nodes:
        if weight_codes(node) is not None:
            grid = wanted_grid(graph, node.out)
            if grid is not None:
                node.params["grid"], value = grid, node.out
                while value is not None:
                    value.dtype = np.dtype(np.uint8)
                    value = next((n.out for n in graph.nodes if value in n.inputs and is_view(n)), None)


def wanted_grid(graph: Graph, value: Value) -> Grid | None:
    """The grid that all readers of a value have for their input; None where one wants float32, or another grid."""
    if value is graph.output:
        return None
    grids = set()
    for node in (n for n in graph.nodes if value in n.inputs):
        codes = weight_codes(node)
        if is_view(node):
            grids.add(wanted_grid(graph, node.out))
        else:
            grids.add(codes.grid if codes is not None and node.inputs.index(value) == 0 else None)
    return grids.pop() if len(grids) == 1 else None


def is_view(node: Node) -> bool:
    """Whether a node only renames the axes of a row: (N, C, 1, 1) to (N, C), in any layout the same memory."""
    before, after = (node.inputs[0].shape if node.inputs[0] else ()), node.out.shape
    squeezed = [tuple(n for n in shape[1:] if n != 1) for shape in (before, after)]
    return node.op == "reshape" and before[:1] == after[:1] and squeezed[0] == squeezed[1] and len(squeezed[0]) <= 1
