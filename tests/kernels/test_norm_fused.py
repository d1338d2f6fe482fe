"""Batch norm, ReLU and 2 x 2 max pooling in one pass: the same bits as one after the other, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import program, registry
from kernels.columns import rows_per_block
from kernels.simd import LANES
from tests.kernels import naive
from tests.kernels.running import RNG, layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

EPS = {"eps": 1e-3}
HALVE = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
RELU, POOL = {"activation": "relu"}, {"activation": "relu", "pool": True}
CHANNELS = (1, LANES - 1, LANES, LANES + 3, 3 * LANES)
SIZES = ((2, 2), (4, 6), (3, 5), (5, 4), (2, 7), (9, 2))


def image(*shape: int) -> np.ndarray:
    """Channels-last, as convolutions leave it."""
    return as_image(normal(*shape))


def as_image(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def vectors(c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gamma of either sign, beta, statistics"""
    return normal(c), normal(c), np.stack([normal(c), np.abs(normal(c)) + np.float32(0.5)])


def together(x, g, gamma, beta, stats, how):
    """Forward, sums and input gradient, with ReLU and pooling as `how` says; g is the gradient behind them."""
    y = run("batch_norm_train", x, gamma, beta, stats, **EPS, **how)
    sums = run("batch_norm_sums", g, x, stats, gamma, beta, **EPS, **how)
    return y, sums, run("batch_norm_train_input_grad", g, x, gamma, stats, sums, beta, **EPS, **how)


def in_turn(x, g, gamma, beta, stats, how):
    """The same by an op for each."""
    h = run("relu", run("batch_norm_train", x, gamma, beta, stats, **EPS))
    y = run("max_pool2d", h, **HALVE) if "pool" in how else h
    back = run("max_pool2d_grad", g, h, y, **HALVE) if "pool" in how else g
    back = run("relu_grad", back, h)
    sums = run("batch_norm_sums", back, x, stats, **EPS)
    return y, sums, run("batch_norm_train_input_grad", back, x, gamma, stats, sums, **EPS)


def same_bits(x, gamma, beta, stats, how):
    shape = (*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2) if "pool" in how else x.shape
    arguments = x, image(*shape), gamma, beta, stats, how
    for name, mine, expected in zip(("y", "sums", "dx"), together(*arguments), in_turn(*arguments)):
        mine, expected = (np.where(np.isnan(a), np.float32(np.nan), a).view(np.uint32) for a in (mine, expected))
        np.testing.assert_array_equal(mine, expected, err_msg=name)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("c", CHANNELS)
@pytest.mark.parametrize("how", (RELU, POOL))
def test_as_one_after_the_other(how, c, size):
    same_bits(image(3, c, *size), *vectors(c), how)


@given(n=st.integers(1, 3), c=st.integers(1, 2 * LANES + 1), h=st.integers(2, 40), w=st.integers(2, 40))
def test_any_size_as_one_after_the_other(n, c, h, w):
    same_bits(image(n, c, h, w), *vectors(c), POOL)


@pytest.mark.parametrize("shape", ((7, 5), (3, LANES + 1, 6), (2, 3, 2, 3, 2)))
def test_relu_behind_what_is_no_image(shape):
    x, (gamma, beta, stats) = normal(*shape), vectors(shape[1])
    y = run("batch_norm_train", x, gamma, beta, stats, **EPS)
    np.testing.assert_array_equal(run("batch_norm_train", x, gamma, beta, stats, **EPS, **RELU), run("relu", y))
    g = run("relu_grad", normal(*shape), y)
    sums = run("batch_norm_sums", g, x, stats, **EPS)
    np.testing.assert_array_equal(run("batch_norm_sums", g, x, stats, gamma, beta, **EPS, **RELU), sums)


@pytest.mark.parametrize("how", (RELU, POOL))
def test_against_plain_sums(how):
    x, (gamma, beta, stats) = image(2, 5, 7, 6), vectors(5)
    g = image(2, 5, 3, 3) if "pool" in how else image(2, 5, 7, 6)
    y, sums, dx = together(x, g, gamma, beta, stats, how)
    wide, mean, var = x.astype(np.float64), *(s.reshape(1, 5, 1, 1).astype(np.float64) for s in stats)
    inverse = 1 / np.sqrt(var + EPS["eps"])
    hat, gamma, beta = (wide - mean) * inverse, gamma.reshape(1, 5, 1, 1), beta.reshape(1, 5, 1, 1)
    h = np.maximum(hat * gamma + beta, 0)
    back = np.float64(g)
    if "pool" in how:
        back = naive.max_pool2d_grad(g, h, **HALVE)
        h = naive.max_pool2d(h, **HALVE)
    assert nmse(y, h) < NMSE_REDUCTION
    back = back * (hat * gamma + beta > 0)
    expected = np.stack([(back * hat).sum((0, 2, 3)), back.sum((0, 2, 3))])
    assert nmse(sums, expected) < NMSE_REDUCTION
    products, total = (s.reshape(1, 5, 1, 1) / (x.size / 5) for s in expected)
    assert nmse(dx, gamma * inverse * (back - total - hat * products)) < NMSE_REDUCTION


