"""Pooling and its gradients against loops over windows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import simd
from tests.kernels import naive
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_ELEMENTWISE, nmse

HALVE = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
OVERLAP = {"kernel": (3, 3), "stride": (1, 2), "padding": (1, 1)}


def check(x, **how):
    y = run("max_pool2d", x, **how)
    np.testing.assert_array_equal(y, naive.max_pool2d(x, **how))
    mean = naive.avg_pool2d(x, **how)
    assert nmse(run("avg_pool2d", x, **how), mean) < NMSE_ELEMENTWISE
    g = normal(*mean.shape)
    assert nmse(run("max_pool2d_grad", g, x, y, **how), naive.max_pool2d_grad(g, x, **how)) < NMSE_ELEMENTWISE
    dx = run("avg_pool2d_grad", g, shape=x.shape, **how)
    assert nmse(dx, naive.avg_pool2d_grad(g, x.shape, **how)) < NMSE_ELEMENTWISE


@pytest.mark.parametrize("c", (1, simd.LANES - 1, simd.LANES, simd.LANES + 1, 3 * simd.LANES))
@pytest.mark.parametrize("how", (HALVE, OVERLAP))
def test_channels_around_a_vector(c, how):
    check(normal(2, c, 7, 6), **how)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    extra=st.tuples(st.integers(0, 4), st.integers(0, 4)), pad=st.booleans(),
)  # fmt: skip
def test_any_geometry(kernel, stride, extra, pad):
    padding = (kernel[0] // 2, kernel[1] // 2) if pad else (0, 0)
    x = normal(2, 3, kernel[0] + extra[0], kernel[1] + extra[1])
    check(x, kernel=kernel, stride=stride, padding=padding)


def test_any_strides():
    for x in layouts(normal(2, 5, 6, 6)):
        check(x, **OVERLAP)


def test_the_first_of_equal_maxima_gets_the_gradient():
    x = np.zeros((1, 1, 2, 2), np.float32)
    g = np.ones((1, 1, 1, 1), np.float32)
    y = run("max_pool2d", x, **HALVE)
    np.testing.assert_array_equal(run("max_pool2d_grad", g, x, y, **HALVE)[0, 0], [[1, 0], [0, 0]])


def test_nan_wins_and_takes_the_gradient():
    x = np.array([[[[1, np.nan], [np.inf, np.nan]]]], np.float32)
    g = np.ones((1, 1, 1, 1), np.float32)
    y = run("max_pool2d", x, **HALVE)
    assert np.isnan(y).all()
    np.testing.assert_array_equal(run("max_pool2d_grad", g, x, y, **HALVE)[0, 0], [[0, 1], [0, 0]])


def test_minus_infinity_alone_stays():
    x = np.full((1, 3, 4, 4), -np.inf, np.float32)
    np.testing.assert_array_equal(run("max_pool2d", x, **OVERLAP), naive.max_pool2d(x, **OVERLAP))


def test_windows_in_the_padding_alone_are_declined():
    assert run("max_pool2d", normal(1, 1, 4, 4), kernel=(2, 2), stride=(1, 1), padding=(2, 0)) is None
    assert run("avg_pool2d_grad", normal(1, 1, 4, 4), shape=(1, 1, 4, 4), kernel=(1, 1), stride=(1, 1),
               padding=(0, 1)) is None  # fmt: skip
