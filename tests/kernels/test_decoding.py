"""Attention to a cache, writing to it, and rotary positions, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.decoding import ONE_BY_ONE
from kernels.simd import LANES
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_ELEMENTWISE, NMSE_REDUCTION, nmse
from tinytorch.engine import ops

RNG = np.random.default_rng(5)


def cached(q, keys, values, positions, scale):
    q, keys, values = (x.astype(np.float64) for x in (q, keys, values))
    return ops.cached_attention.reference(q, keys, values, positions, scale=scale)


@pytest.mark.parametrize("d", (1, LANES - 1, LANES, 32, 2 * LANES + 3, 64))
@pytest.mark.parametrize("capacity", (1, 3, LANES, LANES + 1, 64, 150))
@pytest.mark.parametrize("t", (1, 2, ONE_BY_ONE, ONE_BY_ONE + 1, 70))
def test_queries_to_a_cache(t, capacity, d):
    q, keys, values = normal(2, 3, t, d), normal(2, 3, capacity, d), normal(2, 3, capacity, d)
    positions = RNG.integers(0, capacity, (2, t))
    positions[0, 0], positions[1, 0] = 0, capacity - 1
    y = run("cached_attention", q, keys, values, positions, scale=d**-0.5)
    assert nmse(y, cached(q, keys, values, positions, d**-0.5)) < NMSE_REDUCTION


@pytest.mark.parametrize("t", (1, ONE_BY_ONE + 1))
def test_cache_in_any_layout(t):
    q, keys, values, positions = normal(2, 3, t, 6), normal(2, 3, 9, 6), normal(2, 3, 9, 6), RNG.integers(0, 9, (2, t))
    expected = cached(q, keys, values, positions, 0.5)
    for a, b, c, p in zip(*map(layouts, (q, keys, values, positions))):
        assert nmse(run("cached_attention", a, b, c, p, scale=0.5), expected) < NMSE_REDUCTION


@pytest.mark.parametrize("t", (1, ONE_BY_ONE + 1))
def test_rows_beyond_the_position_are_not_looked_at(t):
    q, keys, values = normal(1, 2, t, 16), normal(1, 2, 200, 16), normal(1, 2, 200, 16)
    positions = np.arange(20, 20 + t)[None]
    expected = run("cached_attention", q, keys, values, positions, scale=0.25)
    keys[:, :, 20 + t :], values[:, :, 20 + t :] = np.nan, np.nan
    y = run("cached_attention", q, keys, values, positions, scale=0.25)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("t", (1, ONE_BY_ONE + 1))
def test_positions_outside_the_cache_see_its_nearest_end(t):
    q, keys, values = normal(1, 1, t, 4), normal(1, 1, 7, 4), normal(1, 1, 7, 4)
    for wild, near in ((-5, 0), (-(2**62), 0), (7, 6), (2**62, 6)):
        y = run("cached_attention", q, keys, values, np.full((1, t), wild), scale=1.0)
        expected = run("cached_attention", q, keys, values, np.full((1, t), near), scale=1.0)
        np.testing.assert_array_equal(y, expected)


def test_large_scores_and_nan():
    q, keys, values = 100 * normal(1, 4, 1, 8), 100 * normal(1, 4, 40, 8), normal(1, 4, 40, 8)
    q[0, 1, 0, 3], keys[0, 2, 5, 0], keys[0, 3, 30, 0] = np.nan, np.nan, np.inf
    y = run("cached_attention", q, keys, values, np.array([[29]]), scale=1.0)
    assert np.isfinite(y[0, [0, 3]]).all() and np.isnan(y[0, [1, 2]]).all()


@pytest.mark.parametrize("b, h, t, d, capacity", ((1, 1, 1, 1, 1), (2, 3, 1, 4, 5), (3, 2, 4, 17, 9)))
def test_cache_write(b, h, t, d, capacity):
    cache, positions = normal(b, h, capacity, d), RNG.permuted(np.tile(np.arange(capacity), (b, 1)), axis=1)[:, :t]
    for new, p in zip(layouts(normal(b, h, t, d)), layouts(positions)):
        expected = ops.cache_write.reference(cache.copy(), new, positions)
        np.testing.assert_array_equal(run("cache_write", cache.copy(), new, p), expected)


def test_cache_write_outside_touches_nothing_and_the_last_of_one_place_stays():
    cache, new = np.zeros((1, 1, 3, 2), np.float32), normal(1, 1, 6, 2)
    y = run("cache_write", cache, new, np.array([[3, -1, 2**62, 1, -(2**62), 1]]))
    assert y is cache
    np.testing.assert_array_equal(y[0, 0], [[0, 0], new[0, 0, 5], [0, 0]])
    gaps = np.zeros((1, 1, 3, 4), np.float32)[..., ::2]
    assert run("cache_write", gaps, new, np.zeros((1, 6), np.int64)) is None  # it is written where it is, or not at all


@pytest.mark.parametrize("b, h, t, d, capacity", ((1, 1, 1, 2, 1), (2, 3, 5, 4, 7), (2, 1, 3, 34, 8), (1, 2, 4, 64, 9)))
def test_rotary(b, h, t, d, capacity):
    angles, positions = RNG.uniform(0, 6, (capacity, d // 2)), RNG.integers(0, capacity, (b, t))
    table = np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    x = normal(b, h, t, d)
    for inverse in (False, True):
        expected = ops.rotary.reference(x.astype(np.float64), table.astype(np.float64), positions, inverse=inverse)
        for a, p in zip(layouts(x), layouts(positions)):
            y = run("rotary", a, table, p, inverse=inverse)
            assert nmse(y, expected) < NMSE_ELEMENTWISE
        back = run("rotary", y, table, positions, inverse=not inverse)
        assert nmse(back, x) < NMSE_ELEMENTWISE
    assert np.isnan(run("rotary", x, table, np.full((b, t), capacity), inverse=False)).all()
