"""CIFAR-10 in its binary version: records of one label byte and 3 x 32 x 32 bytes of one image."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np

from tinytorch.datasets.download import VARIABLE
from tinytorch.datasets.images import Images, channel_statistics

FOLDER = "cifar-10-batches-bin"
MEMBERS = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(root: str | os.PathLike | None = None) -> Images:
    """60,000 colour images of ten classes, x (N, 3, 32, 32) (Krizhevsky 2009)."""
    path = next(Path(root or os.environ[VARIABLE]).glob("cifar-10-binary.tar.*"))
    with tarfile.open(path, "r:*") as archive:
        found = {
            m.name: np.frombuffer(archive.extractfile(m).read(), np.uint8).reshape(-1, 3073)  # type: ignore[union-attr]
            for m in archive
            if m.name.endswith(".bin")
        }
    records = [found[f"{FOLDER}/{member}"] for member in MEMBERS]
    train, test = np.concatenate(records[:5]), records[5]
    x_train, x_test = (np.ascontiguousarray(r[:, 1:]).reshape(-1, 3, 32, 32) for r in (train, test))
    y_train, y_test = (r[:, 0].astype(np.int64) for r in (train, test))
    mean, std = channel_statistics(x_train)
    return Images("cifar10", x_train, y_train, x_test, y_test, CLASSES, mean, std, str(path))
