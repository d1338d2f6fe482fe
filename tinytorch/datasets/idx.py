"""MNIST, and the idx format of its files: two zeros, the type, the number of dimensions, the dimensions, the values."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from tinytorch.datasets.download import VARIABLE, DataError
from tinytorch.datasets.images import Images, channel_statistics

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def read_idx(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    if content[: len(header)] != header or len(content) != len(header) + np.prod(shape):
        raise DataError(f"no idx file of {shape} bytes")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def mnist(root: str | os.PathLike | None = None) -> Images:
    """70,000 handwritten digits, x (N, 1, 28, 28) (LeCun, Cortes and Burges 1998)."""
    folder = Path(root or os.environ[VARIABLE]) / "mnist"
    shapes = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    parts = [read_idx(gzip.decompress((folder / f"{f}.gz").read_bytes()), s) for f, s in zip(FILES, shapes)]
    x_train, x_test = (x[:, None] for x in parts[::2])
    y_train, y_test = (y.astype(np.int64) for y in parts[1::2])
    mean, std = channel_statistics(x_train)
    return Images("mnist", x_train, y_train, x_test, y_test, tuple("0123456789"), mean, std, str(folder))
