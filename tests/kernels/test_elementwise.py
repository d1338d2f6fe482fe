"""Elementwise kernels and the functions they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import elementwise, registry
from tests.kernels import naive
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_ELEMENTWISE, nmse

UNARY = ("neg", "abs", "sqrt", "exp", "log", "relu", "sigmoid", "tanh", "gelu")
ARITHMETIC = ("add", "sub", "mul", "div")
GRADIENTS = ("relu_grad", "sigmoid_grad", "tanh_grad", "gelu_grad")
POSITIVE = ("sqrt", "log")
SIZES = (1, 15, 16, 17, elementwise.BLOCK, elementwise.BLOCK + 1, 5 * elementwise.BLOCK - 3)


def inputs(name, *shape):
    arrays = [normal(*shape) for _ in range(1 if name in UNARY else 2)]
    return [np.abs(a) + np.float32(0.01) for a in arrays] if name in POSITIVE else arrays


def params(name):
    return {"approximate": "tanh"} if name.startswith("gelu") else {}


def expected(name, arrays):
    return naive.ELEMENTWISE[name](*(a.astype(np.float64) for a in arrays))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", naive.ELEMENTWISE)
def test_against_the_reference(name, size):
    arrays = inputs(name, size)
    assert nmse(run(name, *arrays, **params(name)), expected(name, arrays)) < NMSE_ELEMENTWISE


@pytest.mark.parametrize("name", ARITHMETIC + GRADIENTS)
def test_operands_in_any_layout(name):
    a, b = inputs(name, 3, 4, 5)
    for first, second in zip(layouts(a), reversed(layouts(b))):
        assert nmse(run(name, first, second, **params(name)), expected(name, (a, b))) < NMSE_ELEMENTWISE


@pytest.mark.parametrize("name", UNARY)
def test_one_operand_in_any_layout(name):
    (x,) = inputs(name, 3, 4, 5)
    for other in layouts(x):
        assert nmse(run(name, other, **params(name)), expected(name, (x,))) < NMSE_ELEMENTWISE


def test_the_result_keeps_the_order_in_memory():
    x = normal(2, 5, 6, 3).transpose(0, 3, 1, 2)
    y = registry.program("sigmoid", (x,), {})(x)
    assert y.strides == x.strides


@pytest.mark.parametrize("name", ARITHMETIC)
def test_a_single_number_is_broadcast(name):
    a, number = normal(37, 41), np.array([[0.7]], np.float32)
    for pair in ((a, number), (number, a), (a, number.reshape(())), (number, number)):
        assert nmse(run(name, *pair), expected(name, pair)) < NMSE_ELEMENTWISE


def test_other_broadcasts_are_declined():
    assert run("add", normal(3, 4), normal(4)) is None
    assert run("add", normal(3, 1), normal(1, 4)) is None
    assert run("add", normal(3), np.float32([[1]])) is None


def ulps(name, x):
    """The largest error in units of the last place of the true result, where that is a normal number."""
    with np.errstate(all="ignore"):
        true = naive.ELEMENTWISE[name](x.astype(np.float64))
        rounded = true.astype(np.float32)
    y = run(name, x)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(rounded))
    np.testing.assert_array_equal(y[~np.isfinite(y)], rounded[~np.isfinite(y)])
    normal_number = np.isfinite(rounded) & (np.abs(rounded) >= np.finfo(np.float32).tiny)
    y, true, rounded = y[normal_number], true[normal_number], rounded[normal_number]
    return (np.abs(y - true) / np.spacing(np.abs(rounded))).max()


SPECIAL = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38, -3e38], np.float32)


@pytest.mark.parametrize(
    "name, low, high, bound", (("exp", -110, 95, 2), ("tanh", -12, 12, 3), ("sigmoid", -85, 110, 3))
)
def test_functions_are_accurate_everywhere(name, low, high, bound):
    edges = np.array([88.72283, 88.72284, -87.33655, -87.4, -103.2, -104.1], np.float32)
    x = np.concatenate([np.linspace(low, high, 50_001, dtype=np.float32), normal(20_000), SPECIAL, edges])
    assert ulps(name, x) <= bound


GELU = {"approximate": "none"}


@pytest.mark.parametrize("size", SIZES[1:])  # the gradient has a zero, near which one number alone is inexact
def test_exact_gelu(size):
    g, x = normal(size), 2 * normal(size)
    for other in layouts(x):
        assert nmse(run("gelu", other, **GELU), naive.gelu_exact(x.astype(np.float64))) < NMSE_ELEMENTWISE
        expected = naive.gelu_exact_grad(*(a.astype(np.float64) for a in (g, x)))
        assert nmse(run("gelu_grad", g, other, **GELU), expected) < NMSE_ELEMENTWISE


def test_exact_gelu_has_few_wrong_digits_in_the_tail_too():
    """In float32 exp(-x^2 / 2) is as wrong as x^2 / 2 is rounded: by half a unit times x^2 / 2."""
    x = np.linspace(-13, 13, 100_001, dtype=np.float32)
    true = naive.gelu_exact(x.astype(np.float64))
    units = np.abs(run("gelu", x, **GELU) - true) / np.maximum(np.abs(true), 1e-37) / np.finfo(np.float32).eps
    assert (units <= 6 + x * x / 2).all() and units[np.abs(x) < 2].max() <= 6


def test_exact_gelu_of_special_numbers():
    x = np.array([np.inf, -np.inf, np.nan, 0, 3e38, -3e38], np.float32)
    np.testing.assert_array_equal(run("gelu", x, **GELU), [np.inf, np.nan, np.nan, 0, x[4], 0])


def test_log_is_accurate_everywhere():
    x = np.exp(np.linspace(-103, 88, 50_001)).astype(np.float32)
    near_one = np.linspace(0.5, 2, 20_001, dtype=np.float32)
    assert ulps("log", np.concatenate([x, near_one, SPECIAL])) <= 2


def test_exp_of_very_negative_numbers_is_subnormal_or_zero():
    x = np.linspace(-110, -87, 1001, dtype=np.float32)
    np.testing.assert_allclose(run("exp", x), np.exp(x.astype(np.float64)), atol=2e-45, rtol=2e-7)


def test_relu_keeps_nan():
    x = np.array([np.nan, -1, 2, -np.inf, np.inf], np.float32)
    np.testing.assert_array_equal(run("relu", x), np.array([np.nan, 0, 2, 0, np.inf], np.float32))


@pytest.mark.parametrize("name, size", (("add", elementwise.ONE_PASS), ("exp", elementwise.TRANSCENDENTAL)))
def test_eager_calls_leave_small_work_to_numpy(name, size):
    for n, taken in ((size - 1, False), (size, True)):
        arrays = inputs(name, n)
        assert (registry.program(name, arrays, {}) is not None) == taken
