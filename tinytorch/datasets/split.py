"""A data set in two parts, its digest, and validation parts cut from the training part."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

SPLIT_SEED = 1797  # one split for everyone, so that accuracies can be compared


class Split(NamedTuple):
    """Training and test part: x (N, ...) float32 or int64 ids; y int64, a class each (N,) or a row of ids (N, ...)."""

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def sha256(self) -> str:
        """Digest over all arrays, their shapes and dtypes: the same digest means the same data."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f"{array.shape}{array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def validation_split(split: Split, seed: int, fraction: float = 0.2) -> Split:
    """The training part as a split of its own, in which `fraction` of each class, drawn with `seed`, is the test part.

    Where y are rows of ids, there are no classes, and it is that fraction of all. Settings that are chosen with it have
    not seen the test part.
    """
    x, y, kept = split.x_train, split.y_train, kept_rows(split.y_train, seed, fraction)
    return Split(f"{split.name} validation {seed}", x[kept], y[kept], x[~kept], y[~kept])


def kept_rows(y: np.ndarray, seed: int, fraction: float) -> np.ndarray:
    """Which rows stay for training, bool (N,), when `fraction` of each class of y (N,), or of all rows, is held out."""
    rng = np.random.default_rng(seed)
    classes = y if y.ndim == 1 else np.zeros(len(y), np.int64)
    kept = np.ones(len(y), bool)
    for label in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == label))
        kept[rows[: round(fraction * len(rows))]] = False
    return kept


def shuffled(name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, test_fraction: float) -> Split:
    order = rng.permutation(len(x))
    x, y, test = x[order].astype(np.float32), y[order].astype(np.int64), int(len(x) * test_fraction)
    return Split(name, x[test:], y[test:], x[:test], y[:test])
