"""The samples of all ops as test cases, so that a new op is tested without writing a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.tolerance import NMSE_ELEMENTWISE, NMSE_REDUCTION
from tinytorch.engine import ops
from tinytorch.engine.op import OPS, Op, Sample
from tinytorch.engine.ops.activation import ActivationGrad, OverAxis, OverAxisGrad
from tinytorch.engine.ops.clipping import OfSquares
from tinytorch.engine.ops.elementwise import Binary, Unary
from tinytorch.engine.ops.movement import Movement
from tinytorch.engine.ops.update import Update

assert ops  # importing it declares all ops


def samples(op: Op) -> list[Sample]:
    return list(op.samples(np.random.default_rng(1)))


CASES = [(name, i) for name, op in sorted(OPS.items()) for i in range(len(samples(op)))]
DIFFERENTIABLE = [(name, i) for name, i in CASES if OPS[name].gradient is not None]


def case(name: str, i: int) -> tuple[Op, tuple[Any, ...], dict[str, Any]]:
    """The op, and arrays and parameters of its sample number i."""
    sample = samples(OPS[name])[i]
    return OPS[name], sample.arrays, dict(sample.params)


def in_dtype(op: Op, arrays: tuple[Any, ...], dtype: type) -> tuple[Any, ...]:
    """Copies with floating arrays in `dtype`; hyperparameters of an update and sums of squares are float64 always."""
    kept = len(arrays) - 1 if isinstance(op, Update | OfSquares) else None
    return tuple(
        a if a is None else a.astype(dtype) if a.dtype.kind == "f" and i != kept else a.copy()
        for i, a in enumerate(arrays)
    )


def tolerance(op: Op) -> float:
    """What the tolerance table allows between a float32 kernel and the reference."""
    elementwise = isinstance(op, Unary | Binary | ActivationGrad | Movement | Update | OfSquares)
    return NMSE_ELEMENTWISE if elementwise and not isinstance(op, OverAxis | OverAxisGrad) else NMSE_REDUCTION


def fortran(a: np.ndarray) -> np.ndarray:
    return a.transpose().copy().transpose()


def reversed_strides(a: np.ndarray) -> np.ndarray:
    backwards = (..., *(slice(None, None, -1) for _ in a.shape))
    return a[backwards].copy()[backwards]


def with_gaps(a: np.ndarray) -> np.ndarray:
    """Every other element of an array twice as long on each axis, with nan between, which must not be read."""
    fill = np.nan if a.dtype.kind == "f" else 0
    wide = np.full(tuple(2 * n + 1 for n in a.shape), fill, a.dtype)
    view = wide[(..., *(slice(1, None, 2) for _ in a.shape))]
    view[...] = a
    return view


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "fortran": fortran,
    "reversed": reversed_strides,
    "gaps": with_gaps,
}
