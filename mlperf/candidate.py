"""A model as a contestant: how it is executed, how it travels to a worker as files, and how it is rebuilt there.

A candidate is its weights file plus one word, its form: "eager" (op by op on compiled kernels), "prepared" (all that
never changes made once, steps called one by one) or "plan" (captured as a whole). Rebuilding needs nothing else: what
is measured can be replayed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numba.core import event

from kernels.threads import set_num_threads
from mlperf import tasks
from mlperf.harness import Arm
from mlperf.worker import Pair
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.perf.acceleration import accelerate
from tinytorch.perf.memoization import prepare

Form = Literal["eager", "prepared", "plan"]


def reference_arm(model: Layer) -> Arm:
    """The yard-stick: eager, NumPy backend."""
    return Arm(tasks.eager(model), partial(tasks.eagerly, "numpy"))


def candidate_arm(model: Layer, form: Form, example: np.ndarray, threads: int) -> Arm:
    """A model executed in this form for queries of the example's shape, by up to `threads` threads."""
    if form == "eager":
        return Arm(tasks.eager(model), partial(tasks.eagerly, "numba"))
    return Arm((prepare if form == "prepared" else accelerate)(model, example, threads))


def queries(x: np.ndarray) -> list[np.ndarray]:
    """Samples (N, ...) as N queries (1, ...), each an array of its own."""
    return [np.ascontiguousarray(sample[None]) for sample in x]


class Compilations(event.Listener):
    """Counts the functions that Numba compiles in this process, by one pass that each goes through once."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, event: event.Event) -> None:
        self.count += event.data is not None and event.data.get("name") == "nopython_type_inference"

    def on_end(self, event: event.Event) -> None:
        pass


def pair(
    task: str, candidate: str, candidate_sha256: str, form: Form, samples: str, threads: int, candidate_threads: int
) -> Pair:
    """Factory for `worker.py`: the task's reference and the candidate in a file, asked the samples in another.

    Both may use `threads`; the candidate takes `candidate_threads` of them, with which it was quickest. Raises
    ValueError if the candidate's file is not the one that the parent wrote.
    """
    if weights.sha256(candidate) != candidate_sha256:
        raise ValueError(f"candidate {Path(candidate).name}: the file changed after it was written")
    compilations = Compilations()
    event.register("numba:run_pass", compilations)
    chosen = tasks.find(task)
    model = chosen.build()
    weights.load(model, candidate, resize=True)
    asked = queries(np.load(samples))
    candidate_run = candidate_arm(model, form, asked[0], candidate_threads)
    set_num_threads(threads, blas=threads)  # building the candidate left BLAS with one, but the reference may use all
    return Pair(
        ref=reference_arm(chosen.reference()),
        opt=candidate_run,
        samples=asked,
        labels=chosen.labels,
        compiled=lambda: compilations.count,
    )
