"""What can be profiled by name: the networks of the milestones, with a batch like theirs; and the milestones' scripts.

Left out: real data and trained weights. What is measured here does not depend on their values.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.core.losses import BinaryCrossEntropyLoss, CrossEntropyLoss
from tinytorch.core.tensor import Tensor
from tinytorch.models import MODELS

MILESTONES = Path(__file__).parents[1] / "milestones"


class Known(NamedTuple):
    """A network by name: how it is built, the shape of one example, and how many classes or tokens there are.

    `tokens` tells that examples are texts of that many ids; every place then has a target.
    """

    build: Callable[[], Layer]
    shape: tuple[int, ...]
    classes: int
    tokens: bool = False

    @property
    def loss(self) -> Callable[..., Tensor]:
        return BinaryCrossEntropyLoss() if self.classes == 1 else CrossEntropyLoss()

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """`size` examples drawn from a fixed seed, float32 or int64, with targets as the loss wants them."""
        rng = np.random.default_rng(0)
        shape = (size, *self.shape)
        if self.tokens:
            return rng.integers(1, self.classes, shape), rng.integers(1, self.classes, shape)
        x = rng.standard_normal(shape, np.float32)
        if self.classes == 1:
            return x, rng.integers(0, 2, (size, 1)).astype(np.float32)
        return x, rng.integers(0, self.classes, size)


SHAPES = {
    "perceptron": ((2,), 1, False),
    "xor": ((2,), 1, False),
    "mlp": ((64,), 10, False),
    "cnn": ((1, 8, 8), 10, False),
    "transformer": ((17,), 28, True),
    "gpt-shakespeare": ((64,), 66, True),
    "mlp-mnist": ((784,), 10, False),
    "cnn-cifar10": ((3, 32, 32), 10, False),
}
KNOWN = {name: Known(build, *SHAPES[name]) for name, build in MODELS.items()}


def milestones() -> dict[int, Path]:
    """The script of each milestone of this checkout by its number; of two the one that needs no download."""
    found: dict[int, Path] = {}
    for folder in sorted(MILESTONES.glob("[0-9][0-9]_*")):
        scripts = sorted(folder.glob("*.py"))
        if scripts:
            found[int(folder.name[:2])] = scripts[0]
    return found


def meant(name: str) -> Known | Path:
    """A network, a milestone's script, or any other script. ValueError that lists what is known."""
    if name in KNOWN:
        return KNOWN[name]
    if name.isdigit() and int(name) in milestones():
        return milestones()[int(name)]
    if Path(name).is_file():
        return Path(name)
    raise ValueError(
        f"unknown model {name!r}; known: {', '.join(KNOWN)}; milestones: {', '.join(map(str, milestones()))}; or the "
        "path of a script"
    )
