"""Augmentation of images that are kept as bytes: random windows, mirroring and cutout, and normalising, in one pass.

Left out: the transforms of single steps on arrays of any kind (`dataloader.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tinytorch.engine import dispatch, ops

PADDING_MODES = ("zeros", "reflect")


class ImageTransform:
    """uint8 images (N, C, H, W) -> float32 of the same shape: (x / 255 - mean) / std for each channel, and augmented.

    `padding`: a window of the image's size is taken from the image with so many pixels more on each side, at a random
    place. They are black ("zeros": bytes of 0, which are then normalised like any other, as where a crop comes before
    the normalisation in a list of transforms) or the image's reflection ("reflect", as `np.pad`).
    `flip`: True mirrors a random half of the images left to right; "alternate" a random half in the first epoch, and
    from then on each image in every second epoch (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds", section 3.6).
    `cutout`: a square of that side, its centre anywhere in the image, becomes 0 after normalising, which is the mean
    colour (DeVries and Taylor 2017, section 3.2); what lies beyond the border is lost.

    What happens to image i of a data set in an epoch depends on the seed, i and the number of the epoch alone: not on
    the order of the images, nor on who asks first. Without a seed, NumPy's global generator chooses one.
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
                "every std above 0"
            )
        if padding < 0 or cutout < 0:
            raise ValueError(f"ImageTransform: padding is {padding}, cutout is {cutout}; both must be at least 0")
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"ImageTransform: unknown padding_mode {padding_mode!r}; known: {', '.join(PADDING_MODES)}"
            )
        if flip not in (True, False, "alternate"):
            raise ValueError(f"ImageTransform: flip is {flip!r}; choose True, False or 'alternate'")
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        self.padding, self.padding_mode, self.flip, self.cutout = padding, padding_mode, flip, cutout
        self.seed = int(np.random.randint(2**31)) if seed is None else seed
        self.calls = 0
        deviation = np.array(std, np.float64)
        self._affine = np.stack([1 / (255 * deviation), -np.array(mean, np.float64) / deviation]).astype(np.float32)

    def draw(self, indices: np.ndarray, epoch: int, size: tuple[int, int]) -> np.ndarray:
        """What happens to the images at `indices` (n,), of `size` (H, W), in an epoch: (n, 5) int64, see `ops.augment`.

        Nothing is remembered: the same question has the same answer.
        """
        draws = np.zeros((len(indices), 5), np.int64)
        if not len(indices) or not (self.padding or self.flip or self.cutout):
            return draws
        uniform = np.random.default_rng((self.seed, epoch)).random((int(indices.max()) + 1, 5))[indices]
        draws[:, :2] = uniform[:, :2] * (2 * self.padding + 1)
        draws[:, :2] -= self.padding
        if self.flip == "alternate":
            first = np.random.default_rng(self.seed).random(int(indices.max()) + 1)[indices] < 0.5
            draws[:, 2] = first ^ bool(epoch % 2)
        elif self.flip:
            draws[:, 2] = uniform[:, 2] < 0.5
        draws[:, 3:] = uniform[:, 3:] * size
        return draws

    def prepare(self, images: np.ndarray, indices: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The batch images[indices] with what `draw` gave for it: float32 (n, C, H, W), a new array."""
        return dispatch.unwatched(
            ops.augment, images, indices, draws, self._affine, mode=self.padding_mode, cutout=self.cutout
        )

    def __call__(self, images: Any) -> np.ndarray:
        """All of these images; each call counts as an epoch of its own."""
        x = np.asarray(images)
        indices = np.arange(len(x))
        draws = self.draw(indices, self.calls, x.shape[2:])
        self.calls += 1
        return self.prepare(x, indices, draws)

    def state_dict(self) -> dict[str, Any]:
        """All that its random numbers follow from; plain values."""
        return {"seed": self.seed, "calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as the transform that `state` was taken from."""
        self.seed, self.calls = int(state["seed"]), int(state["calls"])
