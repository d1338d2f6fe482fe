"""Data sets, loaders and the two augmentations of small images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinytorch.core.tensor import Tensor


class Dataset:
    """Base of data sets: define `__len__` and `__getitem__`."""

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__}: no __len__() defined; a data set knows its length")

    def __getitem__(self, index: int) -> Any:
        raise TypeError(f"{type(self).__name__}: no __getitem__() defined; a data set gives sample number `index`")


class TensorDataset(Dataset):
    """Samples are the rows of tensors of equal length."""

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset: no tensors given; give at least one")
        self.tensors = tuple(t if isinstance(t, Tensor) else Tensor(t) for t in tensors)
        lengths = [len(t) for t in self.tensors]
        if len(set(lengths)) > 1:
            raise ValueError(f"TensorDataset: tensors have {lengths} rows; all must have the same number")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(Tensor(t.data[index], dtype=t.dtype) for t in self.tensors)


class DataLoader:
    """Batches of a data set, in order or shuffled anew each epoch.

    The same `seed` gives the same sequence of epochs; without one, shuffling follows NumPy's global seed. `transform`
    is applied to the first array of each batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 32,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size is {batch_size}, it must be at least 1")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.transform = transform
        self.rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = (self.rng or np.random).permutation(order)
        for i in range(len(self)):
            yield self.batch(order[i * self.batch_size : (i + 1) * self.batch_size])

    def batch(self, indices: np.ndarray) -> tuple[Tensor, ...]:
        """The samples at `indices`, stacked."""
        if isinstance(self.dataset, TensorDataset):
            parts: Sequence[Any] = self.dataset[indices]
        else:
            samples = [self.dataset[int(i)] for i in indices]
            rows = samples if isinstance(samples[0], tuple | list) else [(s,) for s in samples]
            parts = [np.stack([np.asarray(part) for part in column]) for column in zip(*rows, strict=True)]
        first, *others = (p if isinstance(p, Tensor) else Tensor(p) for p in parts)
        if self.transform is not None:
            first = Tensor(self.transform(first.data), dtype=first.dtype)
        return first, *others


class RandomHorizontalFlip:
    """Mirrors each image (..., H, W) left to right with probability p, a batch image by image."""

    def __init__(self, p: float = 0.5, seed: int | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p is {p}, it is a probability: choose it from 0 to 1")
        self.p, self.rng = p, np.random.default_rng(seed)

    def __call__(self, images: Any) -> Any:
        x, rewrap = unwrapped(images)
        batch = x if x.ndim == 4 else x.reshape(1, -1, *x.shape[-2:])
        flip = self.rng.random(len(batch)) < self.p
        return rewrap(np.where(flip[:, None, None, None], batch[..., ::-1], batch).reshape(x.shape))


class RandomCrop:
    """Pads each image by `padding` zeros and cuts a window of `size` at a random place, image by image."""

    def __init__(self, size: int | tuple[int, int], padding: int = 0, seed: int | None = None) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.padding, self.rng = padding, np.random.default_rng(seed)

    def __call__(self, images: Any) -> Any:
        x, rewrap = unwrapped(images)
        single = x.ndim < 4
        batch = x.reshape(1, -1, *x.shape[-2:]) if single else x
        p, (h, w) = self.padding, self.size
        padded = np.pad(batch, ((0, 0), (0, 0), (p, p), (p, p)))
        rows, columns = padded.shape[2] - h, padded.shape[3] - w
        if rows < 0 or columns < 0:
            raise ValueError(
                f"RandomCrop: images are {x.shape}, padded by {p}: too small for a {h}x{w} window; pad more"
            )
        tops, lefts = self.rng.integers(0, rows + 1, len(batch)), self.rng.integers(0, columns + 1, len(batch))
        cut = np.stack([image[:, t : t + h, s : s + w] for image, t, s in zip(padded, tops, lefts)])
        return rewrap(cut.reshape(*x.shape[:-2], h, w) if single else cut)


class Compose:
    """Transforms one after another."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, images: Any) -> Any:
        for transform in self.transforms:
            images = transform(images)
        return images


def unwrapped(images: Any) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """The array of images, and how to give back the kind that came."""
    if isinstance(images, Tensor):
        return images.data, lambda x: Tensor(x, dtype=images.dtype)
    return np.asarray(images), lambda x: x
