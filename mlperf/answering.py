"""What a query is, and how a model answers it in each form: by one forward pass, or by a text written on greedily.

Forms: "eager" is op by op on compiled kernels; "prepared" has made once whatever never changes, which for a text is
what it has read (the cache of keys and values); "plan" is captured as a whole. The yard-stick is eager on NumPy, and
reads its whole text again for every token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import ClassVar, Literal, Protocol

import numpy as np

from mlperf.harness import Arm, Query
from tinytorch.core.augmentation import ImageTransform
from tinytorch.core.autograd import no_grad
from tinytorch.core.generation import Cached, Reader, Recomputed, stream
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor
from tinytorch.core.transformer import GPT
from tinytorch.datasets import Images
from tinytorch.engine.dispatch import use_backend
from tinytorch.perf.acceleration import accelerate
from tinytorch.perf.decoding import Decoder
from tinytorch.perf.memoization import prepare

Form = Literal["eager", "prepared", "plan"]
TOGETHER = 64  # texts that are written side by side where only the answers count


@contextmanager
def eagerly(backend: str) -> Iterator[None]:
    """Inside, models run op by op on this backend and record nothing."""
    with use_backend(backend), no_grad():
        yield


def eager(model: Layer) -> Query:
    """`model.predict` without its `no_grad`, which `eagerly` enters once a block: the reference pays nothing extra."""
    return lambda x: model(Tensor(x)).data


class Answering(Protocol):
    """How a task's queries are made and answered. `output_tokens`: the length of an answer, if it is a text.

    `kept` and `captured` say in a few words what "prepared" and "plan" are here.
    """

    @property
    def output_tokens(self) -> int | None: ...
    @property
    def kept(self) -> str: ...
    @property
    def captured(self) -> str: ...

    def queries(self, x: np.ndarray) -> list[np.ndarray]:
        """Samples (N, ...) as N queries (1, ...), each an array of its own."""

    def reference(self, model: Layer) -> Arm:
        """The yard-stick."""

    def candidate(self, model: Layer, form: Form, example: np.ndarray, threads: int) -> Arm:
        """A model executed in this form for queries of the example's shape, by up to `threads` threads."""

    def uncached(self, model: Layer) -> Arm | None:
        """A model that keeps nothing between the tokens of an answer, on compiled kernels; None where there is none."""

    def observable(self, model: Layer, form: Form) -> Query:
        """A query whose every op passes the seam, with the FLOPs that this form computes."""


@dataclass(frozen=True)
class OnePass:
    """A query is one forward pass over a sample."""

    output_tokens: ClassVar[int | None] = None
    kept: ClassVar[str] = "weights packed, tables and memory laid out, steps one by one"
    captured: ClassVar[str] = "one plan: fused steps in one compiled call"

    def queries(self, x: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(sample[None]) for sample in x]

    def reference(self, model: Layer) -> Arm:
        return Arm(eager(model), partial(eagerly, "numpy"))

    def candidate(self, model: Layer, form: Form, example: np.ndarray, threads: int) -> Arm:
        if form == "eager":
            return Arm(eager(model), partial(eagerly, "numba"))
        return Arm((prepare if form == "prepared" else accelerate)(model, example, threads))

    def uncached(self, model: Layer) -> Arm | None:
        return None

    def observable(self, model: Layer, form: Form) -> Query:
        return eager(model)


ONE_PASS = OnePass()


