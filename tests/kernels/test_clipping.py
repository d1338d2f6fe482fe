"""Clipping, comparing and choosing: against NumPy in float64, on any split, in any layout, with nan and infinities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kernels import clipping, elementwise
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_ELEMENTWISE, nmse
from tinytorch.engine.ops.elementwise import RELATIONS

SIZES = (1, 15, 17, clipping.SQUARES_BLOCK, clipping.SQUARES_BLOCK + 1, 3 * clipping.SQUARES_BLOCK - 5)
ODD = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 3e38, 1e-45], np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("before", (None, np.array(7.5)))
def test_sum_of_squares(size, before):
    x = normal(size)
    expected = np.square(x.astype(np.float64)).sum() + (0 if before is None else 7.5)
    assert run("sum_of_squares", x, before) == pytest.approx(expected, rel=1e-14)


def test_squares_neither_overflow_nor_vanish():
    assert run("sum_of_squares", np.full(4, 3e38, np.float32), None) == pytest.approx(3.6e77, rel=1e-6)
    assert run("sum_of_squares", np.full(4, 1e-30, np.float32), None) == pytest.approx(4e-60, rel=1e-6)
    assert run("sum_of_squares", np.array([1, -np.inf], np.float32), None) == np.inf
    assert np.isnan(run("sum_of_squares", np.array([1, np.nan], np.float32), None))


def test_squares_have_the_same_bits_in_any_layout():
    x = normal(37, 5, 31)
    assert len({run("sum_of_squares", other, None).tobytes() for other in layouts(x)}) == 1


@pytest.mark.parametrize("size", (1, elementwise.BLOCK + 3))
def test_scale_to_norm(size):
    x, squares = normal(size), np.array(16.0)
    np.testing.assert_array_equal(run("scale_to_norm", x, squares, max_norm=1.0), x * np.float32(0.25))
    for unchanged in (4.0, 5.0, math.inf):
        np.testing.assert_array_equal(run("scale_to_norm", x, squares, max_norm=unchanged), x)
    np.testing.assert_array_equal(run("scale_to_norm", x, np.array(np.nan), max_norm=1.0), x)  # as `clip_grad_norm`
    np.testing.assert_array_equal(run("scale_to_norm", x, np.array(np.inf), max_norm=1.0), 0 * x)


def test_scale_to_norm_and_clip_in_any_layout():
    x = normal(3, 4, 5)
    for other in layouts(x):
        np.testing.assert_array_equal(run("scale_to_norm", other, np.array(4.0), max_norm=1.0), x * np.float32(0.5))
        np.testing.assert_array_equal(run("clip", other, low=-0.5, high=0.25), np.clip(x, -0.5, 0.25))


@pytest.mark.parametrize("low, high", ((-1.0, 1.0), (None, 0.5), (0.25, None)))
def test_clip_of_what_is_odd(low, high):
    np.testing.assert_array_equal(run("clip", ODD, low=low, high=high), np.clip(ODD, low, high))


def test_clip_to_nan_is_declined():
    assert run("clip", ODD, low=math.nan, high=1.0) is None


@pytest.mark.parametrize("relation", RELATIONS)
def test_compare(relation):
    a, b = np.repeat(ODD, ODD.size), np.tile(ODD, ODD.size)
    np.testing.assert_array_equal(run("compare", a, b, relation=relation), RELATIONS[relation](a, b))
    for number in ODD:
        one = np.array(number)
        np.testing.assert_array_equal(run("compare", ODD, one, relation=relation), RELATIONS[relation](ODD, one))
        np.testing.assert_array_equal(run("compare", one, ODD, relation=relation), RELATIONS[relation](one, ODD))


def test_compare_broadcasts():
    a, b = normal(4, 1, 3), normal(5, 1)
    for left, right in zip(layouts(a), reversed(layouts(b))):
        np.testing.assert_array_equal(run("compare", left, right, relation="<"), a < b)


@pytest.mark.parametrize("size", (1, elementwise.BLOCK + 3))
def test_where(size):
    c, a, b = normal(size) > 0, normal(size), normal(size)
    for first in (a, a[:1].reshape(())):
        for second in (b, b[:1].reshape(())):
            np.testing.assert_array_equal(run("where", c, first, second), np.where(c, first, second))
    assert np.isnan(run("where", np.array([True, False]), np.array([np.nan, 1], np.float32), normal(2))[0])


def test_sign():
    np.testing.assert_array_equal(run("sign", ODD), np.sign(ODD))


@pytest.mark.parametrize("size", (1, 17, elementwise.BLOCK + 3))
def test_binary_cross_entropy(size):
    p, t = np.abs(np.sin(normal(size))) * np.float32(0.98) + np.float32(0.01), np.abs(np.sin(normal(size)))
    q, u = p.astype(np.float64), t.astype(np.float64)
    loss = -(u * np.log(q) + (1 - u) * np.log(1 - q)).mean()
    assert run("binary_cross_entropy", p, t) == pytest.approx(loss, rel=1e-6)
    grad = (q - u) / (q * (1 - q)) * 0.5 / size
    assert nmse(run("binary_cross_entropy_grad", np.array(0.5, np.float32), p, t), grad) < NMSE_ELEMENTWISE


def test_binary_cross_entropy_at_the_ends():
    p, t = np.array([0, 1, 0, 1], np.float32), np.array([0, 1, 1, 0], np.float32)
    assert run("binary_cross_entropy", p, t) == 50
    np.testing.assert_allclose(run("binary_cross_entropy_grad", np.array(4, np.float32), p, t), [0, 0, -1e12, 1e12])
    for outside in (-0.1, 1.1, np.nan):
        assert np.isnan(run("binary_cross_entropy", np.array([0.5, outside], np.float32), t[:2]))
