"""Reverse-mode differentiation: the tape, and the walk back along it.

Every op on tensors that want gradients leaves one `Node` on its result. `backward` sorts the nodes reachable from the
result once, without recursion, and visits each exactly once, so its cost is linear in the graph however often a tensor
is used. Each gradient rule calls ops again, on arrays, through the same seam as forward. Left out: second derivatives.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from tinytorch.engine import ops
from tinytorch.engine.op import Op

if TYPE_CHECKING:
    from tinytorch.core.tensor import Tensor


class _Tape(threading.local):  # a thread that predicts does not switch off the tape of one that trains
    recording = True


_tape = _Tape()


def recording() -> bool:
    """Whether ops on tensors that require gradients are recorded."""
    return _tape.recording


@contextmanager
def no_grad() -> Iterator[None]:
    """Nothing inside is recorded for backward: `with no_grad():` around a block, `@no_grad()` before a function."""
    previous, _tape.recording = _tape.recording, False
    try:
        yield
    finally:
        _tape.recording = previous


def enable_autograd(quiet: bool = True) -> None:
    """Does nothing; kept for course code, where the tape had to be switched on. Here it always is."""


class Node:
    """One recorded op: what it was, what it saw, and whose gradients it owes. Its class is named after the op."""

    __slots__ = ("arrays", "inputs", "op", "out", "params")

    def __init__(
        self, op: Op, inputs: tuple[Tensor | None, ...], arrays: list[Any], params: dict[str, Any], out: np.ndarray
    ) -> None:
        self.op, self.inputs, self.arrays, self.params, self.out = op, inputs, arrays, params, out

    @property
    def name(self) -> str:
        return type(self).__name__

    def input_gradients(self, g: np.ndarray) -> list[tuple[Tensor, np.ndarray]]:
        """The inputs that want a gradient, each with its own from the gradient g of the output."""
        need = tuple(t is not None and t.requires_grad for t in self.inputs)
        gradients = self.op.gradient(need, g, self.out, *self.arrays, **self.params)
        owed = []
        for tensor, wanted, gradient in zip(self.inputs, need, gradients):
            if wanted and tensor is not None:
                owed.append((tensor, like(tensor.data, gradient)))
        return owed

    def __repr__(self) -> str:
        return f"<{self.name}>"


def like(data: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """A gradient in the shape and dtype of what it is the gradient of: broadcasting is undone here and only here."""
    if gradient.shape != data.shape:
        gradient = ops.sum_to(gradient, shape=data.shape)
    if gradient.dtype != data.dtype:
        gradient = ops.cast(gradient, dtype=data.dtype.name)
    return gradient


_node_types: dict[Op, type[Node]] = {}


def node_type(op: Op) -> type[Node]:
    """The Node class of an op: `Conv2dBackward` for `Conv2d`."""
    kind = _node_types.get(op)
    if kind is None:
        if op.gradient is None:
            raise TypeError(f"{op.name}: it has no gradient; call it inside no_grad() or detach() its inputs")
        kind = _node_types[op] = type(f"{type(op).__name__}Backward", (Node,), {"__slots__": ()})
    return kind


def sorted_nodes(root: Node) -> list[Node]:
    """All nodes reachable from root, each once, every node before those it owes gradients to."""
    order: list[Node] = []
    seen: set[int] = {id(root)}
    stack: list[tuple[Node, int]] = [(root, 0)]
    while stack:
        node, i = stack.pop()
        if i == len(node.inputs):
            order.append(node)
            continue
        stack.append((node, i + 1))
        tensor = node.inputs[i]
        below = tensor._grad_fn if tensor is not None else None
        if below is not None and id(below) not in seen:
            seen.add(id(below))
            stack.append((below, 0))
    order.reverse()
    return order


def backward(tensor: Tensor, gradient: Any = None) -> None:
    """Add d tensor / d leaf to `.grad` of every leaf that requires gradients, and of tensors asked to `retain_grad()`.

    `gradient` is the gradient of some loss with respect to `tensor`, of its shape; a single element needs none. Raises
    RuntimeError where nothing was recorded or the gradient is missing, ValueError where its shape is wrong.
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            f"backward: this tensor {tensor.shape} does not require gradients; make an input with requires_grad=True "
            "and compute outside no_grad()"
        )
    seed = _seed(tensor, gradient)
    if tensor._grad_fn is None:
        tensor.accumulate_grad(seed)
        return
    pending: dict[int, np.ndarray] = {id(tensor._grad_fn): seed}
    if tensor.retains_grad:
        tensor.accumulate_grad(seed)
    for node in sorted_nodes(tensor._grad_fn):
        g = pending.pop(id(node), None)
        if g is None:  # no gradient flows here: all its uses were cut off
            continue
        for source, owed in node.input_gradients(g):
            below = source._grad_fn
            if below is None or source.retains_grad:
                source.accumulate_grad(owed)
            if below is not None:
                key = id(below)
                pending[key] = ops.add(pending[key], owed) if key in pending else owed


def _seed(tensor: Tensor, gradient: Any) -> np.ndarray:
    if gradient is None:
        if tensor.size != 1:
            raise RuntimeError(
                f"backward: this tensor is {tensor.shape}, so the gradient is not defined without an argument; "
                "reduce it first, such as y.mean().backward(), or pass backward(gradient)"
            )
        return np.ones(tensor.shape, tensor.dtype)
    seed = np.asarray(gradient)
    if seed.shape != tensor.shape:
        raise ValueError(f"backward: gradient is {seed.shape}, the tensor is {tensor.shape}: they must agree")
    return seed.astype(tensor.dtype, copy=False)
