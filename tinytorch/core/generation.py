"""Writing text with a language model: choosing the next token, and the loop around it.

What computes the logits is a `Reader`: with a cache, without one, or compiled (`perf.decoding`). All of them give the
same tokens for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from tinytorch.core.attention import positions_of
from tinytorch.core.autograd import no_grad
from tinytorch.core.embeddings import as_ids
from tinytorch.core.tensor import Tensor

if TYPE_CHECKING:
    from tinytorch.core.transformer import GPT

__all__ = ["Cached", "Reader", "Recomputed", "Sampler", "generate", "padded", "stream"]


class Reader(Protocol):
    """Reads texts of a batch, token by token, and says what may follow."""

    @property
    def max_seq_len(self) -> int: ...

    def prefill(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Begin with texts (B, T), of which the first `lengths` (B,) tokens each count: logits (B, vocabulary)."""

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """One token more for each text, (B,): logits (B, vocabulary)."""


class Cached:
    """Computes every token once and keeps its keys and values."""

    def __init__(self, model: GPT) -> None:
        self.model, self.max_seq_len = model, model.max_seq_len
        self.cache = model.new_cache()

    def prefill(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        if self.cache.batch_size != len(tokens):
            self.cache = self.model.new_cache(len(tokens))
        self.cache.reset()
        return self.read(tokens, lengths)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        return self.read(tokens[:, None], np.ones(len(tokens), np.int64))

    def read(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """What lies behind a text's length is read too, and written over before anything looks at it."""
        positions, last = Tensor(self.cache.positions(tokens.shape[1])), Tensor(ends(tokens, lengths))
        with no_grad():
            logits = self.model.next_logits(Tensor(tokens), positions, last, self.cache.caches)
        self.cache.lengths += lengths
        return logits.data


class Recomputed:
    """Reads the whole texts anew for every token: what a cache saves, and what it is compared with."""

    def __init__(self, model: GPT) -> None:
        self.model, self.max_seq_len = model, model.max_seq_len
        self.texts: list[list[int]] = []

    def prefill(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        self.texts = [row[:n].tolist() for row, n in zip(tokens, lengths)]
        return self.read(tokens, lengths)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        for text, token in zip(self.texts, tokens.tolist()):
            text.append(token)
        return self.read(*padded(self.texts))

    def read(self, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        with no_grad():
            ids, last = Tensor(tokens), Tensor(ends(tokens, lengths))
            return self.model.next_logits(ids, positions_of(*tokens.shape), last).data


def padded(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Texts of any lengths as tokens (B, T) int64, filled up with 0 at their ends, and the lengths (B,)."""
    lengths = np.array([len(text) for text in texts], np.int64)
    tokens = np.zeros((len(texts), lengths.max()), np.int64)
    for row, text in zip(tokens, texts):
        row[: len(text)] = text
    return tokens, lengths


def ends(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The number of each text's last token, all tokens (B, T) counted row by row."""
    return np.arange(len(tokens)) * tokens.shape[1] + lengths - 1


class Sampler:
    """Chooses the next token of each text: at temperature 0 the likeliest, else from softmax(logits / temperature).

    `top_k`: among the k likeliest only. `top_p`: among the fewest that together have this probability (Holtzman et al.
    2020, section 3.1). Each text has a generator of its own, seeded by `seed` and its row: what it says does not depend
    on the others. Without a seed they follow NumPy's global generator.
    """

    def __init__(
        self, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, seed: int | None = None
    ) -> None:
        if not temperature >= 0 or temperature == float("inf"):
            raise ValueError(f"generate: temperature is {temperature}; choose 0 (the likeliest token) or above")
        if top_k is not None and top_k < 1:
            raise ValueError(f"generate: top_k is {top_k}; give at least 1, or None for all tokens")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"generate: top_p is {top_p}, it is a probability: choose it above 0 and up to 1")
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.seed = int(np.random.randint(2**31)) if seed is None else seed
        self.generators: list[np.random.Generator] = []

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """logits (B, vocabulary) -> ids (B,) int64."""
        if np.isnan(logits).any():
            raise ArithmeticError("generate: the model's logits are nan; look at its weights")
        if self.temperature == 0:
            return logits.argmax(1)
        while len(self.generators) < len(logits):
            self.generators.append(np.random.default_rng([self.seed, len(self.generators)]))
        sums = np.cumsum(self.probabilities(logits), 1)
        return np.array(
            [np.searchsorted(row, g.random() * row[-1], side="right") for row, g in zip(sums, self.generators)]
        )

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """What is drawn from: (B, vocabulary) float64, 0 for tokens left out."""
        scaled = logits.astype(np.float64)
        scaled = (scaled - scaled.max(1, keepdims=True)) / self.temperature
        if self.top_k is not None and self.top_k < scaled.shape[1]:
            least = np.partition(scaled, -self.top_k, 1)[:, -self.top_k, None]
            scaled[scaled < least] = -np.inf
        p = np.exp(scaled)
        p /= p.sum(1, keepdims=True)
        if self.top_p is not None:
            order = np.argsort(-p, 1, kind="stable")
            falling = np.take_along_axis(p, order, 1)
            enough = np.cumsum(falling, 1) - falling >= self.top_p  # those before have it already
            np.put_along_axis(p, order, np.where(enough, 0, falling), 1)
        return p


def stream(
    reader: Reader, texts: Sequence[Sequence[int]], count: int, choose: Callable[[np.ndarray], np.ndarray],
    window: int | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """The next `count` tokens of each text, (B,) at a time, as they are chosen from the logits.

    Where a text fills the reader, it goes on from its last `window` tokens. ValueError if none is given.
    """
    check(reader, texts, count, window)
    contexts = [list(text) for text in texts]

    def begin() -> np.ndarray:
        for context in contexts:
            if len(context) > reader.max_seq_len:
                del context[:-window]  # type: ignore[operator]  # checked: there is one
        return reader.prefill(*padded(contexts))

    logits = begin()
    for i in range(count):
        ids = choose(logits)
        yield ids
        if i + 1 < count:
            for context, token in zip(contexts, ids.tolist()):
                context.append(token)
            full = max(map(len, contexts)) > reader.max_seq_len
            logits = begin() if full else reader.decode(ids)


def check(reader: Reader, texts: Sequence[Sequence[int]], count: int, window: int | None) -> None:
    """ValueError for requests that make no sense or do not fit."""
    if count < 1:
        raise ValueError(f"generate: max_new_tokens is {count}; give at least 1")
    if not len(texts) or not all(len(text) for text in texts):
        raise ValueError("generate: the prompt is empty; give at least one token to go on from")
    if window is not None and not 1 <= window <= reader.max_seq_len:
        raise ValueError(
            f"generate: window is {window}; choose it from 1 to the model's {reader.max_seq_len} positions"
        )
    longest = max(map(len, texts))
    if window is None and longest + count - 1 > reader.max_seq_len:
        raise ValueError(
            f"generate: a prompt of {longest} tokens and {count} new ones need {longest + count - 1} positions, the "
            f"model has {reader.max_seq_len}; ask for fewer, or let it go on from the last tokens with window="
        )


class Prompt(NamedTuple):
    """A prompt as rows of ids, and how it came: one text or a batch of them, of equal lengths or not."""

    texts: list[np.ndarray]
    single: bool
    ragged: bool

    @classmethod
    def of(cls, prompt: Any) -> Prompt:
        """From a tensor, an array or lists of ids, (T,) or (B, T), or a list of lists of different lengths."""
        if isinstance(prompt, list | tuple) and prompt and all(hasattr(row, "__len__") for row in prompt):
            rows = [as_ids(row).data.astype(np.int64) for row in prompt]
            return cls(rows, False, len({len(row) for row in rows}) > 1)
        ids = as_ids(prompt).data.astype(np.int64)
        if ids.ndim not in (1, 2):
            raise ValueError(f"generate: the prompt is {ids.shape}: it must be (T,) or (batch, T)")
        return cls(list(np.atleast_2d(ids)), ids.ndim == 1, False)


def generate(
    reader: Reader, prompt: Any, max_new_tokens: int = 50, *, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, seed: int | None = None, window: int | None = None,
) -> Any:  # fmt: skip
    """The prompt with `max_new_tokens` ids behind it, chosen as `Sampler` says, as an integer tensor.

    `prompt` is (T,) or (B, T) and the answer of the same kind; for a list of prompts of different lengths it is a list
    of tensors. Prompt and new tokens, but for the last, must fit the model's positions; with `window`, a text that
    does not fit goes on from its last `window` tokens.
    """
    choose = Sampler(temperature, top_k, top_p, seed)
    asked = Prompt.of(prompt)
    new = np.stack(list(stream(reader, [row.tolist() for row in asked.texts], max_new_tokens, choose, window)), 1)
    whole = [Tensor(np.concatenate(pair)) for pair in zip(asked.texts, new)]
    if asked.ragged:
        return whole
    return whole[0] if asked.single else Tensor(np.stack([text.data for text in whole]))
