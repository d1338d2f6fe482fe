"""Data that come with the installed packages or are drawn from a fixed seed: no network is needed."""

from __future__ import annotations

import sys

import numpy as np

from tinytorch.datasets.split import SPLIT_SEED, Split, shuffled

# Ids of `reversal`: letters a..z are 1..26.
PAD, SEPARATOR, REVERSAL_VOCABULARY = 0, 27, 28
LETTERS, SHORTEST, LONGEST = 26, 4, 16


def told(name: str) -> None:
    """Who listens to Python's audit events hears which set is made, as of other sets that their files are opened."""
    sys.audit("tinytorch.datasets", name)


def clusters(seed: int = 1957, n: int = 500, test_fraction: float = 0.4) -> Split:
    """Two round clusters in the plane, one class each; a line separates them but for a point or two."""
    told("clusters")
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    centres = np.array([[-1.5, -1.5], [1.5, 1.5]])
    x = centres[y] + rng.standard_normal((n, 2))
    return shuffled("clusters", x, y, rng, test_fraction)


def xor(seed: int = 1969, n: int = 500, noise: float = 0.1, test_fraction: float = 0.4) -> Split:
    """The corners of the unit square, blurred; the class is the exclusive or of the corner's coordinates."""
    told("xor")
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


def read_through(prompts: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prompts (N, T) and answers (N, U) as what is read, both but for the answer's last token, and what is written."""
    return np.concatenate([prompts, answers[:, :-1]], 1), answers


def reversal(seed: int = 2017, train: int = 20_000, test: int = 500) -> Split:
    """Strings of 4 to 16 letters and the same strings backwards, all different, each length as likely as any other.

    x (N, 17) int64 is the prompt: PAD up to the 16th place, where the string ends, then SEPARATOR. y (N, 16) int64 is
    the answer: the letters backwards, then PAD. So all prompts are of one length, and all answers too.
    """
    told("reversal")
    count = train + test
    if min(train, test) < 0 or count > LETTERS**SHORTEST:
        raise ValueError(
            f"reversal: train is {train}, test is {test}: choose from 0 to {LETTERS**SHORTEST:,} strings in all, as "
            f"many as there are of {SHORTEST} letters"
        )
    rng = np.random.default_rng(seed)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    strings = np.zeros((count, LONGEST), np.int64)
    seen: set[bytes] = set()
    for i, n in enumerate(lengths):
        while (key := (letters := rng.integers(1, LETTERS + 1, n)).tobytes()) in seen:
            pass  # drawn before: again
        seen.add(key)
        strings[i, LONGEST - n :] = letters
    x = np.concatenate([strings, np.full((count, 1), SEPARATOR)], 1)
    y = np.ascontiguousarray(strings[:, ::-1])
    return Split("reversal", x[test:], y[test:], x[:test], y[:test])
