"""The transformer as GPT has it: blocks of attention and MLP around a stream of residuals, normalised before each.

Vaswani et al. 2017; decoder only and pre-norm as in Radford et al. 2019. How text is generated is in `generation.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tinytorch.core import generation
from tinytorch.core.activations import GELU
from tinytorch.core.attention import MultiHeadAttention, Past, positions_of, rotary_table
from tinytorch.core.autograd import no_grad
from tinytorch.core.embeddings import Embedding, as_ids, create_sinusoidal_embeddings
from tinytorch.core.kv_cache import KVCache
from tinytorch.core.layers import Dropout, Layer, Linear
from tinytorch.core.tensor import Tensor, apply
from tinytorch.engine import ops

__all__ = ["GPT", "MLP", "LayerNorm", "TransformerBlock"]

Positions = Literal["learned", "sinusoidal", "rotary"]
KNOWN_POSITIONS = ("learned", "sinusoidal", "rotary")
Start = Literal["gpt2", "pytorch"]
KNOWN_STARTS = ("gpt2", "pytorch")


def alias(name: str) -> property:
    """Another name for an attribute."""
    return property(lambda self: getattr(self, name), lambda self, value: setattr(self, name, value))


class LayerNorm(Layer):
    """gamma (x - mean) / sqrt(var + eps) + beta over the last axes, which `normalized_shape` gives. Ba et al. 2016."""

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps = shape, float(eps)
        self.gamma = Tensor(np.ones(shape, np.float32), requires_grad=True)
        self.beta = Tensor(np.zeros(shape, np.float32), requires_grad=True)

    weight, bias = alias("gamma"), alias("beta")

    def forward(self, x: Tensor) -> Tensor:
        axes = len(self.normalized_shape)
        if x.shape[x.ndim - axes :] != self.normalized_shape:
            raise ValueError(
                f"LayerNorm: x is {x.shape}, it normalises {self.normalized_shape}: the last axes must agree; build it "
                "for this width"
            )
        if axes == 1:
            return apply(ops.layer_norm, x, self.gamma, self.beta, eps=self.eps)
        flat = x.reshape(*x.shape[: x.ndim - axes], -1)
        return apply(ops.layer_norm, flat, self.gamma.flatten(), self.beta.flatten(), eps=self.eps).reshape(*x.shape)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class MLP(Layer):
    """linear, GELU, linear, dropout: x (..., embed_dim) -> (..., embed_dim), `hidden_dim` (four times that) between."""

    def __init__(self, embed_dim: int, hidden_dim: int | None = None, dropout_prob: float = 0.1) -> None:
        hidden_dim = 4 * embed_dim if hidden_dim is None else hidden_dim
        self.linear1, self.gelu = Linear(embed_dim, hidden_dim), GELU()
        self.linear2, self.dropout = Linear(hidden_dim, embed_dim), Dropout(dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.gelu(self.linear1(x))))


class TransformerBlock(Layer):
    """x + attention(ln1(x)), then x + mlp(ln2(x)), with dropout of what is added: x (B, T, embed_dim) -> the same."""

    def __init__(
        self, embed_dim: int, num_heads: int, mlp_ratio: float = 4, dropout_prob: float = 0.1, causal: bool = False,
        rotary: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.ln1, self.attention = LayerNorm(embed_dim), MultiHeadAttention(embed_dim, num_heads, causal, rotary)
        self.ln2, self.mlp = LayerNorm(embed_dim), MLP(embed_dim, int(embed_dim * mlp_ratio), dropout_prob)
        self.dropout = Dropout(dropout_prob)

    def forward(
        self, x: Tensor, mask: Any = None, positions: Tensor | None = None, past: Past | None = None
    ) -> Tensor:  # fmt: skip
        """`mask`, `positions` and `past` are the attention's."""
        x = x + self.dropout(self.attention(self.ln1(x), mask, positions=positions, past=past))
        return x + self.mlp(self.ln2(x))


