"""MNIST from idx files: small ones of the real form, in every place and form they are looked for, and damaged ones."""

from __future__ import annotations

import contextlib
import gzip
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.site import digest, files_below, idx_file, place_mnist
from tinytorch.datasets import DataError, idx, mnist
from tinytorch.datasets.idx import read_idx

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw"])
@pytest.mark.parametrize("compressed", [True, False])
def test_the_images_are_those_of_the_files(small_mnist, tmp_path, folder, compressed):
    place_mnist(tmp_path / folder, small_mnist, compressed)
    data = mnist(tmp_path)
    x_train, y_train, x_test, y_test = (small_mnist[name] for name in NAMES)
    np.testing.assert_array_equal(data.x_train, x_train[:, None])
    np.testing.assert_array_equal(data.x_test, x_test[:, None])
    np.testing.assert_array_equal(data.y_train, y_train)
    np.testing.assert_array_equal(data.y_test, y_test)
    assert data.name == "mnist" and data.classes == tuple("0123456789")
    assert [array.dtype for array in data[1:5]] == [np.uint8, np.int64, np.uint8, np.int64]
    np.testing.assert_allclose(data.mean + data.std, ((x_train / 255).mean(), (x_train / 255).std()), rtol=1e-12)


def test_files_may_lie_in_different_places(small_mnist, tmp_path, monkeypatch):
    """As torchvision leaves them: the packed and the plain; and some in one folder, some in another."""
    place_mnist(tmp_path / "a" / "mnist", {name: small_mnist[name] for name in NAMES[:2]})
    place_mnist(tmp_path / "b" / "MNIST" / "raw", small_mnist)
    place_mnist(tmp_path / "b" / "MNIST" / "raw", small_mnist, compressed=False)
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "b"))
    data = mnist(tmp_path / "a")
    np.testing.assert_array_equal(data.y_test, small_mnist[NAMES[3]])


def test_the_source_says_which_files_are_not_the_published_ones(small_mnist, tmp_path, monkeypatch):
    folder = place_mnist(tmp_path / "mnist", small_mnist)
    seen = {name: digest((folder / f"{name}.gz").read_bytes()) for name in NAMES}
    assert mnist(tmp_path).source == "; ".join(f"{name}.gz, {seen[name]}, not the published file" for name in NAMES)
    published = [file._replace(digest=seen[name]) for file, name in zip(idx.FILES, NAMES)]
    monkeypatch.setattr(idx, "FILES", (idx.FILES[0], *published[1:]))
    said = f"{NAMES[0]}.gz, {seen[NAMES[0]]}, not the published file; 3 files as published"
    assert mnist(tmp_path).source == said
    monkeypatch.setattr(idx, "FILES", tuple(published))
    assert mnist(tmp_path).source == "4 files as published"


def test_without_the_files_one_message_says_what_to_do(tmp_path, cache, monkeypatch):
    with pytest.raises(DataError) as error:
        mnist(tmp_path / "root")
    said = str(error.value)
    for name, file in zip(NAMES, idx.FILES):
        assert f"no mnist/{name}.gz" in said and file.file.endswith(f"{name}.gz") and len(file.urls) == 2
    for url in idx.FILES[0].urls:
        assert f"{url}: ProxyError" in said
    assert (
        f"Run `python -m tinytorch.datasets get mnist` with a network, or put them into {tmp_path}/root/mnist" in said
    )
    assert said.endswith("without it, datasets.load('digits-images') has 1,797 smaller digits, embedded")
    assert not files_below(tmp_path)


# -- what can be wrong -------------------------------------------------------------------------------------------------

SHAPE = (3, 4, 5)
ARRAY = np.arange(60, dtype=np.uint8).reshape(SHAPE)
WHOLE = idx_file(ARRAY)
WRONG = {
    "signed": (WHOLE[:2] + b"\x09" + WHOLE[3:], "it begins with 00000903, an idx file of such bytes with 00000803"),
    "labels": (idx_file(ARRAY.ravel()), "it begins with 00000801, an idx file of such bytes with 00000803"),
    "page": (b"<!DOCTYPE html>" * 9, "it begins with 3c21444f, an idx file"),
    "fewer": (idx_file(ARRAY[:2]), "it holds 2 x 4 x 5, not 3 x 4 x 5"),
    "other shape": (idx_file(ARRAY.transpose(0, 2, 1)), "it holds 3 x 5 x 4, not 3 x 4 x 5"),
    "short": (WHOLE[:-1], "it ends after 59 of 60 bytes"),
    "long": (WHOLE + b"x", "it holds more than the 76 bytes that are expected at most"),
    "huge": (WHOLE + bytes(1 << 22), "it holds more than the 76 bytes that are expected at most"),
    "header": (WHOLE[:10], "it ends after 10 of 76 bytes"),
    "empty": (b"", "it ends after 0 of 76 bytes"),
}


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_of_another_form_is_named(tmp_path, wrong, compressed):
    content, why = WRONG[wrong]
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match=rf"{path}: {why}"):
        read_idx(path, SHAPE)


def test_a_label_that_is_none_is_named(small_mnist, tmp_path, cache):
    small_mnist[NAMES[3]][[7, 9]] = 10, 200
    path = place_mnist(tmp_path / "mnist", small_mnist) / f"{NAMES[3]}.gz"
    with pytest.raises(DataError, match=rf"{path}: image 9 has label 200: labels are 0 to 9; replace it by"):
        mnist(tmp_path)
    assert not files_below(cache)


def test_a_folder_in_a_files_place_is_named(small_mnist, tmp_path):
    place_mnist(tmp_path / "mnist", small_mnist)
    path = tmp_path / "mnist" / f"{NAMES[0]}.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"{re.escape(str(path))} cannot be read: Is a directory"):
        mnist(tmp_path)


@given(
    packed=st.booleans(),
    where=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 70),
)
def test_damage_anywhere_is_a_data_error_or_another_image(tmp_path_factory, packed, where, cut):
    whole = gzip.compress(WHOLE, mtime=0) if packed else WHOLE
    content = bytearray(whole[: len(whole) - cut])
    for at, value in where:
        content[at % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert read_idx(path, SHAPE).shape == SHAPE
