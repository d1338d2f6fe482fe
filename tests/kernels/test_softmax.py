"""Softmax, log-softmax and cross-entropy, and their gradients, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels import naive
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

SHAPES = ((1, 1), (3, 10), (65, 17), (2, 3, 33), (7,))


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_and_gradient(shape):
    x, g = 3 * normal(*shape), normal(*shape)
    for name in ("softmax", "log_softmax"):
        y = run(name, x, axis=-1)
        assert nmse(y, getattr(naive, name)(x.astype(np.float64))) < NMSE_REDUCTION
        expected = getattr(naive, f"{name}_grad")(g.astype(np.float64), y.astype(np.float64))
        assert nmse(run(f"{name}_grad", g, y, axis=len(shape) - 1), expected) < NMSE_REDUCTION


def test_any_layout():
    for x in layouts(normal(5, 9)):
        assert nmse(run("softmax", x, axis=1), naive.softmax(x.astype(np.float64))) < NMSE_REDUCTION


def test_large_arguments_do_not_overflow():
    x = np.array([[1000, 999, -1000], [-3e38, 3e38, 0]], np.float32)
    assert nmse(run("softmax", x, axis=-1), naive.softmax(x.astype(np.float64))) < NMSE_REDUCTION
    y = run("log_softmax", x, axis=-1)
    assert nmse(y[0], naive.log_softmax(x[0].astype(np.float64))) < NMSE_REDUCTION
    assert not np.isnan(y).any()


def test_nan_and_infinities_as_in_ieee():
    x = np.array([[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, -np.inf, -np.inf], [-np.inf, 1, 1]], np.float32)
    for name in ("softmax", "log_softmax"):
        y = run(name, x, axis=-1)
        assert np.isnan(y[:3]).all()
    np.testing.assert_allclose(run("softmax", x, axis=-1)[3], [0, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("n, c", ((1, 1), (1, 10), (37, 10), (130, 65)))
def test_cross_entropy(n, c):
    x, targets = 3 * normal(n, c), np.random.default_rng(n).integers(0, c, n)
    loss = run("cross_entropy", x, targets, label_smoothing=0.0)
    assert loss.shape == ()
    assert abs(loss - naive.cross_entropy(x.astype(np.float64), targets)) <= 1e-6 * max(1, loss)
    g = np.array(0.7, np.float32)
    dx = run("cross_entropy_grad", g, x, targets, label_smoothing=0.0)
    expected = naive.cross_entropy_grad(0.7, x.astype(np.float64), targets)
    assert nmse(dx, expected) < NMSE_REDUCTION
    np.testing.assert_allclose(dx.sum(-1), 0, atol=1e-6)


def test_a_target_out_of_range_gives_nan_and_touches_nothing_else():
    x, targets = normal(3, 4), np.array([0, 4, -1])
    assert np.isnan(run("cross_entropy", x, targets, label_smoothing=0.0))
    dx = run("cross_entropy_grad", np.ones((), np.float32), x, targets, label_smoothing=0.0)
    assert np.isnan(dx[1:]).all() and np.isfinite(dx[0]).all()


@pytest.mark.parametrize("shape, axis", (((4, 5), 0), ((3, 4, 5), 1), ((3, 4, 5), -3), ((2, 6, 3, 4), 1)))
def test_other_axes(shape, axis):
    x, g = 3 * normal(*shape), normal(*shape)
    last = np.moveaxis(x, axis, -1).astype(np.float64)
    for other in (*layouts(x), np.moveaxis(np.moveaxis(x, axis, -1).copy(), -1, axis)):
        for name in ("softmax", "log_softmax"):
            y = run(name, other, axis=axis)
            assert nmse(y, np.moveaxis(getattr(naive, name)(last), -1, axis)) < NMSE_REDUCTION
            wide = [np.moveaxis(a, axis, -1).astype(np.float64) for a in (g, y)]
            expected = np.moveaxis(getattr(naive, f"{name}_grad")(*wide), -1, axis)
            assert nmse(run(f"{name}_grad", g, y, axis=axis), expected) < NMSE_REDUCTION


@pytest.mark.parametrize("smoothing", (1e-3, 0.1, 1.0))
@pytest.mark.parametrize("n, c", ((1, 1), (5, 2), (37, 10), (130, 65)))
def test_label_smoothing(n, c, smoothing):
    x, targets = 3 * normal(n, c), np.random.default_rng(n).integers(0, c, n)
    q = np.full((n, c), smoothing / c) + (1 - smoothing) * (np.arange(c) == targets[:, None])
    wide = x.astype(np.float64)
    loss = -(q * naive.log_softmax(wide)).sum() / n
    assert abs(run("cross_entropy", x, targets, label_smoothing=smoothing) - loss) <= 1e-6 * max(1, loss)
    g = np.array(0.7, np.float32)
    dx = run("cross_entropy_grad", g, x, targets, label_smoothing=smoothing)
    assert np.square(dx - (naive.softmax(wide) - q) * 0.7 / n).max() <= NMSE_REDUCTION / n**2


def test_an_impossible_class_costs_nothing_unless_it_is_meant():
    x, targets = np.array([[0, -np.inf, 0], [0, 0, -np.inf]], np.float32), np.array([0, 2])
    assert run("cross_entropy", x[:1], targets[:1], label_smoothing=0.0) == np.float32(np.log(2))
    assert run("cross_entropy", x[1:], targets[1:], label_smoothing=0.0) == np.inf
    assert run("cross_entropy", x[:1], targets[:1], label_smoothing=0.1) == np.inf


def test_targets_in_any_stride():
    x, targets = normal(8, 5), np.array([3, 1, 4, 1, 0, 2, 2, 4])
    expected = run("cross_entropy", x, targets, label_smoothing=0.0)
    for other in layouts_of_ids(targets):
        assert run("cross_entropy", x, other, label_smoothing=0.0) == expected
        dx = run("cross_entropy_grad", np.ones((), np.float32), x, other, label_smoothing=0.1)
        np.testing.assert_allclose(dx.sum(1), 0, atol=1e-6)


def layouts_of_ids(ids):
    return np.repeat(ids, 2)[::2], ids[::-1].copy()[::-1]


def test_declined():
    x = normal(4, 5)
    assert run("softmax", np.ones((), np.float32), axis=-1) is None
    assert run("cross_entropy", x, np.arange(4, dtype=np.int32), label_smoothing=0.0) is None
