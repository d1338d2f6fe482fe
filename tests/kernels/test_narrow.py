"""Convolutions of short windows, where their kernels go other ways than the general product: edges of tiles, blocks."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import narrow, narrow_grad, registry, simd
from kernels.program import Builder, channels_last_strides
from tests.kernels import naive
from tests.kernels.running import normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

ONE = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}


def kernels_of(op, *shapes, **params):
    build = Builder()
    refs = [build.input(shape, channels_last_strides(shape)) for shape in shapes]
    assert registry.lowering(op)(build, *refs, groups=1, **params) is not None
    return [step.kernel.name for step in build.steps]


@pytest.mark.parametrize("o", (1, simd.LANES, simd.LANES + 3, simd.PANEL, 2 * simd.PANEL + simd.LANES + 1))
@pytest.mark.parametrize("size", ((4, 3), (8, 8), (9, 9)))  # whole tiles of pixels and some more
def test_edges_of_tiles(o, size):
    x, w, bias = normal(2, 2, *size), normal(o, 2, 3, 3), normal(o)
    y = run("conv2d", x, w, bias, groups=1, **ONE)
    assert nmse(y, naive.conv2d(x, w, bias, **ONE)) < NMSE_REDUCTION
    g = normal(*y.shape)
    dw = run("conv2d_weight_grad", x, g, shape=w.shape, groups=1, **ONE)
    assert nmse(dw, naive.conv2d_weight_grad(x, g, w.shape, **ONE)) < NMSE_REDUCTION


@pytest.mark.parametrize("channels", (1, 3))
def test_pooling_and_a_border_around_the_result(channels):
    x, w, bias = normal(2, channels, 10, 7), normal(simd.PANEL + 5, channels, 3, 3), normal(simd.PANEL + 5)
    whole = run("conv2d", x, w, bias, groups=1, activation="relu", **ONE)
    pooled = run("conv2d", x, w, bias, groups=1, activation="relu", pool=True, **ONE)
    windows = whole[:, :, :, :6].reshape(2, -1, 5, 2, 3, 2)
    np.testing.assert_array_equal(pooled, windows.max((3, 5)))
    inside = run("conv2d", x, w, bias, groups=1, activation="relu", margin=(1, 2), **ONE)
    np.testing.assert_array_equal(inside, whole)


def test_an_image_gives_the_same_bits_in_every_batch():
    x, w = normal(5, 3, 6, 6), normal(20, 3, 3, 3)
    together = run("conv2d", x, w, None, groups=1, **ONE)
    for i in range(5):
        np.testing.assert_array_equal(together[i : i + 1], run("conv2d", x[i : i + 1], w, None, groups=1, **ONE))


def test_nan_and_infinities_reach_their_windows_only():
    x, w = normal(1, 1, 12, 12), np.abs(normal(16, 1, 3, 3)) + 1
    x[0, 0, 2, 3], x[0, 0, 9, 9] = np.nan, np.inf
    y = run("conv2d", x, w, None, groups=1, **ONE)
    expected = np.zeros((12, 12), bool)
    expected[1:4, 2:5] = True
    assert (np.isnan(y[0]) == expected).all()
    assert (y[0, :, 8:11, 8:11] == np.inf).all() and np.isfinite(y[0, :, 5:8]).all()


def test_a_weight_gradient_of_several_blocks():
    """More images than one sum runs over, and a last block that is not full."""
    n = 2 * narrow_grad.BLOCK_PIXELS // 25 + 3
    x, g, where = normal(n, 2, 5, 5), normal(n, 3, 5, 5), {**ONE, "groups": 1}
    dw = run("conv2d_weight_grad", x, g, shape=(3, 2, 3, 3), **where)
    assert nmse(dw, naive.conv2d_weight_grad(x, g, (3, 2, 3, 3), **ONE)) < NMSE_REDUCTION


def test_who_is_asked():
    """By the window and the image alone: a batch of one is done like any other."""
    for n in (1, 100):
        assert "narrow" in kernels_of("conv2d", (n, 3, 8, 8), (8, 3, 3, 3), **ONE)
        assert "product" in kernels_of("conv2d", (n, 3, 2, 2), (8, 3, 3, 3), **ONE)  # fewer pixels than a tile has rows
        assert "product" in kernels_of("conv2d", (n, 3, 3, 3), (8, 3, 3, 3), **{**ONE, "padding": (0, 0)})
        grad = {"shape": (8, 3, 3, 3), **ONE}
        assert "narrow_weight_grad" in kernels_of("conv2d_weight_grad", (n, 3, 8, 8), (n, 8, 8, 8), **grad)
    long = narrow.LONGEST // 25 + 1
    assert "product" in kernels_of("conv2d", (1, long, 8, 8), (8, long, 5, 5), **ONE)
    side = int(narrow_grad.MOST_PIXELS**0.5) + 1
    large = kernels_of("conv2d_weight_grad", (1, 1, side, side), (1, 1, side, side), shape=(1, 1, 3, 3), **ONE)
    assert "product" in large
