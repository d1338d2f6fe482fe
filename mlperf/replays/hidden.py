"""Test data that no submitter can have seen: drawn with a secret seed, or withheld and given as a file.

Points and strings are drawn anew from the source of the task's own data. Of pictures there are no more, so those of
the test part are shown as nobody has seen them: each turned and moved by another small amount, and with noise. A text
is cut at other places. Both arms answer the same, so what is harder for both is no fault of the candidate.

Sampling noise: on n hidden samples the candidate may, by luck, answer fewer rightly than the gate asks for. With b
answers right by the reference alone and c by the candidate alone, their difference has the standard deviation
sqrt(b + c) (as in McNemar's test); a deficit of up to three of those is no proof of anything and passes. For a loss it
is the standard deviation of the mean difference over the texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from leaderboard import Quality
from mlperf.tasks import Task
from tinytorch import datasets
from tinytorch.datasets import DataError, Split

SIGMAS = 3  # a false alarm in about 1 of 700 honest candidates that are exactly as good as the gate asks
MOST = 2000  # samples: more take time and tell little more
LARGEST_TURN, LARGEST_SHIFT, NOISE = 5.0, 0.02, 0.02  # degrees; share of the side; share of the range of brightness


class Hidden(NamedTuple):
    """Hidden samples, in the form of the task's test part; `source` says in a few words where they are from."""

    x: np.ndarray
    y: np.ndarray
    source: str


Draw = Callable[[Task, np.random.Generator], Hidden]


def drawn(task: Task, secret: bytes) -> Hidden:
    """Hidden samples of a task, which follow from the secret alone."""
    return DRAWS.get(task.dataset, deformed)(task, np.random.default_rng(np.frombuffer(secret, "<u4")))


def withheld(task: Task, path: Path) -> Hidden:
    """Hidden samples from a file: `np.savez(path, x=..., y=...)`, in the form of the test part. DataError else."""
    data = task.data
    try:
        with np.load(path, allow_pickle=False) as file:
            x, y = file["x"], file["y"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"--hidden {path}: cannot be read: {error}; np.savez(path, x=..., y=...) makes one") from None
    for name, found, known in (("x", x, data.x_test), ("y", y, data.y_test)):
        if found.dtype != known.dtype or found.shape[1:] != known.shape[1:] or not 0 < len(found) == len(x):
            raise DataError(
                f"--hidden {path}: {name} is {found.shape} {found.dtype}; {task.name} needs (N, "
                f"{', '.join(map(str, known.shape[1:]))}) {known.dtype}, as many in x as in y".replace("(N, )", "(N,)")
            )
    return Hidden(x, y, f"withheld data, {len(x)} samples")


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32, 2**62))  # beyond those that tasks use


def points(make: Callable[..., Split]) -> Draw:
    """New points in the plane."""

    def draw(task: Task, rng: np.random.Generator) -> Hidden:
        new = make(_seed(rng), n=MOST, test_fraction=1.0)
        return Hidden(new.x_test, new.y_test, f"{MOST} points drawn anew")

    return draw


def strings(task: Task, rng: np.random.Generator) -> Hidden:
    """New strings, none of them among the task's own."""
    assert task.fresh is not None
    new = task.fresh(_seed(rng))
    return Hidden(new.x_test, new.y_test, f"{len(new.x_test)} strings drawn anew")


def cuts(task: Task, rng: np.random.Generator) -> Hidden:
    """The test text in windows that begin elsewhere: each query is another, at another place."""
    data, context = task.data, task.data.x_test.shape[1]
    text = np.append(data.x_test.ravel(), data.y_test.ravel()[-1])
    first = int(rng.integers(1, context))
    x, y = datasets.all_windows(text[first:], context)
    some = np.sort(rng.permutation(len(x))[:MOST])
    return Hidden(x[some], y[some], f"{len(some)} windows of the test text, cut {first} characters further on")


def deformed(task: Task, rng: np.random.Generator) -> Hidden:
    """Test pictures, each turned and moved by another small amount, and with noise. Keeps dtype and range."""
    x, y = task.data.x_test, task.data.y_test
    some = rng.permutation(len(x))[:MOST]
    flat = x[some].reshape(len(some), -1)
    side = math.isqrt(flat.shape[1] // channels(x))
    pictures = flat.reshape(len(some), channels(x), side, side).astype(np.float64)
    low, high = (0.0, 255.0) if x.dtype == np.uint8 else (float(x.min()), float(x.max()))
    moved = np.stack([_moved(picture, rng, low) for picture in pictures])
    moved += NOISE * (high - low) * rng.standard_normal(moved.shape)
    moved = np.clip(moved, low, high)
    new = np.rint(moved).astype(np.uint8) if x.dtype == np.uint8 else moved.astype(x.dtype)
    return Hidden(new.reshape(x[some].shape), y[some], f"{len(some)} test pictures turned, moved and with noise")


def channels(x: np.ndarray) -> int:
    """Of pictures (N, C, H, W), or (N, H*W) in rows."""
    return x.shape[1] if x.ndim == 4 else 1


def _moved(picture: np.ndarray, rng: np.random.Generator, outside: float) -> np.ndarray:
    """A picture (C, H, W) turned around its middle and shifted, by linear interpolation."""
    from scipy.ndimage import affine_transform

    angle = math.radians(rng.uniform(-LARGEST_TURN, LARGEST_TURN))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (np.array(picture.shape[1:]) - 1) / 2
    shift = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 2) * picture.shape[1]
    offset = middle - turn @ middle + shift
    return np.stack([affine_transform(one, turn, offset, order=1, cval=outside) for one in picture])


DRAWS: dict[str, Draw] = {
    "clusters": points(datasets.clusters),
    "xor": points(datasets.xor),
    "reversal": strings,
    "tinyshakespeare": cuts,
}


class Deficit(NamedTuple):
    """How far below the gate a candidate is on hidden data, and how far luck alone may bring it; both in answers, or in
    the metric's unit for a loss.
    """

    below: float
    by_luck: float

    @property
    def is_proof(self) -> bool:
        return self.below > SIGMAS * self.by_luck


def deficit(quality: Quality, ref: np.ndarray, opt: np.ndarray, percent: int) -> Deficit:
    """How a candidate stands to the gate of `percent` of the reference, from what both told of hidden data."""
    if quality.opt_correct is None or quality.ref_correct is None:
        excess = opt - (200 - percent) / 100 * ref
        return Deficit(float(excess.mean()), float(excess.std(ddof=1)) / math.sqrt(len(excess)))
    below = percent / 100 * quality.ref_correct - quality.opt_correct
    return Deficit(below, math.sqrt((quality.ref_only or 0) + (quality.opt_only or 0)))
