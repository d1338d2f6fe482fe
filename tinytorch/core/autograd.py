"""Reverse-mode differentiation: the tape, and the walk back along it.

Every op on tensors that want gradients leaves one `Node` on its result. `backward` sorts the nodes reachable from the
result once, without recursion, and visits each exactly once, so its cost is linear in the graph however often a tensor
is used. Each gradient rule calls ops again, on arrays, through the same seam as forward. Left out: second derivatives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinytorch.engine import dispatch, ops
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


clock = count()  # what is made later owes gradients to what was made before


class _Record(NamedTuple):
    op: Op
    inputs: tuple[Tensor | None, ...]
    arrays: Sequence[Any]
    params: dict[str, Any]
    out: np.ndarray
    made_at: int


class Node(_Record):
    """One recorded op: what it was, what it saw, and whose gradients it owes. Its class is named after the op.

    A tuple, because one is made at every op; unlike other tuples a node equals only itself.
    """

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    @property
    def name(self) -> str:
        return type(self).__name__

    def gradients(self, g: np.ndarray) -> tuple:
        """From the gradient g of the output, one for each input; anything where none is wanted."""
        op, inputs, arrays, params, out, _ = self
        need = tuple([t is not None and t.requires_grad for t in inputs])
        return op.gradient(need, g, out, *arrays, **params)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def like(data: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """A gradient in the shape and dtype of what it is the gradient of: broadcasting is undone here and only here."""
    if gradient.shape != data.shape:
        gradient = ops.sum_to(gradient, shape=data.shape)
    if gradient.dtype != data.dtype:
        gradient = ops.cast(gradient, dtype=data.dtype.name)
    return gradient


def node_type(op: Op) -> type[Node]:
    """The Node class of an op, made at first use: `Conv2dBackward` for `Conv2d`."""
    if op.gradient is None:
        raise TypeError(f"{op.name}: it has no gradient; call it inside no_grad() or detach() its inputs")
    op.node_type = type(f"{type(op).__name__}Backward", (Node,), {"__slots__": ()})
    return op.node_type


def sorted_nodes(root: Node) -> list[Node]:
    """All nodes reachable from root, each once, the last made first: every node before those it owes gradients to."""
    found, stack = {root}, [root]
    while stack:
        for tensor in stack.pop().inputs:
            if tensor is not None:
                below = tensor._grad_fn
                if below is not None and below not in found:
                    found.add(below)
                    stack.append(below)
    return sorted(found, key=attrgetter("made_at"), reverse=True)


def backward(
    tensor: Tensor, gradient: Any = None, accumulate: Callable[[Tensor, np.ndarray], None] | None = None
) -> None:
    """Add d tensor / d leaf to `.grad` of every leaf that requires gradients, and of tensors asked to `retain_grad()`.

    `gradient` is the gradient of some loss with respect to `tensor`, of its shape; a single element needs none.
    `accumulate(leaf, its gradient)`, called for every use of a leaf, may take the place of adding to `.grad`; arrays
    it is given may be shared, so it must not write to them. Raises RuntimeError where nothing was recorded or the
    gradient is missing, ValueError where its shape is wrong.
    """
    give = accumulate or type(tensor).accumulate_grad
    if not tensor.requires_grad:
        raise RuntimeError(
            f"backward: this tensor {tensor.shape} does not require gradients; make an input with requires_grad=True "
            "and compute outside no_grad()"
        )
    seed = _seed(tensor, gradient)
    if tensor._grad_fn is None:
        give(tensor, seed)
        return
    pending: dict[Node, np.ndarray] = {tensor._grad_fn: seed}
    if tensor.retains_grad:
        give(tensor, seed)
    watched = bool(dispatch.watchers)
    with dispatch.phase("backward"):
        for node in sorted_nodes(tensor._grad_fn):
            g = pending.pop(node, None)
            if g is None:  # no gradient flows here: all its uses were cut off
                continue
            if watched:
                dispatch.source = node.out
            for source, owed in zip(node.inputs, node.gradients(g)):
                if source is None or not source.requires_grad:
                    continue
                data = source.data
                if owed.shape != data.shape or owed.dtype is not data.dtype:
                    owed = like(data, owed)
                below = source._grad_fn
                if below is None or source.retains_grad:
                    give(source, owed)
                if below is not None:
                    pending[below] = ops.add(pending[below], owed) if below in pending else owed


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
