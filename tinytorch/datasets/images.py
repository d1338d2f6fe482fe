"""Labelled images as bytes, and what turns them into a network's input: `normalised`.

Left out: where the images come from (`idx`, `cifar`); augmentation (`core.augmentation`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tinytorch.datasets.decoded import Arrays, decoded
from tinytorch.datasets.download import Found, told
from tinytorch.datasets.split import Split, kept_rows


class Images(NamedTuple):
    """Training and test images: x uint8 (N, C, H, W), read only and often memory-mapped; y int64 (N,), a class each.

    `mean` and `std` have one figure per channel, of the published training part scaled to 0..1. `source` says which
    file the images were read from, with which digest.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, C, H, W) as float32, less the mean and over the standard deviation of its channel."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != len(self.mean):
            raise ValueError(
                f"{self.name}: images are {images.shape} {images.dtype}: give uint8 (N, {len(self.mean)}, H, W), "
                "as in x_train"
            )
        mean, std = (255 * np.array(a, np.float32)[:, None, None] for a in (self.mean, self.std))
        out = images.astype(np.float32)
        out -= mean
        out /= std
        return out

    def split(self, flat: bool = False) -> Split:
        """Both parts normalised, float32 (N, C, H, W), or (N, C*H*W) if `flat`; four times as much memory as here."""
        x_train, x_test = (self.normalised(x) for x in (self.x_train, self.x_test))
        if flat:
            x_train, x_test = (x.reshape(len(x), -1) for x in (x_train, x_test))
        return Split(self.name, x_train, self.y_train, x_test, self.y_test)

    def validation(self, seed: int, fraction: float = 0.2) -> Images:
        """The training part alone, `fraction` of each class of it, drawn with `seed`, in the test part's place."""
        kept = kept_rows(self.y_train, seed, fraction)
        x, y = self.x_train, self.y_train
        return self._replace(
            name=f"{self.name} validation {seed}", x_train=x[kept], y_train=y[kept], x_test=x[~kept], y_test=y[~kept]
        )


def images(
    name: str,
    classes: tuple[str, ...],
    shape: tuple[int, int, int],
    counts: tuple[int, int],
    found: Sequence[Found],
    decode: Callable[[], tuple[np.ndarray, ...]],
) -> Images:
    """Images from their files, of which `decode` makes x_train, y_train, x_test, y_test; once, then they are kept."""

    def arrays() -> Arrays:
        x_train, y_train, x_test, y_test = decode()
        x_train, x_test = (np.ascontiguousarray(x).reshape(-1, *shape) for x in (x_train, x_test))
        y_train, y_test = (y.astype(np.int64) for y in (y_train, y_test))
        statistics = np.array(channel_statistics(x_train))
        return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, "statistics": statistics}

    train, test = counts
    layout = {
        "x_train": ((train, *shape), "|u1"),
        "y_train": ((train,), "<i8"),
        "x_test": ((test, *shape), "|u1"),
        "y_test": ((test,), "<i8"),
        "statistics": ((2, shape[0]), "<f8"),
    }
    kept = decoded(name, found, layout, arrays)
    mean, std = (tuple(figures) for figures in kept.pop("statistics").tolist())
    return Images(name, **kept, classes=classes, mean=mean, std=std, source=told(found))


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), scaled to 0..1.

    Exact but for the last division: bytes are counted, so neither depends on an order of summation.
    """
    values = np.arange(256)
    mean, std = [], []
    for channel in range(images.shape[1]):
        count = np.zeros(256, np.int64)
        for part in range(0, len(images), 4096):
            count += np.bincount(images[part : part + 4096, channel].ravel(), minlength=256)
        n, s, q = int(count.sum()), int(count @ values), int(count @ values**2)
        mean.append(s / n / 255)
        std.append((n * q - s * s) ** 0.5 / n / 255)
    return tuple(mean), tuple(std)
