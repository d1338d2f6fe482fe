"""Data: pinned by digest, split without overlap, balanced, and as hard as the milestones say."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch import datasets

SHA256 = {
    "clusters": "c27771487bae07dfea06b5c68ef9cdb42cb24b33888b75590bc80524943646af",
    "xor": "76d2cc12c0ad1fda453dc3a87d32a8787c71979174ee546e56e20d1572ad1140",
    "digits": "dbd2016a79d31cbf7b0a18263b6e4cb0df280dec3e3179592e0746348aad1c23",
    "digits-images": "14f7bf4d3751a82fadfac5694f4d46b43e2364ffa6b9fc302763442c622f584f",
    "reversal": "c8d48efffed5f47e4154ebfde48daef928304b7e26d5aea992dc7ed623d2953a",
}
each_classified = pytest.mark.parametrize("name", sorted(datasets.DATASETS.keys() - {"reversal"}))
each = pytest.mark.parametrize("name", sorted(datasets.DATASETS))


@each
def test_the_data_are_always_the_same(name):
    assert datasets.load(name).sha256 == SHA256[name]


@each
def test_shapes_dtypes_and_names(name):
    data = datasets.load(name)
    assert data.name == name
    assert data.x_train.dtype == data.x_test.dtype == (np.int64 if name == "reversal" else np.float32)
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    assert len(data.x_train) == len(data.y_train) and len(data.x_test) == len(data.y_test)
    assert data.x_train.flags.c_contiguous and data.x_train.shape[1:] == data.x_test.shape[1:]


@each
def test_no_test_point_was_trained_on(name):
    data = datasets.load(name)
    train = {row.tobytes() for row in data.x_train}
    assert not any(row.tobytes() in train for row in data.x_test)


@each_classified
def test_every_class_is_in_both_parts(name):
    data = datasets.load(name)
    whole = np.concatenate([data.y_train, data.y_test])
    for part in (data.y_train, data.y_test):
        share = np.bincount(part, minlength=whole.max() + 1) / len(part)
        np.testing.assert_allclose(share, np.bincount(whole) / len(whole), atol=0.06)


def test_the_digits_are_all_there_and_stratified():
    data = datasets.load("digits")
    assert len(data.x_train) + len(data.x_test) == 1797 and len(data.x_test) == 360
    assert data.x_train.shape[1] == 64 and data.x_train.min() == 0 and data.x_train.max() == 1
    counts = np.bincount(data.y_test) / np.bincount(np.concatenate([data.y_train, data.y_test]))
    np.testing.assert_allclose(counts, 0.2, atol=0.005)


def test_images_are_the_same_digits():
    flat, images = datasets.load("digits"), datasets.load("digits-images")
    assert images.x_test.shape == (360, 1, 8, 8)
    np.testing.assert_array_equal(images.x_train.reshape(-1, 64), flat.x_train)
    np.testing.assert_array_equal(images.y_test, flat.y_test)


def test_no_line_solves_xor_but_each_corner_is_clean():
    data = datasets.load("xor")
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    np.testing.assert_array_equal(np.rint(x[:, 0]).astype(int) ^ np.rint(x[:, 1]).astype(int), y)
    angles = np.linspace(0, np.pi, 90, endpoint=False)
    best = 0.0
    for across in np.stack([np.cos(angles), np.sin(angles)], 1):
        ordered = y[np.argsort(x @ across)]
        ones = np.concatenate([[0], np.cumsum(ordered)])
        right = ones + (len(y) - ones[-1]) - (np.arange(len(y) + 1) - ones)  # ones before a cut, zeros after it
        best = max(best, right.max() / len(y), 1 - right.min() / len(y))
    assert 0.7 < best < 0.8


def test_other_seeds_give_other_points():
    assert datasets.clusters(seed=1).sha256 != datasets.clusters(seed=2).sha256
    assert datasets.clusters(seed=1).sha256 == datasets.clusters(seed=1).sha256
    assert len(datasets.xor(n=100, test_fraction=0.1).x_test) == 10


def test_the_digest_tells_apart_shape_dtype_and_values():
    data = datasets.load("xor")
    digests = {
        data.sha256,
        data._replace(x_test=data.x_test.T).sha256,
        data._replace(y_test=data.y_test.astype(np.int32)).sha256,
        data._replace(x_test=data.x_test + 1).sha256,
    }
    assert len(digests) == 4
    assert data._replace(x_test=np.asfortranarray(data.x_test)).sha256 == data.sha256


def test_an_unknown_name_lists_the_known():
    known = "clusters, xor, digits, digits-images, reversal"
    with pytest.raises(ValueError, match=rf"unknown data set 'mnist'; known: {known}; published .* datasets.mnist"):
        datasets.load("mnist")


# -- reversal ---------------------------------------------------------------------------------------------------------


def test_answers_are_the_strings_backwards():
    data = datasets.load("reversal")
    assert data.x_train.shape == (20_000, 17) and data.y_train.shape == (20_000, 16) and data.x_test.shape == (500, 17)
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    assert (x[:, -1] == datasets.SEPARATOR).all() and x[:, :-1].max() == 26 and x.max() < datasets.REVERSAL_VOCABULARY
    for prompt, answer in zip(x[:2000], y[:2000]):
        letters = prompt[:-1][prompt[:-1] != datasets.PAD]
        assert 4 <= len(letters) <= 16 and (prompt[: 16 - len(letters)] == datasets.PAD).all()
        np.testing.assert_array_equal(answer[: len(letters)], letters[::-1])
        assert (answer[len(letters) :] == datasets.PAD).all()
    assert len({row.tobytes() for row in x}) == len(x)


def test_lengths_and_letters_are_uniform():
    x = datasets.load("reversal").x_train[:, :-1]
    lengths = np.bincount((x > 0).sum(1), minlength=17)[4:] / len(x)
    letters = np.bincount(x[x > 0], minlength=27)[1:] / (x > 0).sum()
    np.testing.assert_allclose(lengths, 1 / 13, atol=0.01)  # its standard deviation is 0.002
    np.testing.assert_allclose(letters, 1 / 26, atol=0.003)  # 0.0005


def test_other_seeds_and_sizes_give_other_strings():
    small = datasets.reversal(seed=1, train=30, test=0)
    assert small.x_train.shape == (30, 17) and small.x_test.shape == (0, 17) and small.y_test.shape == (0, 16)
    assert not np.array_equal(small.x_train, datasets.reversal(seed=2, train=30, test=0).x_train)
    for train, test in ((456_977, 0), (400_000, 60_000), (-1, 5)):
        with pytest.raises(ValueError, match=f"train is {train}, test is {test}: choose from 0 to 456,976 strings"):
            datasets.reversal(train=train, test=test)


@pytest.mark.parametrize("name, by_class", [("digits", True), ("reversal", False)])
def test_a_validation_part_is_cut_from_the_training_part(name, by_class):
    data = datasets.load(name)
    split, other = (datasets.validation_split(data, seed) for seed in (3, 4))
    assert split.sha256 == datasets.validation_split(data, 3).sha256 != other.sha256
    assert split.name == f"{name} validation 3" and abs(len(split.x_test) - 0.2 * len(data.x_train)) < 5
    pairs = {(x.tobytes(), y.tobytes()) for x, y in zip(data.x_train, data.y_train)}
    both = [*zip(split.x_train, split.y_train), *zip(split.x_test, split.y_test)]
    assert len(both) == len(data.x_train) and {(x.tobytes(), y.tobytes()) for x, y in both} == pairs
    if by_class:
        assert np.abs(np.bincount(split.y_test) - 0.2 * np.bincount(data.y_train)).max() <= 0.5
