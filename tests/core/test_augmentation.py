"""What happens to an image: windows, mirroring, cutout and normalising, drawn from seed, epoch and index alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tolerance import NMSE_ELEMENTWISE, nmse
from tinytorch import ImageTransform, use_backend

pytestmark = pytest.mark.usefixtures("backend")
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
RNG = np.random.default_rng(5)


def images(n, c=3, h=9, w=8):
    return RNG.integers(0, 256, (n, c, h, w)).astype(np.uint8)


def normalised(x, mean=MEAN, std=STD):
    mean, std = (np.array(a)[:, None, None] for a in (mean, std))
    return (x / 255 - mean) / std


def plain(**how):
    """Leaves bytes as they are, so that results can be looked at."""
    return ImageTransform((0.0,), (1 / 255,), seed=0, **how)


def test_without_augmentation_it_normalises():
    x = images(50)
    y = ImageTransform(MEAN, STD)(x)
    assert y.dtype == np.float32 and y.shape == x.shape and y.flags.c_contiguous
    assert nmse(y, normalised(x)) <= NMSE_ELEMENTWISE
    np.testing.assert_array_equal(ImageTransform(MEAN, STD)(x[7]), y[7])


@pytest.mark.parametrize("mode, numpys", [("zeros", {"mode": "constant"}), ("reflect", {"mode": "reflect"})])
def test_windows_of_the_padded_image(mode, numpys):
    x = images(500, c=1, h=5, w=6)
    y = plain(padding=2, padding_mode=mode)(x)
    places = set()
    for image, window in zip(np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), **numpys), np.round(y), strict=True):
        found = [(i, j) for i in range(5) for j in range(5) if (image[:, i : i + 5, j : j + 6] == window).all()]
        assert found
        places.update(found)
    assert len(places) == 25  # every place is drawn


def test_windows_are_drawn_evenly():
    x = np.zeros((8000, 1, 1, 5), np.uint8)
    x[..., 2] = 255
    row = plain(padding=2)(x)[:, 0, 0]
    seen = row.max(1) > 0  # the one row of an image is also moved up and down, mostly out of sight
    counts = np.bincount(row[seen].argmax(1), minlength=5)
    assert abs(seen.mean() - 1 / 5) < 0.02
    assert (abs(counts - counts.mean()) < 5 * counts.mean() ** 0.5).all()


def test_black_padding_is_normalised_like_any_black():
    y = ImageTransform(MEAN, STD, padding=9, seed=0)(np.full((40, 3, 9, 8), 255, np.uint8))
    black, white = normalised(np.array([0, 255])[:, None, None, None] * np.ones((1, 3, 1, 1)))[:, :, 0, 0]
    for c in range(3):
        np.testing.assert_allclose(np.unique(y[:, c]), [black[c], white[c]], rtol=1e-6)


def test_half_of_the_images_are_mirrored():
    x = images(1000, c=1)
    y = plain(flip=True)(x)
    mirrored, kept = (np.isclose(y, as_was).all((1, 2, 3)) for as_was in (x[..., ::-1], x))
    assert (mirrored ^ kept).all() and 430 < mirrored.sum() < 570


def mirrored_in(transform, x, epoch):
    indices = np.arange(len(x))
    y = transform.prepare(x, indices, transform.draw(indices, epoch))
    return np.isclose(y, x[..., ::-1]).all((1, 2, 3))


def test_alternate_mirrors_each_image_in_every_second_epoch():
    x, transform = images(300, c=1), plain(flip="alternate")
    first = mirrored_in(transform, x, 0)
    assert 110 < first.sum() < 190
    for epoch in range(1, 5):
        np.testing.assert_array_equal(mirrored_in(transform, x, epoch), first ^ bool(epoch % 2))
    np.testing.assert_array_equal(first, mirrored_in(plain(flip=True), x, 0))  # the first epoch is as random
    assert (mirrored_in(plain(flip=True), x, 1) ^ first).mean() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("side", (1, 2, 3, 4))
def test_cutout_is_a_square_of_the_mean_colour_clipped_at_the_borders(side):
    y = ImageTransform(MEAN, STD, cutout=side, seed=1)(np.full((2000, 3, 7, 6), 255, np.uint8))
    cut = (y == 0).all(1)
    np.testing.assert_array_equal(cut, (y == 0).any(1))  # in all channels or in none
    corners = set()
    for one in cut:
        rows, columns = (np.flatnonzero(one.any(axis)) for axis in (1, 0))
        top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
        assert one[top : bottom + 1, left : right + 1].all() and one.sum() == len(rows) * len(columns)
        assert len(rows) == side or top == 0 or bottom == 6
        assert len(columns) == side or left == 0 or right == 5
        corners.add((bottom, right))
    assert len(corners) >= (7 - side // 2) * (6 - side // 2)  # its centre is anywhere


@given(
    st.integers(1, 40), st.sampled_from((1, 3)), st.integers(1, 37), st.integers(1, 37), st.integers(0, 40),
    st.sampled_from(("zeros", "reflect")), st.sampled_from((False, True, "alternate")), st.integers(0, 20),
    st.integers(0, 3),
)  # fmt: skip
def test_the_same_bits_on_both_backends(n, c, h, w, padding, mode, flip, cutout, epoch):
    x = np.random.default_rng(n).integers(0, 256, (n, c, h, w)).astype(np.uint8)
    transform = ImageTransform(
        MEAN[:c], STD[:c], padding=padding, padding_mode=mode, flip=flip, cutout=cutout, seed=h * w
    )
    indices = np.random.default_rng(w).integers(0, n, n)
    draws = transform.draw(indices, epoch)
    y = transform.prepare(x, indices, draws)
    with use_backend("numpy"):
        np.testing.assert_array_equal(transform.prepare(x, indices, draws).view(np.int32), y.view(np.int32))


HOW = {"padding": 3, "flip": "alternate", "cutout": 3, "seed": 8}


@given(st.permutations(range(12)), st.integers(1, 12), st.integers(0, 3))
def test_an_image_is_the_same_in_any_order_and_batch(order, batch, epoch):
    x = np.random.default_rng(0).integers(0, 256, (12, 3, 5, 4)).astype(np.uint8)
    transform = ImageTransform(MEAN, STD, **HOW)
    everything = np.arange(12)
    expected = transform.prepare(x, everything, transform.draw(everything, epoch))
    for i in range(0, 12, batch):
        part = np.array(order[i : i + batch])
        np.testing.assert_array_equal(transform.prepare(x, part, transform.draw(part, epoch)), expected[part])


def test_epochs_and_seeds_differ_and_repeat():
    x, indices = images(30), np.arange(30)
    made = [
        ImageTransform(MEAN, STD, **{**HOW, "seed": seed}).draw(indices, epoch)
        for seed in (0, 1, 2) for epoch in (0, 1, 2)
    ]  # fmt: skip
    assert len({d[:, :2].tobytes() for d in made}) == 9
    assert made[4].tobytes() == ImageTransform(MEAN, STD, **{**HOW, "seed": 1}).draw(indices, 1).tobytes()
    first, second = ImageTransform(MEAN, STD, **HOW), ImageTransform(MEAN, STD, **HOW)
    a, b = first(x), first(x)
    assert (a != b).any()
    np.testing.assert_array_equal(second(x), a)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(second(x), first(x))


def test_a_transform_and_a_loader_with_one_seed_draw_different_numbers():
    for seed in (0, 1, 7):
        drawn = ImageTransform(MEAN, STD, **{**HOW, "flip": True, "seed": seed}).draw(np.arange(8), 0)
        assert not np.isin(drawn, np.random.default_rng(seed).random(1000)).any()


def test_without_a_seed_numpys_global_generator_chooses_one():
    np.random.seed(3)
    first = ImageTransform(MEAN, STD)
    np.random.seed(3)
    assert ImageTransform(MEAN, STD).seed == first.seed != ImageTransform(MEAN, STD).seed


def test_no_images():
    transform = ImageTransform(MEAN, STD, **HOW)
    assert transform(np.zeros((0, 3, 4, 4), np.uint8)).shape == (0, 3, 4, 4)
    nobody = np.zeros(0, np.int64)
    assert transform.prepare(images(3), nobody, transform.draw(nobody, 0)).shape == (0, 3, 9, 8)


def test_what_is_refused():
    for how, text in (
        ({"mean": (0.5, 0.5)}, r"mean is \(0.5, 0.5\), std is \(0.25, 0.24, 0.26\): give one of each for every ch"),
        ({"std": (0.5, 0.5, 0)}, "each std above 0"),
        ({"padding": -1}, "padding is -1, cutout is 0, seed is 0: none may be below 0"),
        ({"cutout": -2}, "cutout is -2"),
        ({"seed": -3}, "seed is -3"),
        ({"padding_mode": "edge"}, "unknown padding_mode 'edge'; known: zeros, reflect"),
        ({"flip": "often"}, "flip is 'often'; choose True, False or 'alternate'"),
    ):
        with pytest.raises(ValueError, match=f"ImageTransform: .*{text}"):
            ImageTransform(**{"mean": MEAN, "std": STD, "seed": 0, **how})
    transform = ImageTransform(MEAN, STD)
    with pytest.raises(TypeError, match=r"images are \(2, 3, 9, 8\) float32: they must be \(N, C, H, W\) uint8; keep"):
        transform(images(2).astype(np.float32))
    with pytest.raises(ValueError, match=r"affine is \(2, 3\): they must be \(n,\), \(n, 5\) and \(2, 1\), for images"):
        transform(images(2, c=1))
    with pytest.raises(IndexError, match=r"augment: id 4 at position \(1,\) is outside 0..3; the number of images is"):
        transform.prepare(images(4), np.array([0, 4]), np.zeros((2, 5)))
