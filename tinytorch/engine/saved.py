"""Plans as files: the rewritten graph with its constants, lowered again for the CPU that loads it.

A file is safetensors: constants as arrays, the graph as JSON in its metadata, and a checksum over both. Nothing in it
is executed; ops and parameters are looked up and their shape rules run again, so a damaged or foreign file is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from tinytorch.engine.dispatch import Phase
from tinytorch.engine.formats import Format, Grid
from tinytorch.engine.graph import Graph, Node, Origin, Value
from tinytorch.engine.op import OPS, Spec
from tinytorch.engine.packing import describe, unpack

METADATA, VERSION = "tinytorch-plan", 1
# Parameters that rewrites add to an op; its shape rule does not know them.
FUSED = ("activation", "pool", "margin", "grid")
MOST_THREADS, MOST_MARGIN = 4096, 1024


def to_bytes(graph: Graph, threads: int) -> bytes:
    """The file's content. TypeError where a parameter is neither number, text nor a tuple of such."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    packed: dict[str, Any] = {}
    places = {id(value): i for i, value in enumerate([*graph.inputs, *(node.out for node in graph.nodes)])}

    def source(value: Value | None) -> Any:
        if value is None or id(value) in places:
            return None if value is None else places[id(value)]
        name = f"c{len(arrays) + len(packed)}"
        if isinstance(value.array, Format):
            arrays.update({f"{name}.{part}": array for part, array in value.array.arrays().items()})
            packed[name] = describe(value.array)
        else:
            arrays[name] = value.array
        return name

    nodes = [
        {"op": n.op, "inputs": [source(v) for v in n.inputs], "params": encoded(n.params), **about(n.out),
         **({"origins": n.origins} if n.origins else {})}
        for n in graph.nodes
    ]
    text = json.dumps(
        {"version": VERSION, "threads": threads, "inputs": [about(v) for v in graph.inputs], "nodes": nodes,
         "packed": packed, "output": places[id(graph.output)]}, separators=(",", ":"),
    )  # fmt: skip
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(arrays, {METADATA: text, "sha256": digest(text, arrays)})


def from_bytes(content: bytes) -> tuple[Graph, int]:
    """Graph and threads; ValueError says what is wrong with the content."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays, metadata = load(content), header(content)
        text = metadata[METADATA]
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"no whole plan file ({error!r})") from error
    if metadata.get("sha256") != digest(text, arrays):
        raise ValueError("its checksum does not fit its content: it was damaged or edited")
    plan = json.loads(text)
    if plan.get("version") != VERSION:
        raise ValueError(f"it has version {plan.get('version')}, this program reads {VERSION}: update the older")
    try:
        threads = int(plan["threads"])
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"it asks for {threads} threads; 1 to {MOST_THREADS} can be given")
        return rebuilt(plan, arrays), threads
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"its graph makes no sense ({error!r})") from error


def rebuilt(plan: dict[str, Any], arrays: dict[str, np.ndarray]) -> Graph:
    """The graph, every node of it checked by its op's shape rule."""
    formats = {name: unpack(name, about, arrays) for name, about in plan["packed"].items()}
    known: dict[str, Any] = {**arrays, **formats}
    constants = {name: Value(c.shape, c.dtype, c) for name, c in known.items()}
    entries = list(map(value_of, plan["inputs"]))
    graph = Graph(entries, entries[0])
    values = list(entries)
    for row in plan["nodes"]:
        if row["op"] not in OPS:
            raise ValueError(f"it uses the op {row['op']!r}, unknown here: update this program")
        inputs = [None if s is None else constants[s] if isinstance(s, str) else values[s] for s in row["inputs"]]
        node = Node(row["op"], inputs, decoded(row["params"]), value_of(row), origins_of(row))
        check(node)
        node.out.node = node
        graph.nodes.append(node)
        values.append(node.out)
    graph.output = values[plan["output"]]
    return graph


def check(node: Node) -> None:
    """ValueError unless the op, with what is fused to it, gives an output of the shape that is written down."""
    params = {name: value for name, value in node.params.items() if name not in FUSED}
    wrong = [name for name in FUSED if name in node.params and not possible(name, node.params[name])]
    if wrong:
        raise ValueError(f"{node.op} has {wrong[0]} {node.params[wrong[0]]!r}, which no rewrite gives")
    specs = [v if v is None or v.dtype != np.uint8 else Spec(v.shape, np.dtype(np.float32)) for v in node.inputs]
    shape = OPS[node.op].shape(*specs, **params).shape
    if node.params.get("pool"):
        shape = (*shape[:2], shape[2] // 2, shape[3] // 2)
    if shape != node.out.shape:
        raise ValueError(f"{node.op} would give {shape}, the file says {node.out.shape}")


def possible(name: str, value: Any) -> bool:
    """Whether a rewrite may have added this: kernels believe it."""
    if name == "grid":
        return isinstance(value, Grid) and 0 < value.scale < np.inf and 0 <= value.zero_point <= 255
    if name == "margin":
        both = isinstance(value, tuple) and len(value) == 2
        return both and all(type(n) is int and 0 <= n <= MOST_MARGIN for n in value)
    return value == "relu" if name == "activation" else value is True


def about(value: Value) -> dict[str, Any]:
    return {"shape": list(value.shape), "dtype": value.dtype.name}


def value_of(row: dict[str, Any]) -> Value:
    return Value(tuple(map(int, row["shape"])), np.dtype(row["dtype"]))


def origins_of(row: dict[str, Any]) -> tuple[Origin, ...]:
    """What is written down of the traced ops; nothing in files that are older than it."""
    found = tuple(Origin(*entry) for entry in row.get("origins", ()))
    for origin in found:
        if not (
            all(isinstance(text, str) for text in (origin.layer, origin.kind, origin.op))
            and origin.phase in get_args(Phase) and type(origin.flops) is int and origin.flops >= 0
            and type(origin.executed) is bool
        ):  # fmt: skip
            raise ValueError(f"{row['op']} is said to come from {tuple(origin)}, which no op is like")
    return found


def encoded(value: Any) -> Any:
    """A parameter for JSON: tuples become lists, and what JSON has no form for an object with the name of its kind."""
    if isinstance(value, Grid):
        return {"grid": list(value)}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if value is Ellipsis:
        return {"ellipsis": []}
    if isinstance(value, dict):
        return {name: encoded(v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return [encoded(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"plan: a parameter is {value!r}; only numbers, text, slices and tuples of them can be saved")


def decoded(params: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, Callable[..., Any]] = {
        "grid": lambda scale, zero: Grid(float(scale), int(zero)), "slice": slice, "ellipsis": lambda: Ellipsis,
    }  # fmt: skip

    def back(value: Any) -> Any:
        if isinstance(value, dict):
            ((kind, parts),) = value.items()
            return kinds[kind](*parts)
        return tuple(map(back, value)) if isinstance(value, list) else value

    return {name: back(value) for name, value in params.items()}


def digest(text: str, arrays: dict[str, np.ndarray]) -> str:
    """sha256 over the description and over every array's name, type and bytes."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape} ".encode() + arrays[name].tobytes())
    return total.hexdigest()


def header(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file (8 bytes of length, then JSON)."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length])["__metadata__"])


def read(path: str | os.PathLike) -> tuple[Graph, int]:
    """Graph and threads from a file. ValueError names the file and the next step; FileNotFoundError where none is."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such plan; make one with plan.save(path)")
    try:
        return from_bytes(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}; copy it again, or save the plan again") from error
