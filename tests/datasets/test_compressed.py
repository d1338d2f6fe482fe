"""Copies as JPEG leaves them: near the originals, the same for the same seed, and of colour images only."""

import numpy as np
import pytest

from tinytorch.datasets.compressed import AT_ONCE, compressed


def smooth(n):
    """Images without fine detail, which JPEG keeps well."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 32)
    slopes = rng.uniform(-60, 60, (n, 3, 2, 1, 1))
    return (128 + slopes[:, :, 0] * ramp[:, None] + slopes[:, :, 1] * ramp).astype(np.uint8)


def test_copies_are_near_the_originals_but_not_the_same():
    x = smooth(40)
    y = compressed(x)
    assert y.shape == x.shape and y.dtype == np.uint8
    off = np.abs(y.astype(int) - x)
    assert 0 < off.mean() < 4


def test_detail_in_colour_is_lost_and_detail_in_light_is_kept():
    checks = (np.indices((32, 32)).sum(0) % 2).astype(bool)
    grey = np.where(checks, 200, 60).astype(np.uint8)[None].repeat(3, 0)
    coloured = np.stack([np.where(checks, 160, 96), np.full((32, 32), 128), np.where(checks, 96, 160)]).astype(np.uint8)
    y = compressed(np.stack([grey, coloured])).astype(int)
    assert np.ptp(y[0, 0]) > 100
    assert np.ptp(y[1, 0]) < 32


def test_one_seed_gives_one_result_however_many_at_once():
    x = np.random.default_rng(2).integers(0, 256, (AT_ONCE + 3, 3, 8, 8)).astype(np.uint8)
    first = compressed(x, seed=5)
    np.testing.assert_array_equal(first, compressed(x, seed=5))
    assert (first != compressed(x, seed=6)).any()
    assert compressed(x[:0]).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("x", [np.zeros((2, 1, 8, 8), np.uint8), np.zeros((2, 3, 8, 8), np.float32)])
def test_only_images_in_colour(x):
    with pytest.raises(ValueError, match=r"compressed: images are \(2, ., 8, 8\) .*: give uint8 \(N, 3, H, W\)"):
        compressed(x)
