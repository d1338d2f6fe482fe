"""A model as a contestant: how it travels to a worker as files, and how it is rebuilt there.

A candidate is its weights file plus one word, its form (`answering.py`). Rebuilding needs nothing else: what is
measured can be replayed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numba.core import event

from kernels.threads import set_num_threads
from mlperf import tasks
from mlperf.answering import Form
from mlperf.shuffling import FEW, shuffle_file, turn_round
from mlperf.worker import Pair
from profiler.cost import parameters
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.perf.folding import fold_batch_norm
from tinytorch.perf.quantization import weights_only


class Compilations(event.Listener):
    """Counts the functions that Numba compiles in this process, by one pass that each goes through once."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, event: event.Event) -> None:
        self.count += event.data is not None and event.data.get("name") == "nopython_type_inference"

    def on_end(self, event: event.Event) -> None:
        pass


def rebuilt(task: tasks.Task, path: str) -> Layer:
    """The candidate whose weights are in a file: the task's network, without the batch norms that the file lacks, since
    quantisation folds them into the weights before them.
    """
    model, (entries, _) = task.build(), weights.read(path)
    if not any(name in entries for name, _ in model.named_buffers()):
        model = fold_batch_norm(model)
    weights.load(model, path, resize=True)
    return model


def shuffled(task: tasks.Task, candidate: str, seed: int) -> Layer:
    """`rebuilt`, with the same values at other places; of few weights, which may answer well by luck, with the answers
    turned round.
    """
    if parameters(task.build()) < FEW:
        model = rebuilt(task, candidate)
        turn_round(model)
        return model
    with tempfile.TemporaryDirectory(prefix="mlperf-") as folder:
        changed = Path(folder, "shuffled.safetensors")
        shuffle_file(Path(candidate), changed, seed)
        return rebuilt(task, str(changed))


def pair(
    task: str, candidate: str, candidate_sha256: str, form: Form, samples: str, threads: int, candidate_threads: int
) -> Pair:
    """Factory for `worker.py`: the task's reference and the candidate in a file, asked the samples (x, y) in another.

    What a cache leaves as it is, is seen with float32 arithmetic on the candidate's weights: where inputs are rounded
    to a grid, a last bit that differs can become a whole step and decide between two tokens that are nearly as likely.
    Both may use `threads`; the candidate takes `candidate_threads` of them, with which it was quickest. Raises
    ValueError if the candidate's file is not the one that the parent wrote.
    """
    if weights.sha256(candidate) != candidate_sha256:
        raise ValueError(f"candidate {Path(candidate).name}: the file changed after it was written")
    compilations = Compilations()
    event.register("numba:run_pass", compilations)
    chosen = tasks.find(task)
    answering = chosen.answering
    model = rebuilt(chosen, candidate)
    with np.load(samples) as file:
        x, y = file["x"], file["y"]
    asked = answering.queries(x)
    opt = answering.candidate(model, form, asked[0], candidate_threads)
    exact = weights_only(model)
    uncached = answering.uncached(exact)
    caching = None if uncached is None else (answering.candidate(exact, form, asked[0], candidate_threads), uncached)
    set_num_threads(threads, blas=threads)  # building the candidate left BLAS with one, but the reference may use all
    return Pair(
        ref=answering.reference(chosen.reference()),
        opt=opt,
        samples=asked,
        told=lambda arm, progress: chosen.metric.told(arm, asked, x, y, progress),
        compiled=lambda: compilations.count,
        output_tokens=answering.output_tokens,
        caching=caching,
        shuffled=lambda seed: answering.candidate(shuffled(chosen, candidate, seed), form, asked[0], candidate_threads),
    )
