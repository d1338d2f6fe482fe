"""Rewrites of captured graphs into fewer and cheaper steps, with the same mathematics.

Batch norm is folded into the weights before it; ReLU and 2 x 2 max pooling become part of the product before them;
flattening an image for a linear layer becomes a convolution as large as the image, which reads it where it lies; layers
on integers hand on bytes; and what the next layer pads is laid into its border at once. Left out: capturing
(`graph.py`), memory and kernels (`plan.py`), what only training steps hold (`norm_rewrites.py`).
"""

from __future__ import annotations

from dataclasses import replace as with_fields
from typing import Any

import numpy as np

from tinytorch.engine.block_sparse import BlockSparse
from tinytorch.engine.formats import Format, Grid, Int8, along
from tinytorch.engine.graph import Graph, Node, Value, constant
from tinytorch.engine.norm_rewrites import POOL, fuse_behind_norm

# Ops whose kernels can end with a ReLU and take a scaled weight: name -> axis of the output channels in the weight.
WEIGHTED = {"linear": 1, "conv2d": 0}


def fuse(graph: Graph) -> None:
    """Apply all rewrites, in place."""
    fold_batch_norm(graph)
    fuse_relu(graph)
    fuse_pool(graph)
    fuse_relu(graph)  # again, for those behind a pooling
    fuse_behind_norm(graph)
    flatten_as_convolution(graph)
    keep_bytes(graph)
    pad_ahead(graph)


def only_user(graph: Graph, node: Node, wanted: set[str]) -> Node | None:
    """The node that made this node's first input, if it is one of the `wanted` ops and nobody else reads it."""
    source = node.inputs[0]
    maker = source.node if source else None
    return maker if maker and maker.op in wanted and graph.uses(maker.out) == 1 else None


def replace(graph: Graph, node: Node, maker: Node) -> None:
    """Drop `node`: `maker` now makes its result."""
    maker.origins += node.origins
    maker.out = node.out
    node.out.node = maker
    graph.nodes.remove(node)


def fuse_relu(graph: Graph) -> None:
    for node in [n for n in graph.nodes if n.op == "relu"]:
        maker = only_user(graph, node, set(WEIGHTED))
        if maker is not None and "activation" not in maker.params:
            maker.params["activation"] = "relu"
            replace(graph, node, maker)


def fuse_pool(graph: Graph) -> None:
    for node in [n for n in graph.nodes if n.op == "max_pool2d" and n.params == POOL]:
        maker = only_user(graph, node, {"conv2d"})
        if maker is not None and maker.params["groups"] == 1 and "pool" not in maker.params:
            maker.params["pool"] = True
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
        if not isinstance(w, np.ndarray) and not (isinstance(w, BlockSparse) and w.scale is None):
            continue
        if (b is not None and b.array is None) or any(c is None for c in constants):
            continue
        gamma, beta, stats = (np.asarray(c) for c in constants)
        scale = gamma / np.sqrt(stats[1] + node.params["eps"])
        bias = (np.asarray(b.array) if b is not None else 0) * scale + beta - stats[0] * scale
        maker.inputs = [maker.inputs[0], scaled(w, scale, WEIGHTED[maker.op]), constant(bias)]
        node.origins = tuple(origin._replace(executed=False) for origin in node.origins)
        replace(graph, node, maker)


def scaled(w: np.ndarray | BlockSparse, scale: np.ndarray, axis: int) -> Value:
    """w with its output channels scaled, in the form it has."""
    if not isinstance(w, BlockSparse):
        return constant(w * along(scale, axis, w.ndim))
    whole = (w.array * along(scale, axis, len(w.shape))).astype(np.float32)
    blocks = BlockSparse.pack(whole, axis, w.grid, w.channels, w.execution)
    return Value(blocks.shape, blocks.dtype, blocks)


def flatten_as_convolution(graph: Graph) -> None:
    """linear(flatten(image)) -> a convolution with one window, where a product or a pooling made the image.

    Those leave images channels-last; flattening means another order, and so would mean a copy.
    """
    for node in [n for n in graph.nodes if n.op == "linear"]:
        flatten = only_user(graph, node, {"reshape"})
        image = flatten.inputs[0] if flatten else None
        weight = node.operand(1)
        if flatten is None or image is None or image.node is None or image.node.op not in ("conv2d", "max_pool2d"):
            continue
        if len(image.shape) != 4 or image.shape[0] != node.out.shape[0] or len(node.out.shape) != 2:
            continue
        kernel = as_kernel(weight, image.shape[1:])
        if kernel is None:
            continue
        how = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **node.params}
        pixel = Value((*node.out.shape, 1, 1), node.out.dtype)
        inputs = [image, Value(kernel.shape, kernel.dtype, kernel), *node.inputs[2:]]
        pixel.node = Node("conv2d", inputs, how, pixel, node.origins)
        node.op, node.inputs, node.params, node.origins = "reshape", [pixel], {"shape": node.out.shape}, ()
        graph.nodes[graph.nodes.index(flatten)] = pixel.node


def as_kernel(weight: Any, image: tuple[int, ...]) -> Any:
    """A linear weight (C H W, n), array, int8 codes or blocks, as (n, C, H, W); None for other formats."""

    def turned(w: np.ndarray) -> np.ndarray:
        return w.reshape(*image, w.shape[1]).transpose(3, 0, 1, 2)

    if isinstance(weight, BlockSparse):
        whole = as_kernel(weight.array if weight.codes8 is None else weight.codes8, image)
        return BlockSparse.pack(whole, 0, weight.grid, execution=weight.execution)
    if isinstance(weight, Int8):
        return with_fields(weight, codes=turned(weight.codes), axis=0)
    return turned(weight) if isinstance(weight, np.ndarray) else None


def weight_codes(node: Node) -> Int8 | None:
    """The weight of a node that computes on integers."""
    operand = node.operand(1)
    return operand.integers(node.op) if isinstance(operand, Format) else None


def keep_bytes(graph: Graph) -> None:
    """Let layers on integers leave the codes of the grid that all their readers want, instead of float32.

    Rounding is what those would have done first, so results are the same bits.
    """
    for node in graph.nodes:
        if weight_codes(node) is not None:
            grid = wanted_grid(graph, node.out)
            if grid is not None:
                node.params["grid"] = grid
                value: Value | None = node.out
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


def pad_ahead(graph: Graph) -> None:
    """Let a product lay its result into the border that the only convolution reading it pads with."""
    for node in [n for n in graph.nodes if n.op == "conv2d" and n.params["padding"] != (0, 0)]:
        maker = only_user(graph, node, {"conv2d"})
        if maker is not None and maker.params["groups"] == node.params["groups"] == 1:
            in_bytes = maker.out.dtype == np.uint8
            if in_bytes == (weight_codes(node) is not None):
                maker.params["margin"] = node.params["padding"]
