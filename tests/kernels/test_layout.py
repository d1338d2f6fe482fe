"""Copies, padded images and panels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import layout, program, simd
from kernels.program import Builder, Declined
from tests.kernels.running import Guarded, layouts, normal


def result(build, out, x):
    made = build.finish([out])
    area = Guarded(out.size * 4)
    made.run([x.ctypes.data, area.address])
    area.check("output")
    strides = [4 * stride for stride in out.strides]
    return np.lib.stride_tricks.as_strided(area.inside.view(np.float32), out.shape, strides).copy()


def given_as(build, x):
    return build.input(x.shape, [s // 4 for s in x.strides])


@given(st.lists(st.integers(1, 5), max_size=4), st.randoms())
def test_copy_between_any_orders(shape, random):
    axes = list(range(len(shape)))
    random.shuffle(axes)
    x = normal(*shape)
    for source in layouts(x.transpose(axes)):
        build = Builder()
        ref = given_as(build, source)
        copied = layout.copy(build, ref, build.empty(ref.shape))
        np.testing.assert_array_equal(result(build, copied, source), source)


def test_axes_that_follow_each_other_are_merged():
    assert layout.merge_axes((2, 3, 4), (12, 4, 1), (12, 4, 1)) == [(24, 1, 1)]
    assert layout.merge_axes((2, 3, 4), (24, 8, 2), (12, 4, 1)) == [(24, 2, 1)]
    assert layout.merge_axes((2, 3), (1, 2), (3, 1)) == [(2, 1, 3), (3, 2, 1)]
    assert layout.merge_axes((1, 1), (7, 7), (1, 1)) == []


@pytest.mark.parametrize("shape", ((2, 3, 2, 4, 2), (3, 2, 2, 2, 3, 2), (2, 1, 3, 2, 2, 1, 3, 2)))
def test_more_axes_than_one_step_takes(shape):
    for source in layouts(normal(*shape)):
        build = Builder()
        ref = given_as(build, source)
        copied = layout.copy(build, ref, build.empty(ref.shape))
        np.testing.assert_array_equal(result(build, copied, source), source)


def test_too_many_axes_are_refused_and_the_op_declines():
    build = Builder()
    shape = (5,) * 7
    x = build.input(shape, [5**i for i in range(7)])
    with pytest.raises(Declined, match="7 separate axes > 4, in > 64 steps"):
        layout.copy(build, x, build.empty(x.shape))


@given(
    h=st.integers(1, 6), w=st.integers(1, 6), c=st.integers(1, 4), top=st.integers(-3, 3), left=st.integers(-3, 3),
    below=st.integers(0, 3), right=st.integers(0, 3), every=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)  # fmt: skip
def test_spread_pads_dilates_and_crops(h, w, c, top, left, below, right, every):
    x = normal(2, c, h, w)
    spread_h, spread_w = (h - 1) * every[0] + 1, (w - 1) * every[1] + 1
    out = (max(1, top + spread_h + below - 2), max(1, left + spread_w + right - 2))
    large = np.zeros((2, c, 60, 60), np.float32)
    large[:, :, 20 + top : 20 + top + spread_h : every[0], 20 + left : 20 + left + spread_w : every[1]] = x
    for source in layouts(x):
        build = Builder()
        y = layout.spread(build, given_as(build, source), out, (top, left), every)
        np.testing.assert_array_equal(result(build, y, source), large[:, :, 20 : 20 + out[0], 20 : 20 + out[1]])


@pytest.mark.parametrize("n", (1, simd.LANES, simd.PANEL, simd.PANEL + 1, 2 * simd.PANEL))
@pytest.mark.parametrize("k", (1, simd.LANES, simd.LANES + 3))
def test_panels_of_a_matrix_and_of_its_transpose(k, n):
    x = normal(1, 1, k, n)
    count = -(-n // simd.PANEL)
    padded = np.zeros((k, count * simd.PANEL), np.float32)
    padded[:, :n] = x[0, 0]
    expected = padded.reshape(k, count, simd.PANEL).transpose(1, 0, 2)
    for source in layouts(x):
        build = Builder()
        panels = layout.panels(build, given_as(build, source))
        np.testing.assert_array_equal(result(build, panels, source), expected)


def test_memory_is_aligned():
    for nbytes in (1, 100, 100_000):
        assert program.aligned(np.zeros(nbytes, np.uint8)).ctypes.data % program.ALIGNMENT == 0
