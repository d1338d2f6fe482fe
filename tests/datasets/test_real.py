"""The real files, served from this machine: what is in them, and all that can happen to a long download on its way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.site import Answer, digest, files_below
from tinytorch.datasets import DataError, Published, cifar, cifar10, fetch, idx, mnist

HERE = Path(__file__).parents[3] / "shared" / "data"
DATA = Path(os.environ.get("TINYTORCH_DATA") or HERE)
MNIST = [DATA / file.file for file in idx.FILES]
CIFAR = next((path for path in DATA.glob("cifar-10-binary.tar.?z")), DATA / "cifar-10-binary.tar.gz")

pytestmark = pytest.mark.data
needs_mnist = pytest.mark.skipif(
    not all(path.is_file() for path in MNIST), reason="neither TINYTORCH_DATA nor ../shared/data has mnist/*.gz"
)
needs_cifar = pytest.mark.skipif(
    not CIFAR.is_file(), reason="neither TINYTORCH_DATA nor ../shared/data has cifar-10-binary.tar.gz or .xz"
)


@pytest.fixture(autouse=True)
def tidy(tmp_path):
    """Hundreds of megabytes do not stay until the next runs."""
    yield
    shutil.rmtree(tmp_path / "caches", ignore_errors=True)


@pytest.fixture
def served(site, monkeypatch):
    """The files as published by a server and a mirror, with the digests of these copies."""

    def published(file: Published, path: Path) -> Published:
        content = path.read_bytes()
        site[f"/{path.name}"] = site[f"/mirror/{path.name}"] = content
        urls = (site.url(f"/{path.name}"), site.url(f"/mirror/{path.name}"))
        return file._replace(urls=urls, size=len(content), digest=digest(content))

    if all(path.is_file() for path in MNIST):
        monkeypatch.setattr(idx, "FILES", tuple(published(file, path) for file, path in zip(idx.FILES, MNIST)))
    if CIFAR.is_file():
        monkeypatch.setattr(cifar, "ARCHIVE", published(cifar.ARCHIVE, CIFAR))
    return site


def check(data, classes, n_train, n_test, shape, mean, std):
    assert data.x_train.shape == (n_train, *shape) and data.x_test.shape == (n_test, *shape)
    assert data.x_train.dtype == data.x_test.dtype == np.uint8 and data.y_train.dtype == np.int64
    assert len(data.classes) == classes and set(data.y_train) == set(data.y_test) == set(range(classes))
    np.testing.assert_allclose(data.mean, mean, atol=5e-5)
    np.testing.assert_allclose(data.std, std, atol=5e-5)


@needs_mnist
def test_mnist_is_what_everyone_knows(served):
    data = mnist()
    check(data, 10, 60_000, 10_000, (1, 28, 28), [0.1307], [0.3081])
    assert data.source == "4 files as published" and served.paths == [f"/{path.name}" for path in MNIST]
    np.testing.assert_array_equal(
        np.bincount(data.y_train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    )
    np.testing.assert_array_equal(data.y_train[:5], [5, 0, 4, 1, 9])
    assert mnist().x_train.base is not None and len(served.asked) == 4


@needs_cifar
@pytest.mark.slow  # unpacks 180 MB
def test_cifar_is_what_everyone_knows_though_the_server_went_in_the_middle(served):
    whole = CIFAR.read_bytes()
    served[f"/{CIFAR.name}"] = [Answer(whole, cut=len(whole) // 2), Answer(whole, cut=len(whole) // 4), Answer(whole)]
    data = cifar10()
    ranges = [asked for _, asked in served.asked]
    assert ranges == [None, f"bytes={len(whole) // 2}-", f"bytes={len(whole) // 2 + len(whole) // 4}-"]
    check(data, 10, 50_000, 10_000, (3, 32, 32), [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
    np.testing.assert_array_equal(np.bincount(data.y_train), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(data.y_test), [1000] * 10)
    np.testing.assert_array_equal(data.y_train[:5], [6, 9, 9, 4, 1])
    assert len(served.asked) == 3 and data.source == "cifar-10-binary.tar.gz as published"


@needs_cifar
@pytest.mark.parametrize("fault", ["changed", "cut short", "gone", "gone in the middle"])
def test_a_long_download_that_fails_at_one_server_is_fetched_from_the_other(served, cache, fault):
    whole, half = CIFAR.read_bytes(), CIFAR.stat().st_size // 2
    changed = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
    served[f"/{CIFAR.name}"] = {
        "changed": [Answer(changed)],
        "cut short": [Answer(whole[:half])],
        "gone": [Answer(status=404)],
        "gone in the middle": [Answer(whole, cut=half), Answer(status=503)],
    }[fault]
    (found,) = fetch("cifar10", (cifar.ARCHIVE,))
    assert digest(found.path.read_bytes()) == cifar.ARCHIVE.digest and files_below(cache) == [cifar.ARCHIVE.file]
    assert served.asked[-1] == (f"/mirror/{CIFAR.name}", f"bytes={half}-" if fault == "gone in the middle" else None)


@needs_cifar
def test_a_copy_that_was_changed_on_the_way_is_never_data(served, cache):
    whole = CIFAR.read_bytes()
    served[f"/{CIFAR.name}"] = served[f"/mirror/{CIFAR.name}"] = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(DataError, match=r"digest is not the published one, so it was damaged .*; .* or changed there"):
        cifar10()
    assert not files_below(cache)
