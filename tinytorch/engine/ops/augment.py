"""Batches of training images from a data set of bytes. Random numbers come in as an array, drawn elsewhere."""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size
from tinytorch.engine.ops.index import check_ids

__all__ = ["augment"]

MODES = ("zeros", "reflect")


class Augment(Op):
    """images (N, C, H, W) uint8, indices (n,), draws (n, 5), affine (2, C) -> (n, C, H, W) in the dtype of affine.

    draws = down, right, mirrored, row, column: of each image at `indices` the window of its own size is taken that lies
    so far down and to the right, mirrored left to right or not; values become affine[0] value + affine[1]; and in the
    square of side `cutout` around (row, column), clipped at the borders, they become 0. Outside the image are zeros,
    which are normalised like any value, or with mode "reflect" its reflections, as of `np.pad`.
    """

    gradient = None

    def shape(self, images: Shaped, indices: Shaped, draws: Shaped, affine: Shaped, mode: str, cutout: int) -> Spec:
        if len(images.shape) != 4 or images.dtype != np.uint8:
            raise TypeError(
                f"augment: images are {images.shape} {images.dtype}: they must be (N, C, H, W) uint8; keep the bytes "
                "of the data set, they are normalised here"
            )
        n, c = indices.shape[:1], images.shape[1]
        if len(indices.shape) != 1 or draws.shape != (*n, 5) or affine.shape != (2, c):
            raise ValueError(
                f"augment: indices are {indices.shape}, draws are {draws.shape}, affine is {affine.shape}: they must "
                f"be (n,), (n, 5) and (2, {c}), for images {images.shape}"
            )
        if mode not in MODES:
            raise ValueError(f"augment: unknown mode {mode!r}; known: {', '.join(MODES)}")
        return Spec((*n, *images.shape[1:]), affine.dtype)

    def check(
        self, images: np.ndarray, indices: np.ndarray, draws: np.ndarray, affine: np.ndarray, mode: str, cutout: int
    ) -> None:
        check_ids("augment", indices, len(images), "number of images")

    def reference(
        self, images: np.ndarray, indices: np.ndarray, draws: np.ndarray, affine: np.ndarray, mode: str, cutout: int
    ) -> np.ndarray:
        scale, shift = affine[:, :, None, None]
        x, (h, w) = images[indices], images.shape[2:]
        if not x.size:
            return x * scale + shift
        pad = [(0, 0), (0, 0), *[(reach, reach) for reach in np.abs(draws[:, :2]).max(0)]]
        x = np.pad(x, pad, "reflect") if mode == "reflect" else np.pad(x, pad)
        down, right, mirrored, row, column = draws.T[:, :, None]
        across = np.where(mirrored, np.arange(w)[::-1], np.arange(w))
        rows, columns = pad[2][0] + down + np.arange(h), pad[3][0] + right + across
        moved = x.transpose(0, 2, 3, 1)[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]
        y = np.ascontiguousarray(moved.transpose(0, 3, 1, 2)).astype(affine.dtype) * scale + shift
        inside = [
            (first <= np.arange(n)) & (np.arange(n) < first + cutout)
            for first, n in ((row - cutout // 2, h), (column - cutout // 2, w))
        ]
        y[np.broadcast_to((inside[0][:, :, None] & inside[1][:, None, :])[:, None], y.shape)] = 0
        return y

    def flops(self, out: Shaped, *_: Shaped, **__: object) -> int:
        return 2 * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape, n, mode, cutout in (
            ((9, 3, 8, 7), 6, "zeros", 0), ((9, 3, 8, 7), 6, "reflect", 3), ((5, 1, 3, 18), 4, "zeros", 2),
            ((5, 2, 1, 1), 3, "reflect", 0), ((5, 2, 4, 4), 0, "zeros", 0),
        ):  # fmt: skip
            moves = rng.integers(-4, 5, (n, 2)), rng.integers(0, 2, (n, 1)), rng.integers(0, shape[2:], (n, 2))
            images, indices = rng.integers(0, 256, shape).astype(np.uint8), rng.integers(0, shape[0], n)
            draws = np.concatenate(moves, 1)
            yield Sample((images, indices, draws, normal(rng, 2, shape[1])), {"mode": mode, "cutout": cutout})


augment = Augment()
