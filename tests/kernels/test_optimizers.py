"""Optimizer steps against their formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import elementwise, registry
from tests.kernels import naive
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_ELEMENTWISE, nmse

SIZES = (1, 17, elementwise.BLOCK + 5)


def values(size):
    """Normal samples. A single one lies between 1 and 2: there the error is compared with the result alone, and where
    terms of both signs cancel to nearly nothing, float32 itself misses the bound (NumPy's in 0.6 % of draws).
    """
    return normal(size) if size > 1 else 1 + np.abs(normal(size)) % 1


def double(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


def stepped(op, arrays, hyper):
    """Copies of the arrays after one step, in place, through an eager call."""
    copies = [None if a is None else a.copy("K") for a in arrays]
    out = registry.program(op, (*copies, hyper), {})(*copies, hyper)
    assert out is copies[0], "an update returns the weight itself"
    return copies


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("nesterov", (0, 1))
@pytest.mark.parametrize("decoupled", (0, 1))
def test_sgd_with_momentum(size, nesterov, decoupled):
    w, g, velocity = values(size), values(size), values(size)
    hyper = np.array([0.1, 0.9, 0.5, nesterov, decoupled])
    new_w, _, new_velocity = stepped("sgd_step", (w, g, velocity), hyper)
    expected_w, expected_velocity = naive.sgd_step(*double(w, g, velocity), hyper)
    assert nmse(new_w, expected_w) < NMSE_ELEMENTWISE
    assert nmse(new_velocity, expected_velocity) < NMSE_ELEMENTWISE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decoupled", (0, 1))
def test_plain_sgd(size, decoupled):
    w, g, hyper = values(size), values(size), np.array([0.1, 0, 0.5, 0, decoupled])
    assert nmse(stepped("sgd_step", (w, g, None), hyper)[0], naive.sgd_step(*double(w, g), None, hyper)[0]) < 1e-12


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decoupled", (0, 1))
def test_adam(size, decoupled):
    w, g, m, v = values(size), values(size), values(size), np.abs(values(size))
    hyper = np.array([0.01, 0.9, 0.999, 1e-8, 0.1, decoupled, 1 - 0.9**3, 1 - 0.999**3])
    new_w, new_g, new_m, new_v = stepped("adam_step", (w, g, m, v), hyper)
    for actual, expected in zip((new_w, new_m, new_v), naive.adam_step(*double(w, g, m, v), hyper)):
        assert nmse(actual, expected) < NMSE_ELEMENTWISE
    np.testing.assert_array_equal(new_g, g)


@pytest.mark.parametrize("size", SIZES)
def test_an_average_of_weights(size):
    average, w = normal(size), normal(size)
    hyper = np.array([0.01])
    new, same = stepped("average_step", (average, w), hyper)
    assert nmse(new, average + 0.01 * (w.astype(np.float64) - average)) < NMSE_ELEMENTWISE
    np.testing.assert_array_equal(same, w)


def test_the_split_does_not_matter_and_guards_hold():
    w, g, hyper = normal(5000), normal(5000), np.array([0.1, 0, 0, 0, 0])
    whole = stepped("sgd_step", (w, g, None), hyper)[0]
    twice = run("sgd_step", w.copy(), g, None, hyper)  # in place, so two steps in all
    np.testing.assert_array_equal(twice, stepped("sgd_step", (whole, g, None), hyper)[0])


def test_a_gradient_in_another_order_is_brought_into_the_weights():
    w, hyper = normal(4, 5, 6), np.array([0.1, 0, 0, 0, 0])
    values = normal(4, 5, 6)
    for g in layouts(values):
        for weight in (w, w.transpose(2, 0, 1).copy().transpose(1, 2, 0)):
            assert nmse(stepped("sgd_step", (weight, g, None), hyper)[0], w - 0.1 * values) < NMSE_ELEMENTWISE


def test_declined():
    w, hyper = normal(4, 6), np.array([0.1, 0.9, 0, 0, 0])
    assert registry.program("sgd_step", (w[:, ::2], w[:, ::2], None, hyper), {}) is None
    assert registry.program("sgd_step", (w, w, normal(6, 4).T, hyper), {}) is None
    assert registry.program("sgd_step", (w, w, None, hyper.astype(np.float32)), {}) is None
