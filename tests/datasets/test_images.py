"""Images as bytes: normalised, split, and with a validation part that has not seen the test part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.datasets.site import pack_cifar, place_mnist
from tinytorch.datasets import Images, cifar, cifar10, mnist, validation_split
from tinytorch.datasets.images import channel_statistics


def some_images(seed=0, n=200, channels=3):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (n + 50, channels, 4, 5), np.uint8), rng.integers(0, 10, n + 50)
    mean, std = channel_statistics(x[:n])
    return Images("some", x[:n], y[:n], x[n:], y[n:], tuple("0123456789"), mean, std, "drawn")


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))))
def test_statistics_are_those_of_the_scaled_channels(x):
    mean, std = channel_statistics(x)
    scaled = x / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-13, atol=1e-15)  # NumPy's own rounding
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-9, atol=1e-12)


def test_statistics_do_not_depend_on_the_order():
    x = some_images(n=9000).x_train
    assert channel_statistics(x) == channel_statistics(x[::-1]) == channel_statistics(np.asfortranarray(x))


@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_training_images_have_mean_0_and_deviation_1(channels):
    data = some_images(channels=channels)
    x = data.normalised(data.x_train)
    assert x.dtype == np.float32 and x.shape == data.x_train.shape
    np.testing.assert_allclose(x.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(x.std((0, 2, 3)), 1, rtol=1e-5)
    expected = (data.x_test / 255 - np.reshape(data.mean, (-1, 1, 1))) / np.reshape(data.std, (-1, 1, 1))
    np.testing.assert_allclose(data.normalised(data.x_test), expected, rtol=1e-5, atol=1e-6)
    assert data.normalised(data.x_test[:0]).shape == (0, channels, 4, 5)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3, 4, 5), np.float32), np.zeros((3, 4, 5), np.uint8), np.zeros((2, 1, 4, 5), np.uint8)]
)
def test_what_are_no_such_images_is_named(bad):
    with pytest.raises(ValueError, match=r"some: images are \(.*\) (uint8|float32): give uint8 \(N, 3, H, W\)"):
        some_images().normalised(bad)


def test_a_split_is_normalised_and_flat_if_asked():
    data = some_images()
    split, flat = data.split(), data.split(flat=True)
    assert split.name == flat.name == "some" and split.x_train.shape == (200, 3, 4, 5)
    np.testing.assert_array_equal(split.x_test, data.normalised(data.x_test))
    np.testing.assert_array_equal(flat.x_train, split.x_train.reshape(200, 60))
    assert split.y_train is data.y_train and split.y_test is data.y_test and flat.x_test.shape == (50, 60)


def test_a_validation_part_is_cut_from_the_training_part_as_of_a_split():
    data = some_images()
    validation = data.validation(3, 0.25)
    again = validation_split(data.split(), 3, 0.25)
    np.testing.assert_array_equal(validation.normalised(validation.x_test), again.x_test)
    np.testing.assert_array_equal(validation.y_train, again.y_train)
    assert validation.name == again.name == "some validation 3" and (validation.mean, validation.std) == (
        data.mean,
        data.std,
    )
    rows = {x.tobytes() for x in data.x_train}
    parts = [{x.tobytes() for x in part} for part in (validation.x_train, validation.x_test)]
    assert parts[0] | parts[1] == rows and not parts[0] & parts[1]
    other = data.validation(4)
    assert len(other.x_test) == pytest.approx(40, abs=5) and not np.array_equal(other.y_test, validation.y_test)


def test_images_of_files_are_read_only_and_lie_in_the_file(small_mnist, tmp_path):
    place_mnist(tmp_path / "mnist", small_mnist)
    data = mnist(tmp_path)
    assert not any(array.flags.writeable for array in data[1:5])
    with pytest.raises(ValueError):
        data.x_train[0] = 0
    assert data.validation(0).x_train.flags.writeable  # a copy
    assert data.split().x_train.flags.writeable


def test_the_same_files_elsewhere_are_decoded_once(small_cifar, tmp_path, cache, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cifar-10-binary.tar.xz").write_bytes(pack_cifar(small_cifar, "xz"))
    first = cifar10(tmp_path / "a")
    monkeypatch.setattr(cifar, "files", None)  # not to be called again
    np.testing.assert_array_equal(cifar10(tmp_path / "b").x_test, first.x_test)
