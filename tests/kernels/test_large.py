"""Inputs of 65 million elements, where an index of 32 bits would not reach every byte."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tolerance import NMSE_ELEMENTWISE, NMSE_REDUCTION, nmse
from tinytorch.engine import dispatch, ops

# Each fills and reads several hundred megabytes.
pytestmark = pytest.mark.slow

SIZE = 2**26 + 2**10 + 3
SOME = 5000  # elements compared at either end


@pytest.fixture(autouse=True)
def compiled():
    with dispatch.use_backend("numba"):
        yield


def pattern(*shape):
    """Numbers that differ along all axes, made in one pass."""
    return (np.arange(np.prod(shape), dtype=np.int64) % 1021).astype(np.float32).reshape(shape) / np.float32(500) - 1


def test_elementwise():
    x = pattern(SIZE)
    y = ops.gelu(x, approximate="tanh")
    for part in (slice(0, SOME), slice(SIZE - SOME, SIZE)):
        assert nmse(y[part], ops.gelu.reference(x[part], approximate="tanh")) <= NMSE_ELEMENTWISE


def test_reductions():
    x = pattern(SIZE)
    x[-1] = 1000
    assert ops.max(x, axis=None, keepdims=False) == 1000
    assert nmse(ops.sum(x, axis=None, keepdims=False), x.sum(dtype=np.float64)) <= NMSE_REDUCTION
    columns = x[:-3].reshape(-1, 1024)
    assert nmse(ops.sum_to(columns, shape=(1024,)), columns.sum(0, np.float64)) <= NMSE_REDUCTION
    assert nmse(ops.batch_stats(columns)[0], columns.mean(0, np.float64)) <= NMSE_REDUCTION


def test_matrix_product():
    a, b = pattern(SIZE // 8, 8), pattern(8, 8)
    y = ops.matmul(a, b)
    for part in (slice(0, SOME), slice(len(a) - SOME, len(a))):
        assert nmse(y[part], a[part].astype(np.float64) @ b) <= NMSE_REDUCTION


def test_convolution():
    x, w = pattern(1025, 1, 256, 256), pattern(1, 1, 3, 3)
    how = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    y = ops.conv2d(x, w, **how)
    g = np.zeros(y.shape, np.float32)
    g[-1, :, -20:, -20:] = y[-1, :, -20:, -20:]
    dw = ops.conv2d_weight_grad(x, g, shape=w.shape, **how)
    for part in (slice(0, 1), slice(-1, None)):
        assert nmse(y[part], ops.conv2d.reference(x[part].astype(np.float64), w, **how)) <= NMSE_REDUCTION
    last = ops.conv2d_weight_grad.reference(x[-1:].astype(np.float64), g[-1:], shape=w.shape, **how)
    assert nmse(dw, last) <= NMSE_REDUCTION