class GPT(Layer):
    """Token ids (B, T) -> logits of the token that follows each, (B, T, vocab_size); T up to max_seq_len.

    `positions`: "learned" (an embedding, GPT-2), "sinusoidal" (fixed, Vaswani et al. 2017) or "rotary" (queries and
    keys are turned, Su et al. 2021).

    `start` says how weights are drawn. "gpt2": normal with a standard deviation of 0.02, smaller by sqrt(2 layers)
    where a sum leads back to the residuals; biases at zero (Radford et al. 2019, section 2.3). "pytorch": linear layers
    as they draw their own, uniform in +-1/sqrt(in_features), and embeddings N(0, 1). At GPT-2's width of 768 these
    linear layers start alike; narrower ones start wider, and learn faster.
    """

    def __init__(
        self, vocab_size: int, embed_dim: int, num_layers: int, num_heads: int, max_seq_len: int = 1024, *,
        dropout: float = 0.0, positions: Positions = "learned", start: Start = "gpt2",
    ) -> None:  # fmt: skip
        if start not in KNOWN_STARTS:
            raise ValueError(f"GPT: unknown start {start!r}; known: {', '.join(KNOWN_STARTS)}")
        if positions not in KNOWN_POSITIONS:
            raise ValueError(f"GPT: unknown positions {positions!r}; known: {', '.join(KNOWN_POSITIONS)}")
        self.vocab_size, self.embed_dim, self.num_layers = vocab_size, embed_dim, num_layers
        self.num_heads, self.max_seq_len, self.positions = num_heads, max_seq_len, positions
        self.token_embedding = Embedding(vocab_size, embed_dim)
        self.position_embedding = Embedding(max_seq_len, embed_dim) if positions == "learned" else None
        self.waves = create_sinusoidal_embeddings(max_seq_len, embed_dim).data if positions == "sinusoidal" else None
        turns = rotary_table(max_seq_len, embed_dim // num_heads) if positions == "rotary" else None
        self.dropout = Dropout(dropout)
        self.blocks = [
            TransformerBlock(embed_dim, num_heads, dropout_prob=dropout, causal=True, rotary=turns)
            for _ in range(num_layers)
        ]
        self.ln_f, self.lm_head = LayerNorm(embed_dim), Linear(embed_dim, vocab_size, bias=False)
        if start == "gpt2":
            self.draw_as_gpt2()
        else:
            for embedding in (layer for layer in self.modules() if isinstance(layer, Embedding)):
                embedding.weight.data[...] = np.random.normal(0, 1, embedding.weight.shape)

    def draw_as_gpt2(self) -> None:
        """Draw all weights anew, from NumPy's global generator."""
        to_residuals = {id(p) for b in self.blocks for p in (b.attention.out_proj.weight, b.mlp.linear2.weight)}
        for layer in self.modules():
            if isinstance(layer, Linear | Embedding):
                std = 0.02 / math.sqrt(2 * self.num_layers) if id(layer.weight) in to_residuals else 0.02
                layer.weight.data[...] = np.random.normal(0, std, layer.weight.shape)
            if isinstance(layer, Linear) and layer.bias is not None:
                layer.bias.data[...] = 0

    def forward(self, tokens: Any, cache: KVCache | None = None) -> Tensor:
        """With a cache the tokens follow those it holds, are added to it, and nothing is recorded for gradients."""
        tokens = as_ids(tokens)
        if tokens.ndim != 2 or not tokens.size:
            raise ValueError(f"GPT: tokens are {tokens.shape}: they must be (batch, positions), with at least one each")
        batch, count = tokens.shape
        if cache is None:
            if count > self.max_seq_len:
                raise ValueError(
                    f"GPT: {count} tokens are given, the model has positions for {self.max_seq_len}; cut the text or "
                    "build it with a larger max_seq_len"
                )
            return self.lm_head(self.hidden(tokens, positions_of(batch, count)))
        with no_grad():
            logits = self.lm_head(self.hidden(tokens, Tensor(cache.positions(count)), cache.caches))
        cache.advance(count)
        return logits

    def hidden(self, tokens: Tensor, positions: Tensor, caches: Sequence[Past] | None = None) -> Tensor:
        """What the blocks make of tokens (B, T) at their positions (B, T): (B, T, embed_dim), normalised."""
        x = self.embedded(tokens, positions)
        for i, block in enumerate(self.blocks):
            x = block(x, positions=positions, past=None if caches is None else caches[i])
        return self.ln_f(x)

    def embedded(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """What the first block is given: (B, T, embed_dim)."""
        x = self.token_embedding(tokens)
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        elif self.waves is not None:
            x = x + apply(ops.embedding, Tensor(self.waves), positions)
        return self.dropout(x)

    def next_logits(
        self, tokens: Tensor, positions: Tensor, last: Tensor, caches: Sequence[Past] | None = None
    ) -> Tensor:
        """Logits (B, vocab_size) of what follows the tokens number `last` (B,), all of them counted row by row."""
        x = self.hidden(tokens, positions, caches).reshape(tokens.size, self.embed_dim)
        return self.lm_head(apply(ops.embedding, x, last))

    def attention_maps(self, tokens: Any) -> list[np.ndarray]:
        """For each layer, how much each position looks at each other one: (B, heads, T, T)."""
        maps, tokens = [], as_ids(tokens)
        with no_grad():
            x = self.embedded(tokens, positions_of(*tokens.shape))
            for block in self.blocks:
                maps.append(block.attention.weights(block.ln1(x)).data)
                x = block(x)
        return maps

    def new_cache(self, batch_size: int = 1) -> KVCache:
        """An empty cache for `batch_size` texts."""
        head_dim = self.embed_dim // self.num_heads
        return KVCache(batch_size, self.max_seq_len, self.num_layers, self.num_heads, head_dim)

    def generate(
        self, prompt: Any, max_new_tokens: int = 50, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int | None = None, use_cache: bool = True, window: int | None = None,
    ) -> Any:  # fmt: skip
        """The prompt and `max_new_tokens` more. See `generation.generate`; `use_cache=False` computes all anew."""
        reader = generation.Cached(self) if use_cache else generation.Recomputed(self)
        return generation.generate(
            reader, prompt, max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, window=window
        )
