"""Whether a plan computes what the eager run did.

Both add up float32 in different orders, so last bits differ. Where such a number is then rounded to a grid, about one
in a million becomes the next code, and from there on answers differ by steps of a grid. So a graph in which that can
happen is compared in pieces as well: cut at every value that is rounded, each piece given the eager run's own values,
which both sides round alike. There the strict bound holds, and a fault of one part in ten thousand is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tinytorch.engine.graph import Graph, Seen, Value
from tinytorch.engine.rewrites import weight_codes

# Normalised mean square error allowed between plan and eager run: both add up in float32, in different orders.
NMSE_BOUND = 1e-10
# The same for a whole plan whose pieces meet that bound: 30 dB, what quantisation itself may cost. It finds what only
# the whole can get wrong, such as memory that two steps share.
ROUNDED_BOUND = 1e-3

Run = Callable[..., np.ndarray]


class Piece(NamedTuple):
    """Part of a graph, with what the eager run put in and got out."""

    graph: Graph
    inputs: list[np.ndarray]
    expected: np.ndarray


def disagreement(
    graph: Graph, seen: Seen, examples: Sequence[np.ndarray], expected: np.ndarray, plan: Run,
    build: Callable[[Graph], Run],
) -> str | None:  # fmt: skip
    """By how much `plan`, made of `graph`, misses what is expected for the examples; None where it is good enough.

    `seen` is what `trace` saw; `build` makes a plan of a piece.
    """
    error = nmse(plan(*examples), expected)
    if error <= NMSE_BOUND:
        return None
    cuts = rounded(graph, seen)
    allowed = ROUNDED_BOUND if cuts else NMSE_BOUND
    if not error <= allowed:
        return told(error, allowed)
    for piece in pieces(graph, seen, cuts):
        error = nmse(build(piece.graph)(*piece.inputs), piece.expected)
        if not error <= NMSE_BOUND:
            ops = ", ".join(node.op for node in piece.graph.nodes)
            return f"{told(error, NMSE_BOUND)} in the piece {ops}"
    return None


def told(error: float, allowed: float) -> str:
    return f"{error:.2g} (normalised mean square), {allowed} is allowed"


def rounded(graph: Graph, seen: Seen) -> list[Value]:
    """The float32 values, made on the way and seen, that layers on integers round to their grid."""
    known = {id(value) for value, _ in seen}
    read = [node.inputs[0] for node in graph.nodes if weight_codes(node) is not None]
    found = {id(v): v for v in read if v is not None and v.node is not None and v.dtype == np.float32}
    return [v for v in found.values() if id(v) in known]


def pieces(graph: Graph, seen: Seen, cuts: list[Value]) -> Iterator[Piece]:
    """The parts that lead to each cut and to the output, from the cuts before it and the graph's inputs."""
    arrays = {id(value): array for value, array in seen}
    given = {id(v): v for v in (*graph.inputs, *cuts)}
    for target in {id(v): v for v in (*cuts, graph.output)}.values():
        needed, inputs, wanted = set(), {}, [target]
        while wanted:
            value = wanted.pop()
            if value is not target and id(value) in given:
                inputs[id(value)] = value
            elif value.node is not None and id(value.node) not in needed:
                needed.add(id(value.node))
                wanted += [v for v in value.node.inputs if v is not None]
        part = Graph(list(inputs.values()), target, [node for node in graph.nodes if id(node) in needed])
        yield Piece(part, [arrays[i] for i in inputs], arrays[id(target)])


def nmse(actual: np.ndarray, expected: np.ndarray) -> float:
    """Mean square of the difference over mean square of what was expected."""
    difference = np.square(actual.astype(np.float64) - expected).sum()
    return float(difference / max(np.square(expected.astype(np.float64)).sum(), np.finfo(np.float64).tiny))
