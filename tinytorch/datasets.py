"""Data for the milestones. All of it comes with the installed packages or is drawn from a fixed seed: no network is
needed.

Data sets that have to be downloaded are left to a later module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SPLIT_SEED = 1797  # one split for everyone, so that accuracies can be compared


class Split(NamedTuple):
    """Training and test part: x float32 (N, ...), y int64 (N,)."""

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


def clusters(seed: int = 1957, n: int = 500, test_fraction: float = 0.4) -> Split:
    """Two round clusters in the plane, one class each; a line separates them but for a point or two."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    centres = np.array([[-1.5, -1.5], [1.5, 1.5]])
    x = centres[y] + rng.standard_normal((n, 2))
    return shuffled("clusters", x, y, rng, test_fraction)


def xor(seed: int = 1969, n: int = 500, noise: float = 0.1, test_fraction: float = 0.4) -> Split:
    """The corners of the unit square, blurred; the class is the exclusive or of the corner's coordinates."""
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[np.arange(n) % 4]
    x = corners + np.clip(noise * rng.standard_normal((n, 2)), -0.4, 0.4)  # no point leaves its own quarter
    return shuffled("xor", x, corners[:, 0] ^ corners[:, 1], rng, test_fraction)


def digits() -> Split:
    """The 1,797 handwritten 8x8 digits bundled with scikit-learn (UCI; Alpaydin and Kaynak 1998), flat, scaled to 0..1.

    20 % test, stratified by class with a fixed seed.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bundle = load_digits()
    x, y = (bundle.data / 16).astype(np.float32), bundle.target.astype(np.int64)
    parts = train_test_split(x, y, test_size=0.2, stratify=y, random_state=SPLIT_SEED)
    x_train, x_test, y_train, y_test = (np.ascontiguousarray(p) for p in parts)
    return Split("digits", x_train, y_train, x_test, y_test)


def digits_images() -> Split:
    """The same digits and split as images (N, 1, 8, 8)."""
    flat = digits()
    return flat._replace(
        name="digits-images", x_train=flat.x_train.reshape(-1, 1, 8, 8), x_test=flat.x_test.reshape(-1, 1, 8, 8)
    )


def validation_split(split: Split, seed: int, fraction: float = 0.2) -> Split:
    """The training part as a split of its own, in which `fraction` of each class, drawn with `seed`, is the test part.

    Settings that are chosen with it have not seen the test part.
    """
    rng = np.random.default_rng(seed)
    kept = np.ones(len(split.y_train), bool)
    for label in np.unique(split.y_train):
        rows = rng.permutation(np.flatnonzero(split.y_train == label))
        kept[rows[: round(fraction * len(rows))]] = False
    x, y = split.x_train, split.y_train
    return Split(f"{split.name} validation {seed}", x[kept], y[kept], x[~kept], y[~kept])


def shuffled(name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, test_fraction: float) -> Split:
    order = rng.permutation(len(x))
    x, y, test = x[order].astype(np.float32), y[order].astype(np.int64), int(len(x) * test_fraction)
    return Split(name, x[test:], y[test:], x[:test], y[:test])


DATASETS: dict[str, Callable[[], Split]] = {
    "clusters": clusters,
    "xor": xor,
    "digits": digits,
    "digits-images": digits_images,
}


def load(name: str) -> Split:
    """A data set by name; ValueError lists the known ones."""
    if name not in DATASETS:
        raise ValueError(f"datasets.load: unknown data set {name!r}; known: {', '.join(DATASETS)}")
    return DATASETS[name]()