@dataclass(frozen=True)
class Picture(OnePass):
    """A query is one forward pass over an image, kept in bytes: `mean` and `std` of each channel normalise it first.

    They belong to the reference, which was trained with them, whatever the data at hand would give. `flat`: the network
    reads rows of pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flat: bool = False

    def read(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (N, C, H, W) as float32 (N, C, H, W), or (N, C*H*W)."""
        x = ImageTransform(self.mean, self.std, seed=0)(images)
        return x.reshape(len(x), -1) if self.flat else x

    def lessons(self, images: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the network reads, and the classes."""
        return self.read(images), y

    def training(self, x: np.ndarray, y: np.ndarray) -> Images:
        """Images and their classes as a data set that is only trained on."""
        return Images("training part", x, y, x[:0], y[:0], (), self.mean, self.std, source="")

    def queries(self, x: np.ndarray) -> list[np.ndarray]:
        return super().queries(self.read(x))


@dataclass(frozen=True)
class Writing:
    """A query is a prompt, the first `prompt_tokens` of a sample, its answer `output_tokens` tokens written greedily.

    The length is the harness's: no token ends an answer, and of an answer that ends early -1 stands for the rest.
    """

    prompt_tokens: int
    output_tokens: int
    captured: ClassVar[str] = "two plans, for the prompt and for a token, over one KV cache"

    @property
    def kept(self) -> str:
        lengths = range(self.prompt_tokens, self.prompt_tokens + self.output_tokens)
        return f"KV cache, op by op: a query reads {lengths[-1]:,} positions instead of {sum(lengths):,}"

    def queries(self, x: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(sample[None, : self.prompt_tokens]) for sample in x]

    def reference(self, model: Layer) -> Arm:
        return self.arm(Recomputed(gpt(model)), eager(model), partial(eagerly, "numpy"), TOGETHER)

    def candidate(self, model: Layer, form: Form, example: np.ndarray, threads: int) -> Arm:
        if form == "eager":
            return self.uncached(model)
        if form == "prepared":
            cached = Cached(gpt(model))
            return self.arm(cached, partial(stepwise, cached), partial(eagerly, "numba"), TOGETHER)
        decoder = Decoder(gpt(model), threads=threads)
        return self.arm(decoder, partial(one_by_one, decoder))

    def uncached(self, model: Layer) -> Arm:
        return self.arm(Recomputed(gpt(model)), eager(model), partial(eagerly, "numba"), TOGETHER)

    def observable(self, model: Layer, form: Form) -> Query:
        reader = Recomputed(gpt(model)) if form == "eager" else Cached(gpt(model))
        return self.arm(reader, eager(model)).run

    def arm(
        self, reader: Reader, forced: Query, around: Callable[[], AbstractContextManager] = nullcontext,
        at_once: int = 1,
    ) -> Arm:  # fmt: skip
        def tokens(prompt: np.ndarray) -> Iterator[np.ndarray]:
            return stream(reader, prompt.tolist(), self.output_tokens, likeliest)

        return Arm(partial(written, tokens, self.output_tokens), around, tokens, forced, at_once)


def gpt(model: Layer) -> GPT:
    """The model as one that writes; TypeError for another."""
    if not isinstance(model, GPT):
        raise TypeError(f"answering: {type(model).__name__} writes no text; a task that asks for one needs a GPT")
    return model


def likeliest(logits: np.ndarray) -> np.ndarray:
    """Logits (N, classes) -> classes (N,) int64."""
    return logits.argmax(1)


def written(tokens: Callable[[np.ndarray], Iterator[np.ndarray]], count: int, prompt: np.ndarray) -> np.ndarray:
    """The first `count` tokens of the answers to prompts (B, T): (B, count) int64, -1 where they ended before."""
    answer = np.full((len(prompt), count), -1, np.int64)
    for i, token in enumerate(islice(tokens(prompt), count)):
        answer[:, i] = token
    return answer


def stepwise(reader: Reader, texts: np.ndarray) -> np.ndarray:
    """The logits (N, T, V) at every position of texts (N, T), which are read a token at a time as when written."""
    logits = [reader.prefill(texts[:, :1], np.ones(len(texts), np.int64)), *map(reader.decode, texts.T[1:])]
    return np.stack(logits, 1)


def one_by_one(reader: Reader, texts: np.ndarray) -> np.ndarray:
    """`stepwise` for a reader of a single text."""
    return np.concatenate([stepwise(reader, text[None]) for text in texts])
