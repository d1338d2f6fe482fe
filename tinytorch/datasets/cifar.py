"""CIFAR-10 in its binary version: records of one label byte and 3 x 32 x 32 bytes of one image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tinytorch.datasets.archive import members, reading, unpacked
from tinytorch.datasets.download import DataError, Published, fetch
from tinytorch.datasets.images import Images, images

SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # bytes
RECORDS = 10_000  # in a file
FOLDER = "cifar-10-batches-bin"
TRAIN, TEST = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BESIDE = 1 << 20  # bytes of an archive that are none of the records: headers, names of the classes, a page
INSTEAD = "without it, datasets.load('digits-images') has 1,797 small digits, embedded"
# The publisher's page gives the md5: c32a1d4ab5d03f1284b67883e8d87530.
ARCHIVE = Published(
    "cifar-10-binary.tar.gz",
    (
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
    ),
    170_052_171,
    "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("cifar-10-binary.tar.xz", FOLDER),
)


def cifar10(root: str | os.PathLike | None = None) -> Images:
    """60,000 colour images of ten classes, x (N, 3, 32, 32), 50,000 of them for training (Krizhevsky 2009).

    `fetch` says where the archive is looked for; .tar.xz will do as well, and the folder that was extracted from it.
    What the user placed may be another than the published: `source` says so. DataError where it is not to be had or
    not what it should be.
    """
    found = fetch("cifar10", (ARCHIVE,), root, placed_may_differ=True, instead=INSTEAD)

    def decode() -> tuple[np.ndarray, ...]:
        path = found[0].path
        with reading(path):
            parts = {name: records(name, stream) for name, stream in files(path)}
        train, test = np.concatenate([parts[name] for name in TRAIN]), parts[TEST]
        return train[:, 1:].reshape(-1, *SHAPE), train[:, 0], test[:, 1:].reshape(-1, *SHAPE), test[:, 0]

    return images("cifar10", CLASSES, SHAPE, (len(TRAIN) * RECORDS, RECORDS), found, decode)


def files(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    """The six files, in the archive or in the folder, by their names."""
    size = RECORDS * RECORD
    if not path.is_dir():
        for name, stream in members(path, {f"{FOLDER}/{name}": size for name in (*TRAIN, TEST)}, BESIDE):
            yield name.rpartition("/")[2], stream
        return
    for name in (*TRAIN, TEST):
        if not (path / name).is_file():
            raise DataError(f"there is no {name} in it")
        with unpacked(path / name, size) as stream:
            yield name, stream


def records(name: str, stream: BinaryIO) -> np.ndarray:
    """The records of one file, uint8 (RECORDS, RECORD). DataError if there are more or fewer, or no such classes."""
    content = stream.read()
    if len(content) != RECORDS * RECORD:
        raise DataError(f"{name} has {len(content):,} bytes, not {RECORDS:,} records of {RECORD:,}")
    out = np.frombuffer(content, np.uint8).reshape(RECORDS, RECORD)
    worst = int(out[:, 0].argmax())
    if out[worst, 0] >= len(CLASSES):
        raise DataError(f"image {worst:,} of {name} has label {out[worst, 0]}: labels are 0 to {len(CLASSES) - 1}")
    return out
