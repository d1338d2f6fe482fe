"""The kernel that makes batches of bytes: the bits of the reference, wherever images lie, and nothing read beside."""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.cpu import LANES
from tests.kernels.running import RNG, layouts, normal, run
from tinytorch.engine import ops

MODES = ("zeros", "reflect")
WIDTHS = sorted({1, 2, LANES - 1, LANES, LANES + 1, 2 * LANES - 1, 2 * LANES, 32, 3 * LANES + 5})


def images(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def draws(n, reach, h, w):
    moves = RNG.integers(-reach, reach + 1, (n, 2)), RNG.integers(0, 2, (n, 1)), RNG.integers(0, (h, w), (n, 2))
    return np.concatenate(moves, 1)


def check(x, indices, moves, **params):
    affine = normal(2, x.shape[1])
    expected = ops.augment.reference(x, indices, moves, affine, **params)
    y = run("augment", x, indices, moves, affine, **params)
    assert y is not None
    np.testing.assert_array_equal(y.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("w", WIDTHS)
def test_widths_on_either_side_of_whole_vectors(w, mode):
    for h in (1, 2, 5):
        for reach in (0, 3, w, 2 * w + 1):
            x = images(4, 3, h, w)
            check(x, RNG.integers(0, 4, 7), draws(7, reach, h, w), mode=mode, cutout=3 * (reach > 0))


@given(
    st.integers(1, 9), st.sampled_from((1, 2, 3)), st.integers(1, 20), st.integers(1, 70), st.integers(0, 90),
    st.sampled_from(MODES), st.integers(0, 75),
)  # fmt: skip
def test_any_size_and_move(n, c, h, w, reach, mode, cutout):
    check(images(n, c, h, w), RNG.integers(0, n, 3), draws(3, reach, h, w), mode=mode, cutout=cutout)


@pytest.mark.parametrize("mode", MODES)
def test_images_are_read_where_they_lie(mode):
    x, indices, moves = images(5, 3, 9, 40), np.array([4, 0, 0, 3, 1, 2]), draws(6, 4, 9, 40)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    one = np.broadcast_to(x[:1], x.shape)
    for given_x in (*layouts(x), channels_last, one):
        for given_indices in (indices, np.repeat(indices, 2)[::2], indices[::-1].copy()[::-1]):
            check(given_x, given_indices, moves, mode=mode, cutout=5)


@pytest.mark.parametrize("mode", MODES)
def test_moves_and_factors_may_lie_anyhow(mode):
    x, indices, moves, affine = images(5, 3, 9, 40), np.arange(5), draws(5, 4, 9, 40), normal(2, 3)
    expected = ops.augment.reference(x, indices, moves, affine, mode=mode, cutout=2)
    for other, factors in zip(layouts(moves), layouts(affine)):
        np.testing.assert_array_equal(ops.augment(x, indices, other, factors, mode=mode, cutout=2), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="pages are closed with mprotect")
@pytest.mark.parametrize("w", (1, LANES - 1, LANES, LANES + 3, 32))
def test_nothing_is_read_before_or_behind_the_images(w):
    """They begin, or end, where a page does whose neighbour is closed: one byte too far ends the process."""
    page, h, libc = mmap.PAGESIZE, 4, ctypes.CDLL(None)
    n = page // (h * w)
    with mmap.mmap(-1, 3 * page) as block:
        whole = np.frombuffer(block, np.uint8)
        neighbours = [ctypes.c_void_p(whole.ctypes.data + i * page) for i in (0, 2)]
        inside = whole[page : 2 * page]
        inside[...] = images(page)
        assert not any(libc.mprotect(place, ctypes.c_size_t(page), 0) for place in neighbours)
        for x in (inside[: n * h * w].reshape(n, 1, h, w), inside[page - n * h * w :].reshape(n, 1, h, w)):
            for mode in MODES:
                check(x, np.arange(n), draws(n, w, h, w), mode=mode, cutout=1)
        del x, inside, whole  # which the block must not outlive


def test_a_file_that_is_mapped_read_only(tmp_path):
    x = images(20, 3, 8, 8)
    x.tofile(tmp_path / "images")
    mapped = np.memmap(tmp_path / "images", np.uint8, "r", shape=x.shape)
    assert not mapped.flags.writeable
    moves, affine = draws(6, 2, 8, 8), normal(2, 3)
    indices, how = np.array([17, 0, 7, 7, 3, 12]), {"mode": "reflect", "cutout": 3}
    y = ops.augment(mapped[2:], indices, moves, affine, **how)
    np.testing.assert_array_equal(y, ops.augment.reference(x[2:], indices, moves, affine, **how))
