"""Data sets, loaders and the two augmentations of small images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tinytorch.core.augmentation import ImageTransform
from tinytorch.core.prefetching import prefetched
from tinytorch.core.tensor import Tensor


@runtime_checkable
class Stateful(Protocol):
    """A transform whose random numbers can be continued from where they were."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


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


class ImageDataset(Dataset):
    """Images as bytes, uint8 (N, C, H, W), and labels (N,), whole numbers that become int64.

    `images` are not copied; they may be read-only, mapped from a file, or any view. A sample, and a batch of a loader
    without an `ImageTransform`, holds float32 from 0 to 1.
    """

    def __init__(self, images: np.ndarray, labels: Any) -> None:
        self.images, self.labels = np.asarray(images), np.asarray(labels)
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise TypeError(
                f"ImageDataset: images are {self.images.shape} {self.images.dtype}: they must be (N, C, H, W) uint8; "
                "use TensorDataset for others"
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype.kind not in "iu":
            raise ValueError(
                f"ImageDataset: images are {self.images.shape}, labels are {self.labels.shape} {self.labels.dtype}: "
                "there must be one whole number for each image"
            )
        self.labels = self.labels.astype(np.int64, copy=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        return Tensor(self.images[index] * np.float32(1 / 255)), Tensor(self.labels[index])


class DataLoader:
    """Batches of a data set, in order or shuffled anew each epoch.

    The same `seed` gives the same sequence of epochs; without one, shuffling follows NumPy's global seed. `transform`
    is applied to the first array of each batch. An `ImageTransform` takes the bytes of an `ImageDataset` from where
    they lie, and knows which image it has in which epoch: `epoch` counts the iterations begun.

    With `prefetch` a thread of its own prepares the next batch while one is used, and the numbers are the same. A data
    set or transform of yours then runs in that thread: it must neither draw from NumPy's global generator nor compute
    with tensors, and its generator may have drawn for two batches more when an iteration is broken off.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 32,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        prefetch: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size is {batch_size}, it must be at least 1")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.transform, self.prefetch = transform, prefetch
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.epoch = 0
        self._at_start: dict[str, Any] | None = None  # of the epoch that runs

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        at_start = self._at_start = self._now()
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = (self.rng or np.random).permutation(order)
        batches = self._batches(order, self.epoch)
        self.epoch += 1
        try:
            yield from prefetched(batches) if self.prefetch else batches
        finally:
            if self._at_start is at_start:
                self._at_start = None

    def _batches(self, order: np.ndarray, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        parts = [slice(i * self.batch_size, (i + 1) * self.batch_size) for i in range(len(self))]
        if not isinstance(self.transform, ImageTransform):
            for part in parts:
                yield self.batch(order[part])
            return
        draws = self.transform.draw(order, epoch)
        for part in parts:
            yield self._images(self.transform, order[part], draws[part])

    def _images(self, transform: ImageTransform, indices: np.ndarray, draws: np.ndarray) -> tuple[Tensor, ...]:
        if isinstance(self.dataset, ImageDataset):
            x, others = transform.prepare(self.dataset.images, indices, draws), [Tensor(self.dataset.labels[indices])]
        else:
            first, *others = self._stacked(indices)
            x = transform.prepare(first.data, np.arange(len(indices)), draws)
        return Tensor(x), *others

    def batch(self, indices: np.ndarray) -> tuple[Tensor, ...]:
        """The samples at `indices`, stacked, the first array transformed."""
        first, *others = self._stacked(indices)
        if self.transform is not None:
            made = self.transform(first.data)
            first = Tensor(made, dtype=first.dtype if first.dtype.kind == "f" else None)
        return first, *others

    def _stacked(self, indices: np.ndarray) -> list[Tensor]:
        if isinstance(self.dataset, TensorDataset | ImageDataset):
            parts: Sequence[Any] = self.dataset[indices]
        else:
            samples = [self.dataset[int(i)] for i in indices]
            rows = samples if isinstance(samples[0], tuple | list) else [(s,) for s in samples]
            parts = [np.stack([np.asarray(part) for part in column]) for column in zip(*rows, strict=True)]
        return [p if isinstance(p, Tensor) else Tensor(p) for p in parts]

    def state_dict(self) -> dict[str, Any]:
        """The state at the beginning of the epoch that runs, or of the next where none does; plain values.

        A loader that loads it gives that epoch from its first batch on, and then all that follow. The transform's part
        is what its own `state_dict` gives, if it has one. Raises ValueError where the order follows NumPy's global
        generator.
        """
        if self.shuffle and self.rng is None:
            raise ValueError(
                "DataLoader.state_dict: it is shuffled by NumPy's global generator, whose state is not the loader's; "
                "make the loader with a seed"
            )
        return self._at_start or self._now()

    def _now(self) -> dict[str, Any]:
        order = None if self.rng is None else self.rng.bit_generator.state
        drawn = self.transform.state_dict() if isinstance(self.transform, Stateful) else None
        return {"epoch": self.epoch, "order": order, "transform": drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the loader that `state` was taken from; ValueError, and no change, if that was another kind."""
        for part, name in (("order", "seed"), ("transform", "transform that has a state")):
            theirs, ours = ("no" if side[part] is None else "a" for side in (state, self._now()))
            if theirs != ours:
                raise ValueError(
                    f"DataLoader.load_state_dict: the state is of a loader with {theirs} {name}, this one has {ours} "
                    f"{name}; make it as that one was made"
                )
        if self.rng is not None:
            self.rng.bit_generator.state = state["order"]
        if isinstance(self.transform, Stateful):
            self.transform.load_state_dict(state["transform"])
        self.epoch, self._at_start = int(state["epoch"]), None


class Random:
    """A transform with a generator of its own, whose state can be kept; without a seed it begins anywhere."""

    def __init__(self, seed: int | None) -> None:
        self.rng = np.random.default_rng(seed)

    def state_dict(self) -> dict[str, Any]:
        """The generator's state; plain values."""
        return dict(self.rng.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw from now on what the transform would have that `state` was taken from."""
        self.rng.bit_generator.state = state


class RandomHorizontalFlip(Random):
    """Mirrors each image (..., H, W) left to right with probability p, a batch image by image."""

    def __init__(self, p: float = 0.5, seed: int | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p is {p}, it is a probability: choose it from 0 to 1")
        super().__init__(seed)
        self.p = p

    def __call__(self, images: Any) -> Any:
        x, rewrap = unwrapped(images)
        batch = x if x.ndim == 4 else x.reshape(1, -1, *x.shape[-2:])
        flip = self.rng.random(len(batch)) < self.p
        return rewrap(np.where(flip[:, None, None, None], batch[..., ::-1], batch).reshape(x.shape))


class RandomCrop(Random):
    """Pads each image by `padding` zeros and cuts a window of `size` at a random place, image by image."""

    def __init__(self, size: int | tuple[int, int], padding: int = 0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.size, self.padding = (size, size) if isinstance(size, int) else size, padding

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
        self.transforms: list[Any] = list(transforms)

    def __call__(self, images: Any) -> Any:
        for transform in self.transforms:
            images = transform(images)
        return images

    def state_dict(self) -> dict[str, Any]:
        """The states of those that have one, by their places in the list."""
        return {str(i): t.state_dict() for i, t in enumerate(self.transforms) if isinstance(t, Stateful)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the transforms that `state` was taken from."""
        for i, t in enumerate(self.transforms):
            if isinstance(t, Stateful):
                t.load_state_dict(state[str(i)])


def unwrapped(images: Any) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """The array of images, and how to give back the kind that came."""
    if isinstance(images, Tensor):
        return images.data, lambda x: Tensor(x, dtype=images.dtype)
    return np.asarray(images), lambda x: x
