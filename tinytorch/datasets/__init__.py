"""Data for the milestones: `load(name)` gives what is embedded; `mnist()`, `cifar10()`, `tinyshakespeare()` read files.

The files are placed by the user or downloaded; `python -m tinytorch.datasets` says where they are, and gets them.
"""

from collections.abc import Callable

from tinytorch.datasets.cifar import cifar10
from tinytorch.datasets.download import DataError, Published, fetch
from tinytorch.datasets.embedded import (
    PAD,
    REVERSAL_VOCABULARY,
    SEPARATOR,
    clusters,
    digits,
    digits_images,
    read_through,
    reversal,
    xor,
)
from tinytorch.datasets.idx import mnist
from tinytorch.datasets.images import Images
from tinytorch.datasets.split import SPLIT_SEED, Split, validation_split
from tinytorch.datasets.text import Text, all_windows, tinyshakespeare, windows

DATASETS: dict[str, Callable[[], Split]] = {
    "clusters": clusters,
    "xor": xor,
    "digits": digits,
    "digits-images": digits_images,
    "reversal": reversal,
}


def load(name: str) -> Split:
    """An embedded data set by name; ValueError lists the known ones."""
    if name not in DATASETS:
        raise ValueError(
            f"datasets.load: unknown data set {name!r}; known: {', '.join(DATASETS)}; "
            "published ones are read by datasets.mnist(), datasets.cifar10(), datasets.tinyshakespeare()"
        )
    return DATASETS[name]()


__all__ = [
    "DATASETS",
    "PAD",
    "REVERSAL_VOCABULARY",
    "SEPARATOR",
    "SPLIT_SEED",
    "DataError",
    "Images",
    "Published",
    "Split",
    "Text",
    "all_windows",
    "cifar10",
    "clusters",
    "digits",
    "digits_images",
    "fetch",
    "load",
    "mnist",
    "read_through",
    "reversal",
    "tinyshakespeare",
    "validation_split",
    "windows",
    "xor",
]  # fmt: skip
