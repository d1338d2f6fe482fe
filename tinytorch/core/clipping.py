"""Gradient clipping, by joint norm or value by value, computed by ops so that it can be captured."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tinytorch.core.tensor import Tensor
from tinytorch.engine import dispatch, ops


@dispatch.phase("update")
def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float = 1.0) -> float:
    """Scale all gradients so that their joint Euclidean norm is at most max_norm; return the norm before.

    Pascanu et al. 2013, algorithm 1. Gradients become new arrays. A norm that is nan leaves them as they are.
    """
    limits("clip_grad_norm", max_norm, None)
    found = with_gradients(parameters)
    if not found:
        return 0.0
    squares = joint_squares(found)
    norm = math.sqrt(squares)
    if norm > max_norm:
        scale(found, squares, max_norm)
    return norm


@dispatch.phase("update")
def clip_grad_value(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value]. Gradients become new arrays."""
    limits("clip_grad_value", None, clip_value)
    for p in with_gradients(parameters):
        p.grad = ops.clip(p.grad, low=-float(clip_value), high=float(clip_value))


@dispatch.phase("update")
def clip_always(parameters: Iterable[Tensor], max_norm: float | None, clip_value: float | None) -> None:
    """What the two above do, without a look at values on the way, as capturing needs it: the same bits."""
    found = with_gradients(parameters)
    if max_norm is not None and found:
        scale(found, joint_squares(found), max_norm)
    if clip_value is not None:
        clip_grad_value(found, clip_value)


def limits(operation: str, max_norm: float | None, clip_value: float | None) -> None:
    """ValueError unless at most one limit is given, and that is positive."""
    if max_norm is not None and clip_value is not None:
        raise ValueError(
            f"{operation}: gradients would be clipped by norm {max_norm} and by value {clip_value}; choose one"
        )
    for name, limit in (("norm", max_norm), ("value", clip_value)):
        if limit is not None and not limit > 0:
            raise ValueError(f"{operation}: gradients would be clipped to {name} {limit}; choose a positive limit")


def with_gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [p for p in parameters if p.grad is not None]


def joint_squares(parameters: list[Tensor]) -> np.ndarray:
    """The sum of the squares of all gradients, at least one, float64 ()."""
    first, *others = parameters
    total = ops.sum_of_squares(first.grad, None)
    for p in others:
        total = ops.sum_of_squares(p.grad, total)
    return total


def scale(parameters: list[Tensor], squares: np.ndarray, max_norm: float) -> None:
    for p in parameters:
        p.grad = ops.scale_to_norm(p.grad, squares, max_norm=float(max_norm))
