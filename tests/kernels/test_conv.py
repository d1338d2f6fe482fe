"""Convolution and its gradients against loops over windows, for drawn geometries and layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import simd
from tests.kernels import naive
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

ONE = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
small, pair = st.integers(1, 4), st.tuples(st.integers(1, 3), st.integers(1, 3))


def check(x, w, stride, padding, dilation):
    where = {"stride": stride, "padding": padding, "dilation": dilation}
    bias = normal(w.shape[0])
    expected = naive.conv2d(x, w, bias, **where)
    y = run("conv2d", x, w, bias, groups=1, **where)
    assert nmse(y, expected) < NMSE_REDUCTION
    g = normal(*expected.shape)
    dx = run("conv2d_input_grad", g, w, shape=x.shape, groups=1, **where)
    assert nmse(dx, naive.conv2d_input_grad(g, w, x.shape, **where)) < NMSE_REDUCTION
    dw = run("conv2d_weight_grad", x, g, shape=w.shape, groups=1, **where)
    assert nmse(dw, naive.conv2d_weight_grad(x, g, w.shape, **where)) < NMSE_REDUCTION


@given(
    n=st.integers(1, 2), c=st.integers(1, 5), o=st.integers(1, 2 * simd.PANEL), kernel=st.tuples(small, small),
    stride=pair, dilation=pair, padding=st.tuples(st.integers(0, 3), st.integers(0, 3)), extra=st.tuples(small, small),
)  # fmt: skip
def test_any_geometry(n, c, o, kernel, stride, dilation, padding, extra):
    h, w = (dilation[i] * (kernel[i] - 1) + extra[i] for i in (0, 1))
    check(normal(n, c, h, w), normal(o, c, *kernel), stride, padding, dilation)


@pytest.mark.parametrize("c, o", ((1, 16), (16, 32), (simd.LANES + 1, simd.PANEL + 1)))
def test_shapes_of_the_nets(c, o):
    check(normal(2, c, 8, 8), normal(o, c, 3, 3), **ONE)


def test_long_windows_go_one_kernel_row_at_a_time():
    check(normal(1, 130, 5, 4), normal(9, 130, 3, 3), **ONE)
    check(normal(1, 130, 7, 6), normal(9, 130, 3, 3), (1, 1), (0, 1), (2, 2))


def test_any_strides():
    w, g = normal(6, 3, 3, 2), normal(2, 6, 5, 6)
    for x in layouts(normal(2, 3, 5, 5)):
        assert nmse(run("conv2d", x, w, None, groups=1, **ONE), naive.conv2d(x, w, None, **ONE)) < NMSE_REDUCTION
    for other in layouts(w):
        y = run("conv2d_input_grad", g, other, shape=(2, 3, 5, 5), groups=1, **ONE)
        assert nmse(y, naive.conv2d_input_grad(g, w, (2, 3, 5, 5), **ONE)) < NMSE_REDUCTION


def test_a_channels_last_image_without_padding_is_read_in_place():
    from kernels import registry
    from kernels.program import Builder, channels_last_strides

    build = Builder()
    x = build.input((2, 3, 5, 5), channels_last_strides((2, 3, 5, 5)))
    still = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    out = registry.lowering("conv2d")(build, x, build.constant(normal(4, 3, 3, 3)), None, **still)
    build.fold()
    assert [step.kernel.name for step in build.steps] == ["narrow"]
    assert out.channels_last


def test_bias_and_relu_in_one_step():
    x, w, bias = normal(2, 3, 6, 6), normal(8, 3, 3, 3), normal(8)
    fused = run("conv2d", x, w, bias, groups=1, activation="relu", **ONE)
    np.testing.assert_array_equal(fused, np.maximum(run("conv2d", x, w, bias, groups=1, **ONE), 0))
