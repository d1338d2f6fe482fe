"""How the milestone networks are trained, as data: scripts, tasks and benchmarks read the same figures from here.

All were chosen on parts of the training data that were held out; the test part was looked at once they stood.
"""

from __future__ import annotations

from typing import NamedTuple


class Digits(NamedTuple):
    """Epochs of AdamW, its rate falling along a cosine, on smoothed labels."""

    epochs: int
    weight_decay: float
    max_lr: float = 0.01
    min_lr: float = 0.0001
    batch_size: int = 64
    smoothing: float = 0.1


class Language(NamedTuple):
    """Single steps of AdamW, whose rate grows and falls as a cosine, to a hundredth of max_lr."""

    steps: int
    batch_size: int
    max_lr: float
    warmup: int = 100
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)

    @property
    def min_lr(self) -> float:
        return 0.01 * self.max_lr


DIGITS = {"mlp": Digits(epochs=60, weight_decay=0.3), "cnn": Digits(epochs=30, weight_decay=0.1)}
LANGUAGE = {"transformer": Language(600, 64, 0.003), "gpt-shakespeare": Language(2000, 12, 0.003)}
