"""Copies of images as lossy compression leaves them: a net that has learned from them minds it less.

A net that is trained on clean photographs alone misreads many of the same photographs after JPEG compression (Hendrycks
and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations").
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

QUALITY = 50, 95  # of the copies, as Pillow counts; 75 is what it writes unless told otherwise
AT_ONCE = 500  # images a piece of work


def compressed(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Each of images (N, 3, H, W), uint8 RGB, written as JPEG and read again, its quality drawn with `seed`.

    Colours are kept at half the resolution, as most programs do. ValueError for images that are not in colour.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"compressed: images are {images.shape} {images.dtype}: give uint8 (N, 3, H, W), in colour")
    lowest, highest = QUALITY
    qualities = np.random.default_rng(seed).integers(lowest, highest + 1, len(images))
    out = np.empty_like(images)

    def work(first: int) -> int:
        part = slice(first, first + AT_ONCE)
        for i, (image, quality) in enumerate(zip(images[part], qualities[part])):
            out[first + i] = through_jpeg(image, int(quality))
        return len(images[part])

    with ThreadPoolExecutor() as pool, tqdm(total=len(images), desc="compressed copies", unit="img") as bar:
        for done in pool.map(work, range(0, len(images), AT_ONCE)):
            bar.update(done)
    return out


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """One image (3, H, W), as JPEG of this quality keeps it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)
