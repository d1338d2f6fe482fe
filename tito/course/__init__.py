"""The twenty modules of the course, a file each, numbered so that what a milestone needs comes before it."""

from __future__ import annotations

import importlib
from functools import cache

from tito.checks import Module

NAMES = (
    "setup", "tensor", "activations", "layers", "losses", "autograd", "optimizers", "training", "spatial",
    "tokenization", "embeddings", "attention", "transformers", "profiling", "quantization", "compression",
    "memoization", "acceleration", "benchmarking", "capstone",
)  # fmt: skip


class UnknownModule(ValueError):
    """A module that there is not; the text lists those there are."""


@cache
def module(number: int) -> Module:
    """The module of a number."""
    return importlib.import_module(f"tito.course.m{number:02}_{NAMES[number - 1]}").MODULE


def modules() -> tuple[Module, ...]:
    """All modules in their order."""
    return tuple(module(number) for number in range(1, len(NAMES) + 1))


def find(word: str) -> Module:
    """A module by its number, its name, or both: 2, 02, tensor, 02_tensor. Raises UnknownModule."""
    for number, name in enumerate(NAMES, 1):
        if word in (name, str(number), f"{number:02}", f"{number}_{name}", f"{number:02}_{name}"):
            return module(number)
    known = ", ".join(f"{number:02}_{name}" for number, name in enumerate(NAMES, 1))
    raise UnknownModule(f"unknown module {word[:40]!r}; known by number, name or both: {known}")