def test_the_first_of_equals_gets_the_gradient():
    x = image(4, LANES + 1, 6, 6).round()  # many ties
    same_bits(x, *vectors(LANES + 1), POOL)
    ones = np.ones(1, np.float32)
    g, flat = np.full((1, 1, 1, 1), 3, np.float32), np.ones((1, 1, 2, 2), np.float32)
    stats, sums = np.array([[0], [1]], np.float32), np.zeros((2, 1), np.float32)
    dx = run("batch_norm_train_input_grad", g, flat, ones, stats, sums, ones, eps=0.0, **POOL)
    np.testing.assert_array_equal(dx[0, 0], [[3, 0], [0, 0]])


def test_nothing_passes_where_nothing_is_positive():
    x, (gamma, _, stats) = image(2, 3, 4, 4), vectors(3)
    low = np.full(3, -100, np.float32)
    y, sums, dx = together(x, image(2, 3, 2, 2), gamma, low, stats, POOL)
    assert not y.any() and not sums.any() and not dx.any()


@pytest.mark.parametrize("how", (RELU, POOL))
@pytest.mark.parametrize("special", (np.nan, np.inf, -np.inf, np.float32(3e38)))
def test_special_numbers(special, how):
    x, (gamma, beta, stats) = image(2, 4, 4, 4), vectors(4)
    x[0, 0, 1, 1], x[1, 3, 2, 3] = special, -special
    same_bits(x, gamma, beta, stats, how)
    for vector in (gamma, beta, stats[0], stats[1]):
        vector[1] = special
        same_bits(x, gamma, beta, stats, how)


def test_zeros_keep_their_sign():
    """-0 comes of a negative gamma and no beta, and is the largest of its window as much as 0 is."""
    x = RNG.choice(np.array([0, -1, 1], np.float32), (2, 4, 4, 4))
    gamma, beta = np.array([-1, 1, -1, 0], np.float32), np.array([0, 0, -0.0, -0.0], np.float32)
    stats = np.stack([np.zeros(4), np.ones(4)]).astype(np.float32)
    same_bits(x, gamma, beta, stats, POOL)


def inputs(build, *arrays):
    return [build.input(a.shape, [s // a.itemsize for s in a.strides]) for a in arrays]


@pytest.mark.parametrize("how", ({}, RELU, POOL))
@pytest.mark.parametrize("size", ((16, 64), (6, 4), (5, 4), (6, 6), (1030, 2)))
def test_sums_over_the_gradient_come_with_it(size, how):
    """A plan makes them in the same pass where blocks of rows are whole pairs of lines, else in one of their own."""
    x, (gamma, beta, stats), sums = image(2, 5, *size), vectors(5), normal(2, 5)
    g = image(2, 5, size[0] // 2, size[1] // 2) if "pool" in how else image(2, 5, *size)
    build = program.Builder()
    known = [g, x, gamma, stats, sums, *([beta] if how else [])]
    dx = registry.lowering("batch_norm_train_input_grad")(build, *inputs(build, *known), **EPS, **how)
    total = registry.lowering("sum_to")(build, dx, shape=(1, 5, 1, 1))
    made = build.finish([dx, total])
    apart = "pool" in how and size in ((5, 4), (6, 6))
    blocks = -(-2 * size[0] * size[1] // rows_per_block(5))
    assert [step.kernel.name for step in made.steps].count("sum_columns") == apart + (blocks > 1)
    values, sum_of = (np.full(build.buffers[ref.buffer].nbytes // 4, np.nan, np.float32) for ref in (dx, total))
    arena = program.aligned(np.zeros(made.arena_bytes, np.uint8))
    made.run([*(a.ctypes.data for a in known), values.ctypes.data, sum_of.ctypes.data, arena.ctypes.data])
    expected = run("batch_norm_train_input_grad", *known, **EPS, **how)
    np.testing.assert_array_equal(values.reshape(2, *size, 5).transpose(0, 3, 1, 2), expected)
    np.testing.assert_array_equal(sum_of, run("sum_to", as_image(expected), shape=(1, 5, 1, 1)).ravel())


def test_in_any_layout():
    x, g, (gamma, beta, stats) = normal(3, 4, 6, 5), normal(3, 4, 3, 2), vectors(4)
    expected = together(x, g, gamma, beta, stats, POOL)
    for a, b, v, s in zip(layouts(x), reversed(layouts(g)), layouts(gamma), layouts(stats)):
        for mine, wanted in zip(together(a, b, v, beta, s, POOL), expected):
            np.testing.assert_array_equal(mine, wanted)


def test_no_images_are_declined():
    x, (gamma, beta, stats) = np.zeros((0, 3, 4, 4), np.float32), vectors(3)
    assert run("batch_norm_train", x, gamma, beta, stats, **EPS, **POOL) is None
