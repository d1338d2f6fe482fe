"""Tensors made for tests, and what it means that one is as expected."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch import Tensor

RNG = np.random.default_rng(0)


def tensor(*shape: int, **options: Any) -> Tensor:
    """Standard normal values."""
    return Tensor(RNG.standard_normal(shape), **options)


def equal(t: Tensor, expected: Any, dtype: Any = np.float32) -> None:
    """A tensor with exactly these values and this dtype."""
    assert isinstance(t, Tensor) and t.dtype == dtype, f"{t.dtype} is not {np.dtype(dtype)}"
    np.testing.assert_array_equal(t.data, expected)


def near(t: Tensor, expected: Any, dtype: Any = np.float32) -> None:
    """A tensor of this shape and dtype, equal but for rounding."""
    assert isinstance(t, Tensor) and t.dtype == dtype and t.shape == np.shape(expected)
    np.testing.assert_allclose(t.data, expected, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)
