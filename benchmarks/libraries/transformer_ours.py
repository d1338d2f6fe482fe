"""A GPT and attention in this framework's kernels: eager, as a captured training step, and as a compiled decoder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

import tinytorch
from benchmarks.libraries import Made, stacked
from benchmarks.libraries.training import losses
from benchmarks.libraries.transformer_tensors import adam, attending, generated, stepping, translated, writing
from benchmarks.transformer_work import Attention, Gpt, GptStep, Text, Token
from mlperf.answering import eagerly
from tinytorch import CrossEntropyLoss
from tinytorch.core.generation import generate
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
    model, text = translated(work.net), work.text()
    model.eval()
    cache = model.new_cache()

    def run(i: int) -> np.ndarray:
        cache.lengths[...] = i
        return model(text[None, i : i + 1], cache).data[0]

    def answer() -> np.ndarray:
        with eagerly("numba"):
            model(text[None, : work.first], cache)
            return stacked(run, range(work.first, work.end))

    return Made(run, answer, range(work.first, work.end), lambda: eagerly("numba"))


def token_compiled(work: Token, threads: int) -> Made:
    return decoded(work, translated(work.net), threads)


def token_int8(work: Token, threads: int) -> Made:
    return decoded(work, quantised(work.net), threads)


def decoded(work: Token, model: GPT, threads: int) -> Made:
    """With plans: one reads what lies before, the other is timed."""
    decoder, text = Decoder(model, threads=threads), work.text()

    def run(i: int) -> np.ndarray:
        if i == work.first:
            decoder.rewind(i)
        return decoder.decode(text[i : i + 1])

    def answer() -> np.ndarray:
        decoder.prefill(text[None, : work.first])
        return stacked(run, range(work.first, work.end))

    return Made(run, answer, range(work.first, work.end))


class Rereading:
    """A reader with plans and without their cache: each token costs the plan for the whole text so far."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder, self.max_seq_len = decoder, decoder.max_seq_len
        self.text = np.zeros((1, 0), np.int64)

    def prefill(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        self.text = tokens
        return self.decoder.prefill(tokens)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        self.text = np.concatenate([self.text, tokens[:, None]], 1)
        return self.decoder.prefill(self.text)


def text_compiled(cached: bool) -> Callable[[Text, int], Made]:
    def implementation(work: Text, threads: int) -> Made:
        decoder = Decoder(translated(work.net), threads=threads)
        reader = decoder if cached else Rereading(decoder)
        return generated(lambda _: generate(reader, work.prompt(), work.tokens, temperature=0), nullcontext)

    return implementation


IMPLEMENTATIONS = {
    (GptStep, "eager"): stepping("numba"),
    (GptStep, "captured"): step_captured,
    (Token, "eager"): token_eager,
    (Token, "decoder"): token_compiled,
    (Token, "int8 decoder"): token_int8,
    (Text, "eager, no cache"): writing("numba", cached=False),
    (Text, "eager, cache"): writing("numba", cached=True),
    (Text, "compiled, no cache"): text_compiled(cached=False),
    (Text, "compiled, cache"): text_compiled(cached=True),
    (Attention, "eager"): attending("numba"),
}
