"""A GPT and attention in this framework's kernels: eager, as a captured training step, and as a compiled decoder."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

import tinytorch
from benchmarks.libraries import Made, stacked
from benchmarks.libraries.training import losses
from benchmarks.libraries.transformer_tensors import adam, attending, generated, stepping, translated, writing
from benchmarks.transformer_work import Attention, Gpt, GptStep, Query, Text, Token
from mlperf.answering import eagerly
from tinytorch import CrossEntropyLoss
from tinytorch.core.transformer import GPT
from tinytorch.perf.decoding import Decoder
from tinytorch.perf.quantization import quantize

CALIBRATED = 16  # contexts to measure the ranges of activations with


def step_captured(work: GptStep, threads: int) -> Made:
    model, (x, y) = translated(work.net), work.data()
    step = tinytorch.compile_step(model, adam(model), CrossEntropyLoss(), x, y, threads)

    def run(_: object) -> Any:
        return step(x, y)

    return Made(run, lambda: losses(run, nullcontext))


def quantised(net: Gpt) -> Any:
    """int8 weights and activations, on grids measured with tokens that no answer is asked for."""
    return quantize(translated(net), net.tokens(CALIBRATED, net.context, seed="calibration"))


def token_eager(work: Token, threads: int) -> Made:
    model, text = translated(work.net).eval(), work.text()
    cache = model.new_cache()

    def run(query: Query) -> np.ndarray:
        cache.lengths[...] = query.position
        return model(np.array([[query.token]]), cache).data[0]

    def answer() -> np.ndarray:
        with eagerly("numba"):
            model(text[None, : work.first], cache)
            return stacked(run, work.queries())

    return Made(run, answer, work.queries(), lambda: eagerly("numba"))


def token_compiled(work: Token, threads: int) -> Made:
    return decoded(work, translated(work.net), threads)


def token_int8(work: Token, threads: int) -> Made:
    return decoded(work, quantised(work.net), threads)


def decoded(work: Token, model: GPT, threads: int) -> Made:
    """With plans: one reads what lies before, the other is timed."""
    decoder, text = Decoder(model, threads=threads), work.text()
    token = np.zeros(1, np.int64)

    def run(query: Query) -> np.ndarray:
        token[0], decoder.cache.lengths[...] = query
        return decoder.decode(token)

    def answer() -> np.ndarray:
        decoder.prefill(text[None, : work.first])
        return stacked(run, work.queries())

    return Made(run, answer, work.queries())


def text_compiled(work: Text, threads: int) -> Made:
    decoder = Decoder(translated(work.net), threads=threads)
    return generated(lambda _: decoder.generate(work.prompt(), work.tokens, temperature=0), nullcontext)


IMPLEMENTATIONS = {
    (GptStep, "eager"): stepping("numba"),
    (GptStep, "captured"): step_captured,
    (Token, "eager"): token_eager,
    (Token, "decoder"): token_compiled,
    (Token, "int8 decoder"): token_int8,
    (Text, "recomputed"): writing("numba", cached=False),
    (Text, "cached"): writing("numba", cached=True),
    (Text, "decoder"): text_compiled,
    (Attention, "eager"): attending("numba"),
}
