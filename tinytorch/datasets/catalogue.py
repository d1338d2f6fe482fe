"""The published data sets by name: their files, and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tinytorch.datasets import cifar, idx, text
from tinytorch.datasets.download import Published


class Entry(NamedTuple):
    """A published data set: its files, and the function that reads them, `read(root)`."""

    files: tuple[Published, ...]
    read: Callable[..., Any]


PUBLISHED = {
    "mnist": Entry(idx.FILES, idx.mnist),
    "cifar10": Entry((cifar.ARCHIVE,), cifar.cifar10),
    "tinyshakespeare": Entry((text.SHAKESPEARE,), text.tinyshakespeare),
}
