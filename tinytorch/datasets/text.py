"""Texts for language models: tiny Shakespeare, and the windows of ids that a model learns from.

Left out: turning text into ids (`core.tokenization`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinytorch.datasets.download import DataError, Published, fetch

TRAINING_PERCENT = 90  # as in nanoGPT; what follows is for validation
SHAKESPEARE = Published(
    "tinyshakespeare/input.txt",
    (
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "https://storage.googleapis.com/download.tensorflow.org/data/shakespeare.txt",
    ),
    1_115_394,
    "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
INSTEAD = "without it, `--quick` of the milestone runs the embedded task `reversal`"


class Text(NamedTuple):
    """A text in two parts, one behind the other, and the digest of its file."""

    name: str
    train: str
    validation: str
    sha256: str


def tinyshakespeare(root: str | os.PathLike | None = None) -> Text:
    """1.1 MB from Shakespeare's plays (Karpathy 2015), the first 90 % of its characters for training.

    `fetch` says where the file is looked for. DataError where it is not to be had or is not the published one.
    """
    (found,) = fetch("tinyshakespeare", (SHAKESPEARE,), root, instead=INSTEAD)
    return read_text("tinyshakespeare", found.path)


def read_text(name: str, path: str | os.PathLike) -> Text:
    """A UTF-8 file as a text in two parts. DataError for other files."""
    content = Path(path).read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: {path} is not UTF-8: byte {content[error.start]:#04x} at position {error.start}; convert it"
        ) from None
    cut = len(text) * TRAINING_PERCENT // 100
    return Text(name, text[:cut], text[cut:], hashlib.sha256(content).hexdigest())


def windows(
    ids: np.ndarray | Sequence[int], context: int, batch: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """x, y (batch, context) int64: windows of `ids` at random places, and the same a place further on.

    Let `ids` be an array: a list is converted in each call, which takes longer than all the rest.
    """
    ids = checked("windows", ids, context)
    starts = rng.integers(0, len(ids) - context, batch)
    places = starts[:, None] + np.arange(context)
    return ids[places], ids[places + 1]


def all_windows(ids: np.ndarray | Sequence[int], context: int) -> tuple[np.ndarray, np.ndarray]:
    """x, y (n, context) int64: all of `ids` in windows side by side, and the same a place further on.

    The last window is left out unless it is full, so up to `context` - 1 targets at the end are not counted.
    """
    ids = checked("all_windows", ids, context)
    whole = (len(ids) - 1) // context * context
    return ids[:whole].reshape(-1, context), ids[1 : whole + 1].reshape(-1, context)


def checked(name: str, ids: np.ndarray | Sequence[int], context: int) -> np.ndarray:
    """Ids as an int64 array (N,) that has at least one window and its targets."""
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name}: ids are {array.shape} {array.dtype}: they must be a row of integers; encode a text")
    if context < 1 or len(array) <= context:
        raise ValueError(
            f"{name}: context is {context}, there are {len(array)} ids: a window needs one more than its context, "
            "which is 1 at least; give more text or choose a shorter context"
        )
    return array.astype(np.int64, copy=False)
