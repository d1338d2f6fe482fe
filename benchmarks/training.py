"""Training steps: forward, cross-entropy, backward and SGD on one batch."""

from __future__ import annotations

from benchmarks.contest import Case, Contestant
from benchmarks.libraries import NUMPY, OURS, TORCH
from benchmarks.work import TrainingStep

GROUP = "training"
STEPS = (TrainingStep("mlp", 32), TrainingStep("mlp-mnist", 128), TrainingStep("cnn-cifar10", 128))

EAGER, TORCH_EAGER, NUMPY_EAGER = (Contestant(library, "eager") for library in (OURS, TORCH, NUMPY))
CAPTURED, FED = Contestant(OURS, "captured"), Contestant(OURS, "captured and fed")
OURS_ALL = (EAGER, CAPTURED)
IMAGES = "cnn-cifar10"  # the net whose batches are also made from bytes, each anew


def cases(threads: int, quick: bool) -> list[Case]:
    """What is compared with so many threads; NumPy would take seconds for the last one."""
    return [
        Case(GROUP, work, (*OURS_ALL, *((FED, TORCH_EAGER) if work.name == IMAGES else (TORCH_EAGER, NUMPY_EAGER))))
        for work in (STEPS[:2] if quick else STEPS)
    ]
