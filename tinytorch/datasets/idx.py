"""MNIST, and the idx format of its files: two zeros, the type, the number of dimensions, the dimensions, the values."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tinytorch.datasets.archive import reading, unpacked
from tinytorch.datasets.download import DataError, Published, fetch
from tinytorch.datasets.images import Images, images

UNSIGNED_BYTE = 8
SIDE = 28
COUNTS = (60_000, 10_000)
INSTEAD = "without it, datasets.load('digits-images') has 1,797 smaller digits, embedded"
# The author's own page no longer gives the files out; these two hold them unchanged.
HOSTS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def published(stem: str, size: int, sha256: str) -> Published:
    return Published(
        f"mnist/{stem}.gz",
        tuple(f"{host}{stem}.gz" for host in HOSTS),
        size,
        f"sha256:{sha256}",
        (f"mnist/{stem}", f"MNIST/raw/{stem}.gz", f"MNIST/raw/{stem}"),
    )


FILES = (
    published("train-images-idx3-ubyte", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    published("train-labels-idx1-ubyte", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    published("t10k-images-idx3-ubyte", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    published("t10k-labels-idx1-ubyte", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)


def mnist(root: str | os.PathLike | None = None) -> Images:
    """70,000 handwritten digits, x (N, 1, 28, 28), 60,000 of them for training (LeCun, Cortes and Burges 1998).

    `fetch` says where the four files are looked for, in `mnist/` or as torchvision keeps them in `MNIST/raw/`, with or
    without .gz. Files that the user placed may be others than the published: `source` says so. DataError where they
    are not to be had or not what they should be.
    """
    found = fetch("mnist", FILES, root, placed_may_differ=True, instead=INSTEAD)

    def decode() -> tuple[np.ndarray, ...]:
        forms: list[tuple[tuple[int, ...], int]] = []
        for n in COUNTS:
            forms += [((n, SIDE, SIDE), 255), ((n,), 9)]
        return tuple(read_idx(here.path, shape, most) for here, (shape, most) in zip(found, forms))

    return images("mnist", tuple("0123456789"), (1, SIDE, SIDE), COUNTS, found, decode)


def read_idx(path: Path, shape: tuple[int, ...], most: int = 255) -> np.ndarray:
    """The bytes of an idx file, plain or compressed: of this shape and up to `most`, or it is a DataError."""
    begin = bytes([0, 0, UNSIGNED_BYTE, len(shape)]) + np.array(shape, ">u4").tobytes()
    size = int(np.prod(shape))
    with reading(path), unpacked(path, len(begin) + size) as stream:
        header = stream.read(len(begin))
        if len(header) < len(begin):
            raise DataError(f"it ends after {len(header)} of {len(begin) + size:,} bytes")
        if header[:4] != begin[:4]:
            raise DataError(f"it begins with {header[:4].hex()}, an idx file of such bytes with {begin[:4].hex()}")
        if header != begin:
            raise DataError(f"it holds {dimensions(header)}, not {dimensions(begin)}")
        content = stream.read()
        if len(content) != size:
            raise DataError(f"it ends after {len(content):,} of {size:,} bytes")
        values = np.frombuffer(content, np.uint8).reshape(shape)
        if values.max() > most:
            raise DataError(f"image {values.argmax():,} has label {values.max()}: labels are 0 to {most}")
    return values


def dimensions(header: bytes) -> str:
    return " x ".join(f"{int.from_bytes(header[at : at + 4], 'big'):,}" for at in range(4, len(header), 4))
