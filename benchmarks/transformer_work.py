"""Work of transformers, without saying by whom: a GPT's training step, its single tokens, whole texts, attention alone.

Weights and tokens follow from the numbers that a piece of work is, as in `work.py`. Left out: dropout.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.work import numbers

LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-3, (0.9, 0.99), 0.1  # of AdamW; nanoGPT's for Shakespeare on a CPU
EPS = 1e-5  # of layer norm
SPREAD = 0.1  # of what starts at 0 or 1: biases, beta and gamma

Pair = tuple[Any, Any]


class Block(NamedTuple):
    """Weights of one block, (in, out), each with its bias; norms have gamma and beta.

    Query, key and value lie side by side for one product: peers are quicker so, and nanoGPT has them so.
    """

    ln1: Pair
    qkv: Pair
    out: Pair
    ln2: Pair
    up: Pair
    down: Pair


@dataclass(frozen=True)
class Gpt:
    """Sizes of a GPT; the defaults are nanoGPT's for Shakespeare, character by character, on a CPU."""

    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    vocabulary: int = 65

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def weights(self) -> dict[str, np.ndarray]:
        """All parameters under our GPT's names, as large as keeps activations near 1."""
        c = self.width
        made: dict[str, np.ndarray] = {}

        def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> None:
            made[f"{name}.weight"] = numbers(inputs, outputs, seed=name) / np.float32(inputs**0.5)
            if bias:
                made[f"{name}.bias"] = numbers(outputs, seed=name) * np.float32(SPREAD)

        def norm(name: str) -> None:
            made[f"{name}.gamma"] = 1 + numbers(c, seed=f"{name}.gamma") * np.float32(SPREAD)
            made[f"{name}.beta"] = numbers(c, seed=f"{name}.beta") * np.float32(SPREAD)

        made["token_embedding.weight"] = numbers(self.vocabulary, c, seed="tokens")
        made["position_embedding.weight"] = numbers(self.context, c, seed="positions")
        for i in range(self.layers):
            norm(f"blocks.{i}.ln1")
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                linear(f"blocks.{i}.attention.{part}", c, c)
            norm(f"blocks.{i}.ln2")
            linear(f"blocks.{i}.mlp.linear1", c, 4 * c)
            linear(f"blocks.{i}.mlp.linear2", 4 * c, c)
        norm("ln_f")
        linear("lm_head", c, self.vocabulary, bias=False)
        return made

    def blocks(self) -> list[Block]:
        """The same parameters block by block."""
        made = self.weights()

        def joined(block: str, kind: str) -> np.ndarray:
            return np.concatenate([made[f"{block}.attention.{part}_proj.{kind}"] for part in "qkv"], -1)

        def pair(name: str, first: str = "weight", second: str = "bias") -> Pair:
            return made[f"{name}.{first}"], made[f"{name}.{second}"]

        return [
            Block(
                pair(f"{name}.ln1", "gamma", "beta"), (joined(name, "weight"), joined(name, "bias")),
                pair(f"{name}.attention.out_proj"), pair(f"{name}.ln2", "gamma", "beta"),
                pair(f"{name}.mlp.linear1"), pair(f"{name}.mlp.linear2"),
            )
            for name in (f"blocks.{i}" for i in range(self.layers))
        ]  # fmt: skip

    def tokens(self, *shape: int, seed: str = "text") -> np.ndarray:
        """Random ids, int64."""
        return np.random.default_rng(zlib.crc32(seed.encode())).integers(0, self.vocabulary, shape)

    @property
    def flops(self) -> int:
        """Of all linear layers for one token."""
        return 2 * (12 * self.layers * self.width**2 + self.width * self.vocabulary)

    def attention_flops(self, keys: float) -> float:
        """Of all layers' attention for one token that looks at so many keys."""
        return 4 * self.layers * self.width * keys


@dataclass(frozen=True)
class GptStep:
    """Forward, cross-entropy, backward and a step of AdamW, always on one batch of whole contexts."""

    net: Gpt
    batch: int

    @property
    def flops(self) -> int:
        """Backward is twice the linear layers' forward and, as scores are computed again, 5/2 of the attention's."""
        attention = self.net.attention_flops(self.net.context)
        return round(self.batch * self.net.context * (3 * self.net.flops + 3.5 * attention))

    def __str__(self) -> str:
        return f"GPT step, {self.batch} x {self.net.context} tokens"

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x (batch, context) and what follows each token, both int64."""
        text = self.net.tokens(self.batch, self.net.context + 1)
        return text[:, :-1].copy(), text[:, 1:].copy()


@dataclass(frozen=True)
class Token:
    """Logits of what follows one token of a text, keys and values of those before it being kept.

    Positions from `first` up to `end` are timed, then from `first` again. The cache may stay as it is: what lies behind
    a position is not looked at and is written anew.
    """

    net: Gpt
    first: int
    end: int

    @property
    def flops(self) -> int:
        """On average."""
        return round(self.net.flops + self.net.attention_flops((self.first + 1 + self.end) / 2))

    def __str__(self) -> str:
        return f"GPT token, at {self.first}..{self.end - 1}"

    def text(self) -> np.ndarray:
        """All tokens up to the last one, (end,)."""
        return self.net.tokens(self.end)


@dataclass(frozen=True)
class Text:
    """So many tokens after a first one, each the likeliest."""

    net: Gpt
    tokens: int

    def __str__(self) -> str:
        return f"GPT text of {self.tokens} tokens"

    def prompt(self) -> np.ndarray:
        return self.net.tokens(1)


@dataclass(frozen=True)
class Attention:
    """Causal attention of one sequence, and the gradients of q, k and v from that of the result."""

    heads: int
    tokens: int
    width: int = 64

    @property
    def flops(self) -> int:
        """All products in full, as is the custom, also where half of them need not be computed."""
        return 14 * self.heads * self.width * self.tokens**2

    def __str__(self) -> str:
        return f"attention, {self.tokens} tokens"

    def arrays(self) -> tuple[np.ndarray, ...]:
        """q, k, v and the result's gradient, (1, heads, tokens, width) seen in (1, tokens, heads, width)."""
        shape = (1, self.tokens, self.heads, self.width)
        return tuple(numbers(*shape, seed=name).transpose(0, 2, 1, 3) for name in "qkvg")


TransformerWork = GptStep | Token | Text | Attention
