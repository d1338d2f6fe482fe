"""What the tests of data share: a cache of their own, a web server, and small data sets of the real forms."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.site import Site
from tinytorch.datasets import cifar, idx


@pytest.fixture
def site():
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A cache of one's own, no data folder, and no way out to a network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv("TINYTORCH_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody listens there


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "caches" / "tinytorch"


@pytest.fixture
def small_mnist(monkeypatch) -> dict[str, np.ndarray]:
    """MNIST is 30 training and 20 test images: the arrays by the names of their files."""
    monkeypatch.setattr(idx, "COUNTS", (30, 20))
    rng = np.random.default_rng(0)
    shapes = ((30, 28, 28), (30,), (20, 28, 28), (20,))
    return {
        Path(file.file).stem: rng.integers(0, 256 if len(shape) == 3 else 10, shape, np.uint8)
        for file, shape in zip(idx.FILES, shapes)
    }


@pytest.fixture
def small_cifar(monkeypatch) -> dict[str, bytes]:
    """CIFAR-10 has four images in each of its files: their contents by name."""
    monkeypatch.setattr(cifar, "RECORDS", 4)
    rng = np.random.default_rng(1)
    out = {}
    for name in (*cifar.TRAIN, cifar.TEST):
        records = rng.integers(0, 256, (4, cifar.RECORD), np.uint8)
        records[:, 0] %= 10
        out[name] = records.tobytes()
    return out
