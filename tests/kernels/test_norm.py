"""Batch and layer normalisation and their gradients against float64."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import registry
from kernels.columns import BLOCK_ELEMENTS
from kernels.simd import LANES
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

EPS = {"eps": 1e-3}
HYPER = np.array([0.1, 1.25])  # momentum, what makes the variance unbiased
SHAPES = (
    (2, 1), (5, 3), (6, LANES), (7, LANES + 1, 3, 2), (2, 2 * LANES, 4, 4), (3, 5, 7), (BLOCK_ELEMENTS + 5, 2),
)  # fmt: skip


def over(x):
    return (0, *range(2, x.ndim))


def column(v, x):
    return v.reshape(1, -1, *(1,) * (x.ndim - 2))


def moments(x):
    wide = x.astype(np.float64)
    return np.stack([wide.mean(over(x)), wide.var(over(x))])


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_and_its_gradients(shape):
    x, g, gamma, beta = normal(*shape) * 3 + 5, normal(*shape), normal(shape[1]), normal(shape[1])
    mean, var = moments(x)
    stats = run("batch_stats", x)
    assert nmse(stats[0], mean) < NMSE_REDUCTION and nmse(stats[1], var) < NMSE_REDUCTION
    inverse = 1 / np.sqrt(column(var, x) + EPS["eps"])
    hat = (x - column(mean, x)) * inverse
    expected = hat * column(gamma, x) + column(beta, x)
    for name in ("batch_norm", "batch_norm_train"):
        assert nmse(run(name, x, gamma, beta, stats, **EPS), expected) < NMSE_REDUCTION
    fixed = g * column(gamma, x) * inverse
    assert nmse(run("batch_norm_input_grad", g, gamma, stats, **EPS), fixed) < NMSE_REDUCTION
    sums = run("batch_norm_sums", g, x, stats, **EPS)
    wide = g.astype(np.float64)
    assert nmse(sums, np.stack([(wide * hat).sum(over(x)), wide.sum(over(x))])) < NMSE_REDUCTION
    averages = [column((wide * k).mean(over(x)), x) for k in (hat, np.ones_like(hat))]
    full = column(gamma, x) * inverse * (g - averages[1] - hat * averages[0])
    dx = run("batch_norm_train_input_grad", g, x, gamma, stats, sums, **EPS)
    assert np.square(dx - full).sum() <= NMSE_REDUCTION * np.square(fixed).sum()  # what full is a difference of


def test_a_mean_far_larger_than_the_deviation_does_no_harm():
    x = normal(4, 3, 100, 100) + np.float32(1000)
    stats = run("batch_stats", x)
    assert nmse(stats[1], moments(x)[1]) < NMSE_REDUCTION
    y = run("batch_norm_train", x, np.ones(3, np.float32), np.zeros(3, np.float32), stats, eps=0.0)
    assert abs(y.mean(dtype=np.float64)) <= 4 * np.spacing(np.float32(1000))  # a mean is rounded to float32
    assert abs(y.std(dtype=np.float64) - 1) < 1e-5


def test_batch_norm_in_any_layout():
    x, g, gamma, beta = normal(3, 4, 5, 2), normal(3, 4, 5, 2), normal(4), normal(4)
    stats = run("batch_stats", x)
    sums = run("batch_norm_sums", g, x, stats, **EPS)
    expected = run("batch_norm_train_input_grad", g, x, gamma, stats, sums, **EPS)
    y = run("batch_norm", x, gamma, beta, stats, **EPS)
    for a, b, v, s in zip(layouts(x), reversed(layouts(g)), layouts(gamma), layouts(stats)):
        assert nmse(run("batch_stats", a), stats) < NMSE_REDUCTION
        assert nmse(run("batch_norm", a, v, beta, s, **EPS), y) < NMSE_REDUCTION
        assert nmse(run("batch_norm_train_input_grad", b, a, v, s, sums, **EPS), expected) < NMSE_REDUCTION


def test_nan_and_infinity_stay_in_their_channel():
    x = normal(3, 3, 2, 2)
    x[0, 0, 0, 0], x[1, 2, 1, 1] = np.nan, np.inf
    stats = run("batch_stats", x)
    assert np.isnan(stats[:, 0]).all() and np.isfinite(stats[:, 1]).all() and not np.isfinite(stats[:, 2]).any()


def test_running_statistics_change_in_place():
    mean, var, stats = normal(5), np.abs(normal(5)), np.abs(normal(2, 5))
    expected = mean + 0.1 * (stats[0] - mean), var + 0.1 * (stats[1] * 1.25 - var)
    step = registry.program("running_stats_step", (mean, stats, var, HYPER), {})
    assert step(mean, stats, var, HYPER) is mean
    assert nmse(mean, expected[0]) < NMSE_REDUCTION and nmse(var, expected[1]) < NMSE_REDUCTION
    gaps = np.zeros(10, np.float32)[::2]
    assert run("running_stats_step", gaps, stats, var, HYPER) is None


@pytest.mark.parametrize("shape", ((1, 3), (5, 33), (2, 3, 64), (7, 1), (9,), (300, 128)))
def test_layer_norm_and_its_gradients(shape):
    d = shape[-1]
    x, g, gamma, beta = normal(*shape) * 2 + 3, normal(*shape), normal(d), normal(d)
    wide = x.astype(np.float64)
    inverse = 1 / np.sqrt(wide.var(-1, keepdims=True) + EPS["eps"])
    hat = (wide - wide.mean(-1, keepdims=True)) * inverse
    assert nmse(run("layer_norm", x, gamma, beta, **EPS), hat * gamma + beta) < NMSE_REDUCTION
    h = g * gamma.astype(np.float64)
    full = (h - h.mean(-1, keepdims=True) - hat * (h * hat).mean(-1, keepdims=True)) * inverse
    dx = run("layer_norm_input_grad", g, x, gamma, **EPS)
    assert np.square(dx - full).sum() <= NMSE_REDUCTION * np.square(h * inverse).sum()
    sums = run("layer_norm_sums", g, x, **EPS)
    rows = tuple(range(x.ndim - 1))
    assert nmse(sums, np.stack([(g * hat).sum(rows), g.sum(rows, np.float64)])) < NMSE_REDUCTION


def test_layer_norm_in_any_layout():
    x, g, gamma, beta = normal(4, 5, 6), normal(4, 5, 6), normal(6), normal(6)
    expected = run("layer_norm", x, gamma, beta, **EPS), run("layer_norm_sums", g, x, **EPS)
    for a, b, v in zip(layouts(x), reversed(layouts(g)), layouts(gamma)):
        assert nmse(run("layer_norm", a, v, beta, **EPS), expected[0]) < NMSE_REDUCTION
        assert nmse(run("layer_norm_sums", b, a, **EPS), expected[1]) < NMSE_REDUCTION


def test_nan_and_infinity_stay_in_their_row():
    x = normal(4, 5)
    x[1, 2], x[2, 0] = np.nan, np.inf
    y = run("layer_norm", x, np.ones(5, np.float32), np.zeros(5, np.float32), **EPS)
    assert np.isfinite(y[[0, 3]]).all() and np.isnan(y[1]).all() and np.isnan(y[2]).any()
