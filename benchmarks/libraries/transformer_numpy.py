"""A GPT and attention in NumPy: this framework's reference ops, whose answers all others must equal."""

from __future__ import annotations

import numpy as np

from benchmarks.libraries import Made
from benchmarks.libraries.transformer_tensors import attending, stepping, translated, writing
from benchmarks.transformer_work import Attention, GptStep, Text, Token
from mlperf.answering import eagerly


def tokens_recomputed(work: Token, threads: int) -> Made:
    """All positions at once, without a cache: what reading token by token must come to."""
    model = translated(work.net)
    model.eval()

    def run(_: object) -> np.ndarray:
        return model(work.text()[None]).data[0, work.first :]

    def answer() -> np.ndarray:
        with eagerly("numpy"):
            return run(None)

    return Made(run, answer, around=lambda: eagerly("numpy"), per_run=work.end - work.first)


IMPLEMENTATIONS = {
    (GptStep, "eager"): stepping("numpy"),
    (Token, "recomputed"): tokens_recomputed,
    (Text, "eager, cache"): writing("numpy", cached=True),
    (Attention, "eager"): attending("numpy"),
}
