"""Rewrites of captured training steps: what follows batch norm becomes part of it, forward and backward.

Normalising, ReLU and 2 x 2 max pooling are then one pass over the image, and so is each half of their gradient, which
looks at the image again instead of at what was stored of it on the way. Results are the same bits.

Left out: rewrites of inferences (`rewrites.py`), how the passes are done (`kernels.batch_norm`).
"""

from __future__ import annotations

from tinytorch.engine.graph import Graph, Node, Value

POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}  # the pooling that kernels do on the way out
SUMS, INPUT_GRAD = "batch_norm_sums", "batch_norm_train_input_grad"


def fuse_behind_norm(graph: Graph) -> None:
    """Batch norm of a training step takes in the ReLU that reads it, and the pooling that reads that, where nobody else
    looks at the numbers in between.
    """
    for norm in [n for n in graph.nodes if n.op == "batch_norm_train"]:
        relu = only_reader(graph, norm.out)
        if relu is None or relu.op != "relu":
            continue
        image = relu.out
        readers = {node.op: node for node in readers_of(graph, image)}
        alone = graph.uses(image) == len(readers)  # each op once, and it is not the answer
        relu_grad, pool, pool_grad = (readers.get(op) for op in ("relu_grad", "max_pool2d", "max_pool2d_grad"))
        gradients = gradients_of(graph, norm, relu_grad)
        absorb(graph, norm, relu, {"activation": "relu"})
        if relu_grad is not None and gradients:
            absorb_gradient(graph, norm, relu_grad, gradients, {"activation": "relu"})
        if pool is None or pool.params != POOL or not alone:
            continue
        if pool_grad is None and len(readers) == 1:
            absorb(graph, norm, pool, {"pool": True})
        elif pool_grad is not None and gradients and len(readers) == 3 and is_source(graph, pool_grad, gradients):
            absorb(graph, norm, pool, {"pool": True})
            absorb_gradient(graph, norm, pool_grad, gradients, {"pool": True})


def readers_of(graph: Graph, value: Value) -> list[Node]:
    return [node for node in graph.nodes if value in node.inputs]


def only_reader(graph: Graph, value: Value) -> Node | None:
    """The one node that reads a value, once, if it is not the answer either."""
    readers = readers_of(graph, value)
    return readers[0] if readers and graph.uses(value) == 1 else None


def gradients_of(graph: Graph, norm: Node, behind: Node | None) -> list[Node]:
    """The passes of the gradient of `norm` if they, and they alone, read what `behind` gives."""
    passes = [] if behind is None else readers_of(graph, behind.out)
    known = all(
        node.op in (SUMS, INPUT_GRAD) and node.inputs[1] is norm.inputs[0] and norm.inputs[3] in node.inputs
        and node.params["eps"] == norm.params["eps"] for node in passes
    )  # fmt: skip
    return passes if behind is not None and known and is_source(graph, behind, passes) else []


def is_source(graph: Graph, node: Node, readers: list[Node]) -> bool:
    """Whether these nodes, and they alone, read what a node gives as the gradient they are for."""
    return graph.uses(node.out) == len(readers) and all(reader.inputs[0] is node.out for reader in readers)


def absorb(graph: Graph, norm: Node, node: Node, how: dict[str, object]) -> None:
    """`norm` now makes what `node` made of its result."""
    norm.params.update(how)
    norm.origins += node.origins
    norm.out = node.out
    node.out.node = norm
    graph.nodes.remove(node)


def absorb_gradient(graph: Graph, norm: Node, node: Node, passes: list[Node], how: dict[str, object]) -> None:
    """The passes now do themselves what `node` did to the gradient they read; gamma and beta tell them forward's image.

    They come before the update of either, as all of backward does. The FLOPs are told at the first pass.
    """
    gamma, beta = norm.inputs[1:3]
    for i, each in enumerate(passes):
        if "activation" not in each.params:
            each.inputs += [gamma, beta] if each.op == SUMS else [beta]
        each.params.update(how)
        each.inputs[0] = node.inputs[0]
        each.origins += tuple(origin if i == 0 else origin._replace(flops=0) for origin in node.origins)
    graph.nodes.remove(node)
