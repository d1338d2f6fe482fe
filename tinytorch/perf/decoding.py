"""Compiled text generation: a plan that reads a prompt and one that reads a single token, over one cache.

Reading many tokens at once (prefill) is bound by arithmetic, reading one (decode) by memory and by every microsecond of
Python, so each is captured for itself (Pope et al. 2022, section 2). The cache is the state of both.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from tinytorch.core import generation
from tinytorch.core.attention import Past, positions_of
from tinytorch.core.autograd import no_grad
from tinytorch.core.generation import ends
from tinytorch.core.tensor import Tensor
from tinytorch.core.transformer import GPT
from tinytorch.engine import dispatch
from tinytorch.engine.stateful import StatefulPlan, capture_stateful

__all__ = ["Decoder"]


class Decoder:
    """A GPT captured for generating `batch` texts at once with up to `threads` threads; put into evaluation mode.

    `prefill(tokens)` begins, `decode(tokens)` goes on, both give the logits of what follows; `generate` does as the
    model's. Plans are captured when first wanted: one for single tokens, and for prompts one for each power of two,
    which shorter prompts fill up. Weights quantised to int8 are computed on integers.
    """

    def __init__(self, model: GPT, batch: int = 1, threads: int = 1) -> None:
        if batch < 1:
            raise ValueError(f"Decoder: batch is {batch}; give at least 1")
        model.eval()
        self.model, self.batch, self.threads = model, batch, threads
        self.max_seq_len = model.max_seq_len
        self.cache = model.new_cache(batch)
        self._prefill_plans: dict[int, StatefulPlan] = {}
        self._longest = 0  # tokens that the longest text has

    def prefill(self, tokens: Any, lengths: np.ndarray | None = None) -> np.ndarray:
        """Begin with texts (B, T), of which the first `lengths` (B,) tokens count: logits (B, vocab_size)."""
        tokens = self.checked(tokens, 2)
        lengths = np.full(self.batch, tokens.shape[1], np.int64) if lengths is None else lengths
        if lengths.shape != (self.batch,) or lengths.min() < 1 or lengths.max() > tokens.shape[1]:
            raise ValueError(
                f"Decoder: lengths are {lengths.tolist()}: there must be {self.batch}, each from 1 to the "
                f"{tokens.shape[1]} tokens given"
            )
        if not tokens.shape[1] <= self.max_seq_len:
            raise ValueError(
                f"Decoder: a prompt of {tokens.shape[1]} tokens does not fit the {self.max_seq_len} positions of the "
                "model; cut it"
            )
        width = min(1 << (tokens.shape[1] - 1).bit_length(), self.max_seq_len)
        whole = np.zeros((self.batch, width), np.int64)
        whole[:, : tokens.shape[1]] = tokens
        plan = self.prefill_plan(width)
        self.reset()
        logits = plan(whole, ends(whole, lengths))
        self.cache.lengths += lengths
        self._longest = int(lengths.max())
        return logits

    def decode(self, tokens: Any) -> np.ndarray:
        """One token more for each text, (B,): logits (B, vocab_size). ValueError where the positions are used up."""
        tokens = self.checked(tokens, 1)
        if self._longest >= self.max_seq_len:
            self.cache.positions(1)  # which says what is wrong
        logits = self.decode_plan(tokens[:, None])
        self.cache.lengths += 1
        self._longest += 1
        return logits

    def reset(self) -> None:
        """Forget the texts. What the cache holds is written over before it is read."""
        self.cache.lengths[...] = self._longest = 0

    def rewind(self, count: int) -> None:
        """Go back to the first `count` tokens of each text; ValueError where one has fewer."""
        shortest = int(self.cache.lengths.min())
        if not 0 <= count <= shortest:
            raise ValueError(
                f"Decoder: it cannot go back to {count} tokens: choose from 0 to the {shortest} of the shortest text"
            )
        self.cache.lengths[...] = self._longest = count

    def generate(
        self, prompt: Any, max_new_tokens: int = 50, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, window: int | None = None,
    ) -> Any:  # fmt: skip
        """The prompt and `max_new_tokens` more, as `GPT.generate`."""
        return generation.generate(
            self, prompt, max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, window=window
        )

    @cached_property
    def decode_plan(self) -> StatefulPlan:
        """tokens (B, 1) -> logits; where they stand is part of the state, and moves on with `cache.lengths`."""
        middle = np.full((self.batch, 1), self.max_seq_len // 2)
        return self.captured(1, [], middle, np.arange(self.batch), [middle], [self.cache.lengths.reshape(-1, 1)])

    def prefill_plan(self, width: int) -> StatefulPlan:
        """tokens (B, width) and the numbers of the last that count -> logits; they begin at position 0."""
        if width not in self._prefill_plans:
            positions, last = positions_of(self.batch, width).data, np.arange(1, self.batch + 1) * width - 1
            self._prefill_plans[width] = self.captured(width, [last], positions, last, [], [])
        return self._prefill_plans[width]

    def captured(
        self, count: int, inputs: list[np.ndarray], positions: np.ndarray, last: np.ndarray,
        example: list[np.ndarray], places: list[np.ndarray],
    ) -> StatefulPlan:  # fmt: skip
        """Captured on a cache full of noise, in which anything read at a wrong place would show.

        `inputs` come behind the tokens; the state is `example` while capturing, `places` afterwards, and the cache.
        """
        rng = np.random.default_rng(count)
        tokens = rng.integers(0, self.model.vocab_size, (self.batch, count))
        state = [tensor.data for layer in self.cache.caches for tensor in layer]
        noise = [rng.standard_normal(a.shape).astype(np.float32) for a in state]
        caches = [Past(Tensor(keys), Tensor(values)) for keys, values in zip(noise[::2], noise[1::2])]

        def run() -> np.ndarray:
            with no_grad(), dispatch.scope(self.model):  # so that layers have their names within it
                return self.model.next_logits(Tensor(tokens), Tensor(positions), Tensor(last), caches).data

        plan = capture_stateful(run, [tokens, *inputs], [*example, *noise], self.threads)
        plan.bind([*places, *state])
        return plan

    def checked(self, tokens: Any, ndim: int) -> np.ndarray:
        """Tokens as int64 of this batch; ValueError for another shape."""
        tokens = np.asarray(tokens.data if isinstance(tokens, Tensor) else tokens, np.int64)
        if tokens.ndim != ndim or len(tokens) != self.batch or not tokens.size:
            wanted = f"({self.batch}, positions)" if ndim == 2 else f"({self.batch},)"
            raise ValueError(
                f"Decoder: tokens are {tokens.shape}: they must be {wanted}; make a decoder for this batch"
            )
        return tokens

    def __str__(self) -> str:
        """The steps of reading a single token."""
        return str(self.decode_plan)
