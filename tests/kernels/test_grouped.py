"""Grouped and depthwise convolutions against float64, one group after the other."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import registry
from kernels.columns import BLOCK_ELEMENTS
from kernels.program import Builder
from kernels.simd import LANES
from tests.kernels import naive
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

PLAIN = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
ODD = {"stride": (2, 3), "padding": (2, 1), "dilation": (2, 1)}
WIDE = {"stride": (1, 2), "padding": (3, 4), "dilation": (1, 3)}  # whole windows lie in the padding
HOWS = (PLAIN, ODD, WIDE)
# input channels of a group, output channels of a group, groups
CHANNELS = ((2, 3, 2), (1, 2, 3), (5, 1, 4), (1, 1, 1), (1, 1, 5), (1, 1, LANES), (1, 1, 2 * LANES + 1))


def by_groups(of_one, groups, arrays, axes, join):
    """of_one for each group's parts of the arrays (None stays None), joined along an axis."""
    parts = zip(*[[a] * groups if a is None else np.split(a, groups, axis) for a, axis in zip(arrays, axes)])
    return np.concatenate([of_one(*group) for group in parts], join)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("c, o, groups", CHANNELS)
def test_forward_and_gradients(c, o, groups, how):
    x, w, bias = normal(3, c * groups, 7, 6), normal(o * groups, c, 3, 2), normal(o * groups)
    expected = by_groups(lambda *a: naive.conv2d(*a, **how), groups, (x, w, bias), (1, 0, 0), 1)
    y = run("conv2d", x, w, bias, groups=groups, **how)
    assert nmse(y, expected) < NMSE_REDUCTION
    clamped = run("conv2d", x, w, bias, groups=groups, activation="relu", **how)
    np.testing.assert_array_equal(clamped, np.maximum(y, 0))
    g, one = normal(*expected.shape), (3, c, 7, 6)
    dx = run("conv2d_input_grad", g, w, shape=x.shape, groups=groups, **how)
    each = by_groups(lambda g, w: naive.conv2d_input_grad(g, w, one, **how), groups, (g, w), (1, 0), 1)
    assert nmse(dx, each) < NMSE_REDUCTION
    dw = run("conv2d_weight_grad", x, g, shape=w.shape, groups=groups, **how)
    each = by_groups(lambda x, g: naive.conv2d_weight_grad(x, g, (o, c, 3, 2), **how), groups, (x, g), (1, 1), 0)
    assert nmse(dw, each) < NMSE_REDUCTION


@pytest.mark.parametrize("groups", (2, 4))
def test_any_strides(groups):
    x, w, g = normal(2, 4, 5, 5), normal(4, 4 // groups, 3, 3), normal(2, 4, 5, 5)
    how = {"groups": groups, **PLAIN}
    results = [
        (run("conv2d", a, b, None, **how), run("conv2d_input_grad", c, b, shape=x.shape, **how),
         run("conv2d_weight_grad", a, c, shape=w.shape, **how))
        for a, b, c in zip(layouts(x), layouts(w), layouts(g))
    ]  # fmt: skip
    for other in results[1:]:
        for first, second in zip(results[0], other):
            assert nmse(first, second) < NMSE_REDUCTION


def test_a_long_depthwise_weight_gradient_is_merged_from_blocks():
    x, g = normal(9, 3, 60, 61), normal(9, 3, 60, 61)
    assert x.size > 2 * BLOCK_ELEMENTS
    dw = run("conv2d_weight_grad", x, g, shape=(3, 1, 3, 3), groups=3, **PLAIN)
    expected = by_groups(lambda *a: naive.conv2d_weight_grad(*a, (1, 1, 3, 3), **PLAIN), 3, (x, g), (1, 1), 0)
    assert nmse(dw, expected) < NMSE_REDUCTION


@pytest.mark.parametrize("kernel, padding", (((3, 3), (1, 1)), ((1, 7), (0, 3))))
@pytest.mark.parametrize("width", (1, 2, 6, 9, 11))
def test_depthwise_lines_of_any_width(width, kernel, padding):
    """Fewer whole windows than go together, several times as many, some left over; taps that only meet padding."""
    c, how = 2 * LANES + 1, PLAIN | {"padding": padding}
    x, w, g = normal(2, c, 4, width), normal(c, 1, *kernel), normal(2, c, 4, width)
    y = run("conv2d", x, w, None, groups=c, **how)
    assert nmse(y, by_groups(lambda x, w: naive.conv2d(x, w, None, **how), c, (x, w), (1, 0), 1)) < NMSE_REDUCTION
    dw = run("conv2d_weight_grad", x, g, shape=w.shape, groups=c, **how)
    each = by_groups(lambda x, g: naive.conv2d_weight_grad(x, g, (1, 1, *kernel), **how), c, (x, g), (1, 1), 0)
    assert nmse(dw, each) < NMSE_REDUCTION


def test_depthwise_pads_without_a_copy():
    build = Builder()
    x = build.input((2, 8, 8, 4)).permute((0, 3, 1, 2))
    registry.lowering("conv2d")(build, x, build.constant(normal(4, 1, 3, 3)), None, groups=4, **PLAIN)
    build.fold()
    assert [step.kernel.name for step in build.steps] == ["depthwise"]


def test_nan_and_infinity_stay_in_their_channel_and_their_windows():
    x, w = np.zeros((1, 3, 5, 5), np.float32), np.ones((3, 1, 3, 3), np.float32)
    x[0, 0, 0, 0], x[0, 2, 4, 4] = np.nan, np.inf
    y = run("conv2d", x, w, None, groups=3, activation="relu", **PLAIN)
    expected = np.zeros_like(x)
    expected[0, 0, :2, :2], expected[0, 2, 3:, 3:] = np.nan, np.inf
    np.testing.assert_array_equal(y, expected)
