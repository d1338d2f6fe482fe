"""Augmentation of images that are kept as bytes: random windows, mirroring and cutout, and normalising, in one pass.

Left out: the transforms of one step each, on arrays of any kind (`dataloader.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tinytorch.engine import dispatch, ops

PADDING_MODES = ("zeros", "reflect")
DRAWS = 5  # random numbers for an image: down, right, mirrored, and row and column of the cutout


class ImageTransform:
    """uint8 images (N, C, H, W) -> float32 of the same shape: (x / 255 - mean) / std for each channel, and augmented.

    `padding`: the image gets so many pixels more on each side, and a window of its own size is taken at a random place.
    They are black ("zeros": bytes of 0, normalised like any others, which is what a random crop does that stands before
    the normalisation in a list of transforms) or the image's reflection ("reflect", as `np.pad`).
    `flip`: True mirrors a random half of the images left to right; "alternate" a random half in the first epoch, and
    from then on each image in every second epoch (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.6).
    `cutout`: a square of that side, its centre anywhere in the image, becomes 0 after normalising, the mean colour
    (DeVries and Taylor 2017, section 3.2); what lies beyond the border is lost.

    What happens to image i of a data set in an epoch follows from the seed, the epoch and i alone: not from the order
    of the images, nor from which batches were asked for before. Without a seed, NumPy's global generator chooses one.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        padding: int = 0,
        padding_mode: Literal["zeros", "reflect"] = "zeros",
        flip: bool | Literal["alternate"] = False,
        cutout: int = 0,
        seed: int | None = None,
    ) -> None:
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(
                f"ImageTransform: mean is {tuple(mean)}, std is {tuple(std)}: give one of each for every channel, and "
                "each std above 0"
            )
        self.seed = int(np.random.randint(2**31)) if seed is None else int(seed)
        if min(padding, cutout, self.seed) < 0:
            raise ValueError(
                f"ImageTransform: padding is {padding}, cutout is {cutout}, seed is {seed}: none may be below 0"
            )
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"ImageTransform: unknown padding_mode {padding_mode!r}; known: {', '.join(PADDING_MODES)}"
            )
        if flip not in (True, False, "alternate"):
            raise ValueError(f"ImageTransform: flip is {flip!r}; choose True, False or 'alternate'")
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.padding, self.padding_mode, self.flip, self.cutout = padding, padding_mode, flip, cutout
        self.calls = 0
        deviation = np.array(std, np.float64)
        self._affine = np.stack([1 / (255 * deviation), -np.array(mean, np.float64) / deviation]).astype(np.float32)

    def draw(self, indices: np.ndarray, epoch: int) -> np.ndarray:
        """The random numbers of the images at `indices` (n,) in an epoch: float64 (n, 5), from 0 to below 1, the third
        below a half where an image is mirrored.

        Nothing is remembered: the same question has the same answer.
        """
        if not len(indices) or not (self.padding or self.flip or self.cutout):
            return np.zeros((len(indices), DRAWS))
        draws = self._all_draws(int(indices.max()) + 1, epoch)[indices]
        if self.flip == "alternate":
            first = self._all_draws(int(indices.max()) + 1, 0)[indices, 2] if epoch else draws[:, 2]
            draws[:, 2] = np.where((first < 0.5) ^ bool(epoch % 2), 0, 0.5)
        return draws

    def _all_draws(self, count: int, epoch: int) -> np.ndarray:
        # [seed, 0] and [seed] give the same numbers, and the order of a loader with this seed may come from [seed].
        return np.random.default_rng([epoch + 1, self.seed]).random((count, DRAWS))

    def prepare(self, images: np.ndarray, indices: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """images[indices], transformed as the numbers that `draw` gave for them say: float32 (n, C, H, W), a new array.

        `images` may have any strides, as a view of a data set in a file has; only what is indexed is read.
        """
        moves = np.empty((len(indices), DRAWS), np.int64)
        moves[:, :2] = draws[:, :2] * (2 * self.padding + 1)
        moves[:, :2] -= self.padding
        moves[:, 2] = (draws[:, 2] < 0.5) & bool(self.flip)
        moves[:, 3:] = draws[:, 3:] * images.shape[2:]
        return dispatch.unwatched(
            ops.augment, images, indices, moves, self._affine, mode=self.padding_mode, cutout=self.cutout
        )

    def __call__(self, images: Any) -> np.ndarray:
        """All of (N, C, H, W), or the one of (C, H, W); each call counts as an epoch."""
        x = np.asarray(images)
        batch = x if x.ndim == 4 else x[None]
        indices, epoch = np.arange(len(batch)), self.calls
        self.calls += 1
        return self.prepare(batch, indices, self.draw(indices, epoch)).reshape(x.shape)

    def state_dict(self) -> dict[str, Any]:
        """What all its random numbers follow from; plain values."""
        return {"seed": self.seed, "calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the transform that `state` was taken from."""
        self.seed, self.calls = int(state["seed"]), int(state["calls"])
