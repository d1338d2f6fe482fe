"""How each library does the work; files of its own, loaded only in that library's own process.

Each file has `IMPLEMENTATIONS`: for a type of work and the name of a variant, a function `(work, threads) -> Made`. A
function raises `Unavailable` where the machine or the library cannot do it; the table then shows the reason.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

# The name in tables, the module that needs to be installed, the files here.
OURS, TORCH, ONNX, NUMPY = "tinytorch", "torch", "onnxruntime", "numpy"
FILES = {
    OURS: ("ours", "transformer_ours", "accuracy_ours"),
    TORCH: ("with_torch", "transformer_torch", "accuracy_torch"),
    ONNX: ("with_onnx", "transformer_onnx"),
    NUMPY: ("with_numpy", "transformer_numpy"),
}
NEEDED = {TORCH: ("torch",), ONNX: ("onnxruntime", "onnx")}
INSTALL = "pip install -e '.[peers]'"


class Unavailable(Exception):
    """This cannot be done here; the text says why."""


@dataclass(frozen=True)
class Made:
    """Work made ready: what is timed, what it is asked, and what it answers.

    `run` takes one element of `trace`; `answer` gives an array to compare, made before anything is timed; `around` is
    entered around each block of runs; `per_run` is how often a run does the work; `peak_bytes` measures how much memory
    a run holds at most beside what it is given; `tell` says what else is asked between runs.
    """

    run: Callable[[Any], Any]
    answer: Callable[[], np.ndarray]
    trace: Sequence[Any] = (None,)
    around: Callable[[], AbstractContextManager] = nullcontext
    per_run: int = 1
    peak_bytes: Callable[[], int] | None = None
    tell: Callable[[], Any] | None = None


def missing(libraries: Iterable[str] = FILES) -> list[str]:
    """Packages of these libraries that are not installed."""
    needed = [package for library in libraries for package in NEEDED.get(library, ())]
    return [package for package in needed if importlib.util.find_spec(package) is None]


def stacked(run: Callable[[Any], Any], queries: Sequence[Any]) -> np.ndarray:
    """The answers to all queries, one below the other."""
    return np.concatenate([np.array(run(query)) for query in queries])
