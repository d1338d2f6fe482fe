"""A GPT's steps, tokens and texts, and attention alone, op by op with this framework's tensors on either backend."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from benchmarks.libraries import Made
from benchmarks.libraries.training import stepper
from benchmarks.transformer_work import BETAS, LEARNING_RATE, WEIGHT_DECAY, Attention, Gpt, GptStep, Text
from mlperf.answering import eagerly
from tinytorch import AdamW, Tensor
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import apply
from tinytorch.core.transformer import GPT
from tinytorch.engine import ops
from tinytorch.engine.dispatch import use_backend

Around = Callable[[], AbstractContextManager]


def translated(net: Gpt) -> GPT:
    """Our GPT of these sizes with these weights."""
    model = GPT(net.vocabulary, net.width, net.layers, net.heads, net.context)
    model.load_state_dict(net.weights())
    return model


def adam(model: Layer) -> AdamW:
    """With the settings that all libraries use."""
    return AdamW(model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY)


def stepping(backend: str) -> Callable[[GptStep, int], Made]:
    """A training step as a loop in Python does it."""

    def implementation(work: GptStep, threads: int) -> Made:
        model = translated(work.net)
        return stepper(model, adam(model), work.data(), lambda: use_backend(backend))

    return implementation


def writing(backend: str, cached: bool) -> Callable[[Text, int], Made]:
    """Whole texts, reading again all that was written for every token, or with a cache."""

    def implementation(work: Text, threads: int) -> Made:
        model = translated(work.net)
        model.eval()

        def run(_: object) -> Any:
            return model.generate(work.prompt(), work.tokens, temperature=0, use_cache=cached)

        return generated(run, lambda: eagerly(backend))

    return implementation


def generated(run: Callable[[object], Tensor], around: Around) -> Made:
    """The answer are the ids."""

    def answer() -> np.ndarray:
        with around():
            return run(None).data

    return Made(run, answer, around=around)


def attending(backend: str) -> Callable[[Attention, int], Made]:
    """With a tape, forward and back; memory as NumPy's arrays are counted, the kernels' scratch among them."""

    def implementation(work: Attention, threads: int) -> Made:
        *given, g = work.arrays()
        q, k, v = (Tensor(a, requires_grad=True) for a in given)

        def run(_: object) -> list[Any]:
            q.grad = k.grad = v.grad = None
            out = apply(ops.attention, q, k, v, causal=True, scale=work.width**-0.5)
            out.backward(g)
            return [out.data, q.grad, k.grad, v.grad]

        def answer() -> np.ndarray:
            with use_backend(backend):
                return np.concatenate(run(None))

        return Made(run, answer, around=lambda: use_backend(backend), peak_bytes=lambda: allocated(run))

    return implementation


def allocated(run: Callable[[Any], Any]) -> int:
    """The most bytes that arrays and objects made by a run hold at any moment of it."""
    tracemalloc.start()
    try:
        run(None)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
