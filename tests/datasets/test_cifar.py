"""CIFAR-10 from its archive or folder: small ones of the real form, and wrong ones."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.site import digest, files_below, pack_cifar, published_at
from tinytorch.datasets import DataError, Published, cifar, cifar10


def place(folder, contents, form):
    if form == "folder":
        (folder / cifar.FOLDER).mkdir()
        for name, content in contents.items():
            (folder / cifar.FOLDER / name).write_bytes(content)
        return folder / cifar.FOLDER
    path = folder / f"cifar-10-binary.tar.{form}"
    path.write_bytes(pack_cifar(contents, form))
    return path


each_form = pytest.mark.parametrize("form", ["gz", "xz", "folder"])


@each_form
def test_the_images_are_those_of_the_files(small_cifar, tmp_path, form):
    path = place(tmp_path, small_cifar, form)
    data = cifar10(tmp_path)
    records = np.stack([np.frombuffer(content, np.uint8).reshape(4, -1) for content in small_cifar.values()])
    train, test = records[:5].reshape(20, -1), records[5]
    np.testing.assert_array_equal(data.x_train, train[:, 1:].reshape(20, 3, 32, 32))
    np.testing.assert_array_equal(data.x_test, test[:, 1:].reshape(4, 3, 32, 32))
    np.testing.assert_array_equal(data.y_train, train[:, 0])
    np.testing.assert_array_equal(data.y_test, test[:, 0])
    assert data.classes[0] == "airplane" and data.classes[9] == "truck" and len(data.classes) == 10
    scaled = data.x_train / 255
    np.testing.assert_allclose(data.mean, scaled.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, scaled.std((0, 2, 3)), rtol=1e-12)
    assert data.source.startswith(f"{path.name}, sha256:") and data.source.endswith(", not the published file")


def test_the_published_archive_is_told_and_goes_before_other_forms(small_cifar, tmp_path, monkeypatch):
    place(tmp_path, small_cifar, "xz")
    place(tmp_path, small_cifar, "folder")
    path = place(tmp_path, small_cifar, "gz")
    monkeypatch.setattr(cifar, "ARCHIVE", cifar.ARCHIVE._replace(digest=digest(path.read_bytes(), "md5")))
    assert cifar10(tmp_path).source == "cifar-10-binary.tar.gz as published"


def test_it_is_downloaded_and_then_read_without_a_network(small_cifar, site, cache, monkeypatch):
    site["/archive"] = pack_cifar(small_cifar)
    file = published_at(site, pack_cifar(small_cifar), "/archive", file=cifar.ARCHIVE.file)
    monkeypatch.setattr(cifar, "ARCHIVE", file)
    first = cifar10()
    site.pages.clear()
    again = cifar10()
    assert site.paths == ["/archive"] and again.source == first.source == "cifar-10-binary.tar.gz as published"
    np.testing.assert_array_equal(again.x_train, first.x_train)


def test_without_the_archive_one_message_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as error:
        cifar10(tmp_path / "root")
    said = str(error.value)
    assert said.startswith(f"cifar10: there is no cifar-10-binary.tar.gz in {tmp_path}/root, ")
    for url in cifar.ARCHIVE.urls:
        assert f"{url}: ProxyError" in said
    assert f"Run `python -m tinytorch.datasets get cifar10` with a network, or put it into {tmp_path}/root, or" in said
    assert said.endswith("without it, datasets.load('digits-images') has 1,797 small digits, embedded")


# -- what can be wrong -------------------------------------------------------------------------------------------------


def refused(tmp_path, contents, form, why):
    path = place(tmp_path, contents, form)
    with pytest.raises(DataError, match=why) as error:
        cifar10(tmp_path)
    assert str(error.value).startswith(f"{path}: ") and not files_below(tmp_path / "caches")


@each_form
def test_a_label_that_is_none_is_named(small_cifar, tmp_path, form):
    content = bytearray(small_cifar["data_batch_3.bin"])
    content[2 * cifar.RECORD] = 10
    contents = {**small_cifar, "data_batch_3.bin": bytes(content)}
    refused(
        tmp_path,
        contents,
        form,
        "image 2 of data_batch_3.bin has label 10: labels are 0 to 9; replace it by",
    )


@each_form
def test_a_file_that_is_missing_is_named(small_cifar, tmp_path, form):
    del small_cifar["data_batch_5.bin"]
    refused(tmp_path, small_cifar, form, "there is no (cifar-10-batches-bin/)?data_batch_5.bin in it")


@each_form
@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: b""])
def test_a_file_of_another_size_is_named(small_cifar, tmp_path, form, change):
    contents = {**small_cifar, "test_batch.bin": change(small_cifar["test_batch.bin"])}
    refused(tmp_path, contents, form, "(test_batch.bin (in it )?has [0-9,]+ bytes, not|it holds more than the 12,292)")


def test_the_python_version_of_the_archive_is_refused(small_cifar, tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(pack_cifar({"data_batch_1": b"pickled"}, folder="cifar-10-batches-py"))
    with pytest.raises(
        DataError, match=r"there is no cifar-10-batches-bin/data_batch_1.bin and no .*test_batch.bin in"
    ):
        cifar10(tmp_path)


@given(
    where=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 900),
)
def test_damage_anywhere_is_a_data_error_or_another_image(tmp_path_factory, where, cut):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "RECORDS", 1)
        contents = {name: bytes([i]) * cifar.RECORD for i, name in enumerate((*cifar.TRAIN, cifar.TEST))}
        content = bytearray(pack_cifar(contents))
        content = content[: len(content) - cut % len(content)]
        for at, value in where:
            content[at % len(content)] = value
        (folder / "cifar-10-binary.tar.gz").write_bytes(content)
        with contextlib.suppress(DataError):
            assert cifar10(folder).x_train.shape == (5, 3, 32, 32)


def test_the_published_digest_is_one_of_sha256():
    """Of the form pooch and `digest_of` understand, for all that is published."""
    from tinytorch.datasets.catalogue import PUBLISHED

    for entry in PUBLISHED.values():
        for file in entry.files:
            algorithm, _, figures = file.digest.partition(":")
            assert isinstance(file, Published) and algorithm == "sha256" and len(bytes.fromhex(figures)) == 32
            assert len(file.urls) == 2 and all(url.startswith("https://") for url in file.urls) and file.size > 1000
