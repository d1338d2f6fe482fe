"""Fast transforms against loops over windows: odd sizes, borders, exits, and numbers that are not finite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import registry, simd, winograd
from kernels.program import Builder
from tests.kernels import naive, test_conv
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

L = simd.LANES
CHOSEN = winograd.worthwhile
SIMPLE = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """However little it pays, so that small shapes are tested too."""
    monkeypatch.setattr(winograd, "worthwhile", lambda w_shape, *_: tuple(w_shape[2:]) == (3, 3))


def kernels_of(op, *shapes, **params):
    build = Builder()
    registry.lowering(op)(build, *(build.input(shape) for shape in shapes), groups=1, **params)
    return {step.kernel.name for step in build.steps}


def check(x, w, padding):
    test_conv.check(x, w, (1, 1), padding, (1, 1))


@given(
    n=st.integers(1, 3), c=st.integers(1, 2 * L + 1), o=st.integers(1, simd.PANEL + L + 1),
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)), padding=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)  # fmt: skip
def test_any_size(n, c, o, size, padding):
    check(normal(n, c, *size), normal(o, c, 3, 3), padding)


def test_no_padding():
    check(normal(2, L, 7, 9), normal(L, L, 3, 3), (0, 0))


def test_many_blocks_many_channels_and_many_panels():
    check(normal(9, 70, 16, 16), normal(2 * simd.PANEL + 3, 70, 3, 3), (1, 1))


def test_few_items_so_tiles_are_divided():
    check(normal(40, L, 8, 8), normal(L, L, 3, 3), (1, 1))


def test_it_is_this_kernel_that_runs():
    x, w = (2, L, 8, 8), (L, L, 3, 3)
    assert "winograd" in kernels_of("conv2d", x, w, **SIMPLE)
    assert "winograd" in kernels_of("conv2d_input_grad", x, w, shape=x, **SIMPLE)
    assert "winograd_sums" in kernels_of("conv2d_weight_grad", x, x, shape=w, **SIMPLE)


def test_any_strides():
    x, w = normal(2, L + 1, 6, 5), normal(L, L + 1, 3, 3)
    expected, g = naive.conv2d(x, w, None, **SIMPLE), normal(2, L, 6, 5)
    for other in layouts(x):
        assert nmse(run("conv2d", other, w, None, groups=1, **SIMPLE), expected) < NMSE_REDUCTION
        dw = run("conv2d_weight_grad", other, g, shape=w.shape, groups=1, **SIMPLE)
        assert nmse(dw, naive.conv2d_weight_grad(x, g, w.shape, **SIMPLE)) < NMSE_REDUCTION
    for other in layouts(w):
        assert nmse(run("conv2d", x, other, None, groups=1, **SIMPLE), expected) < NMSE_REDUCTION


@pytest.mark.parametrize("size", ((8, 8), (7, 9), (5, 6), (2, 3)))
@pytest.mark.parametrize("activation", (None, "relu"))
def test_pooling_and_relu_on_the_way_out(size, activation):
    x, w, bias = normal(3, L, *size), normal(L + 3, L, 3, 3), normal(L + 3)
    plain = run("conv2d", x, w, bias, groups=1, activation=activation, **SIMPLE)
    pooled = run("conv2d", x, w, bias, groups=1, activation=activation, pool=True, **SIMPLE)
    h, wd = size[0] // 2 * 2, size[1] // 2 * 2
    windows = plain[:, :, :h, :wd].reshape(3, L + 3, h // 2, 2, wd // 2, 2)
    np.testing.assert_array_equal(pooled, windows.max((3, 5)))
    if activation:
        np.testing.assert_array_equal(plain, np.maximum(run("conv2d", x, w, bias, groups=1, **SIMPLE), 0))


@pytest.mark.parametrize("number", (np.nan, np.inf, -np.inf, 1e38))
def test_what_is_not_finite_reaches_its_own_windows_alone(number):
    """And numbers that overflow only on the way give what a plain sum gives."""
    x, w = normal(2, L, 9, 9), np.abs(normal(L, L, 3, 3)) * np.float32(0.1)
    x[0, 3, 2, 6] = x[1, 0, 0, 0] = number
    touched = naive.windows(x == number if number == number else np.isnan(x), (3, 3), (1, 1), (1, 1), (1, 1), 0)
    apart = ~touched.any((1, 4, 5))
    with np.errstate(all="ignore"):
        y, expected = run("conv2d", x, w, None, groups=1, **SIMPLE), naive.conv2d(x, w, None, **SIMPLE)
    for image in (0, 1):
        inside, outside = (a[image].transpose(1, 2, 0) for a in (y, expected))
        assert nmse(inside[~apart[image]], outside[~apart[image]]) < NMSE_REDUCTION
        if abs(number) != 1e38:  # else they share a tile with it, and rounding errors are in proportion to it
            assert nmse(inside[apart[image]], outside[apart[image]]) < NMSE_REDUCTION


@pytest.mark.parametrize("number", (np.nan, np.inf, 1e38))
@pytest.mark.parametrize("where", ("x", "g"))
def test_gradients_of_what_is_not_finite(number, where):
    x, g, shape = normal(2, L, 6, 6), normal(2, L + 2, 6, 6), (L + 2, L, 3, 3)
    {"x": x, "g": g}[where][1, 2, 0, 4] = number  # at the upper border, which not every tap sees
    with np.errstate(all="ignore"):
        expected = naive.conv2d_weight_grad(x, g, shape, **SIMPLE)
        dw = run("conv2d_weight_grad", x, g, shape=shape, groups=1, **SIMPLE)
    assert np.isfinite(dw).any()
    assert nmse(dw, expected) < NMSE_REDUCTION


def test_weights_that_are_not_finite_meet_the_zeros_around_the_image():
    x, w = normal(1, L, 4, 4), normal(L, L, 3, 3)
    w[1, 2, 0, 0] = np.inf
    with np.errstate(all="ignore"):
        expected = naive.conv2d(x, w, None, **SIMPLE)
    y = run("conv2d", x, w, None, groups=1, **SIMPLE)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert nmse(y[:, np.arange(L) != 1], expected[:, np.arange(L) != 1]) < NMSE_REDUCTION


def test_chosen_where_channels_are_many_whatever_the_batch():
    geometry = (1, 1), (1, 1)
    assert CHOSEN((128, 64, 3, 3), *geometry, (16, 16)) and CHOSEN((32, 16, 3, 3), *geometry, (4, 4))
    assert not CHOSEN((64, 3, 3, 3), *geometry, (32, 32))
    assert not CHOSEN((128, 64, 5, 5), *geometry, (16, 16))
    assert not CHOSEN((128, 64, 3, 3), (2, 2), (1, 1), (16, 16))
    assert not CHOSEN((128, 64, 3, 3), (1, 1), (2, 2), (16, 16))
    assert not CHOSEN((32, 32, 3, 3), *geometry, (1, 1))
    # Few filters do as well as LANES of them, few channels do not; the gradient of weights gains less.
    assert CHOSEN((3, 32, 3, 3), *geometry, (16, 16)) and not CHOSEN((16, 3, 3, 3), *geometry, (16, 16))
    square = (64, 64, 3, 3)
    assert CHOSEN(square, *geometry, (5, 5)) and not CHOSEN(square, *geometry, (5, 5), winograd.MANY_SUMS)
