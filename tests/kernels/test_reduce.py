"""Sums, maxima and minima over any axes, against NumPy in float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from kernels.columns import BLOCK_ELEMENTS
from kernels.simd import LANES
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

OPS = {"sum": np.sum, "max": np.max, "min": np.min}
ALL_AXES = [axes for n in range(4) for axes in combinations(range(3), n)] + [None, (-1,)]


@pytest.mark.parametrize("keepdims", (False, True))
@pytest.mark.parametrize("axis", ALL_AXES)
@pytest.mark.parametrize("name", OPS)
def test_any_axes_in_any_layout(name, axis, keepdims):
    x = normal(4, 5, LANES + 2)
    expected = OPS[name](x.astype(np.float64), axis, keepdims=keepdims)
    for other in (*layouts(x), x.transpose(1, 2, 0).copy().transpose(2, 0, 1)):
        y = run(name, other, axis=axis, keepdims=keepdims)
        assert nmse(y, expected) < NMSE_REDUCTION


@pytest.mark.parametrize("shape", ((1, 1), (1, 7), (7, 1), (2 * BLOCK_ELEMENTS + 3, 1), (3, BLOCK_ELEMENTS + 1),
                                   (BLOCK_ELEMENTS + 1, 3), (2, BLOCK_ELEMENTS), (500, 130)))  # fmt: skip
@pytest.mark.parametrize("name", OPS)
def test_long_runs_are_merged_from_blocks(name, shape):
    x = normal(*shape) + np.float32(1)  # so that a sum does not cancel
    for axis in (0, 1):
        y = run(name, x, axis=(axis,), keepdims=False)
        expected = OPS[name](x.astype(np.float64), axis)
        assert nmse(y, expected) < NMSE_REDUCTION
        if name != "sum":
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("shape", ((), (1,), (3,), (1, 3), (4, 1), (4, 3), (1, 1), (2, 4, 3), (2, 1, 3), (1, 4, 1)))
def test_sum_to(shape):
    x = normal(2, 4, 3)
    extra = x.ndim - len(shape)
    axes = tuple(i for i in range(3) if i < extra or (shape[i - extra] == 1))
    expected = x.sum(axes, np.float64, keepdims=True).reshape(shape)
    for other in layouts(x):
        assert nmse(run("sum_to", other, shape=shape), expected) < NMSE_REDUCTION


def test_sum_to_of_images_that_lie_channels_last():
    x = normal(3, 5, 6, 40).transpose(0, 3, 1, 2)
    expected = x.sum((0, 2, 3), np.float64, keepdims=True)
    assert nmse(run("sum_to", x, shape=(1, 40, 1, 1)), expected) < NMSE_REDUCTION


@pytest.mark.parametrize("at", (0, 1, 2, 3, 4, 16))
@pytest.mark.parametrize("axis", (0, 1))
def test_nan_wins_and_infinities_count(at, axis):
    x = normal(17, 17)
    x[at, at], x[(at + 1) % 17, 5], x[3, (at + 2) % 17] = np.nan, np.inf, -np.inf
    for name, reduce in OPS.items():
        y = run(name, x, axis=(axis,), keepdims=False)
        with np.errstate(invalid="ignore"):
            expected = reduce(x, axis)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
        np.testing.assert_array_equal(y[np.isinf(expected)], expected[np.isinf(expected)])
