"""Attention: every position asks all others how much they matter to it. Vaswani et al. 2017, section 3.2.

`scaled_dot_product_attention` is the formula with its weights in sight, made of small ops. `MultiHeadAttention` uses
one fused op instead, which never holds the matrix of weights, unless it is given a mask of the caller's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinytorch.core.activations import Softmax
from tinytorch.core.layers import Layer, Linear
from tinytorch.core.tensor import Tensor, apply, as_tensor
from tinytorch.engine import ops

__all__ = ["MultiHeadAttention", "Past", "create_causal_mask", "rotary_table", "scaled_dot_product_attention"]

MASKED = -1e9  # the score of a pair that is masked: its weight becomes 0, and a row of nothing else stays finite


def create_causal_mask(seq_len: int) -> Tensor:
    """(1, T, T) of 1 where a position may look, at itself and before, and 0 at what comes later."""
    if seq_len < 1:
        raise ValueError(f"create_causal_mask: seq_len is {seq_len}; give at least 1")
    return Tensor(np.tril(np.ones((1, seq_len, seq_len), np.float32)))


def scaled_dot_product_attention(Q: Tensor, K: Tensor, V: Tensor, mask: Any = None) -> tuple[Tensor, Tensor]:
    """Q (..., T, D), K and V (..., S, D) -> output (..., T, D) and weights softmax(Q K^T / sqrt(D)), (..., T, S).

    `mask` broadcasts to the weights; pairs where it is 0 get none. A row that is masked throughout weighs all alike.
    """
    scores = (Q @ K.transpose()) * (Q.shape[-1] ** -0.5)
    if mask is not None:
        keep = as_tensor(mask).data.astype(bool)
        check_mask(keep.shape, scores.shape)
        scores = apply(ops.where, Tensor(keep), scores, Tensor(np.asarray(MASKED, scores.dtype), dtype=scores.dtype))
    weights = Softmax()(scores)
    return weights @ V, weights


def check_mask(mask: tuple[int, ...], scores: tuple[int, ...]) -> None:
    """ValueError unless a mask of this shape broadcasts to scores of that one."""
    try:
        fits = np.broadcast_shapes(mask, scores) == scores
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"attention: the mask is {mask}, the weights are {scores}: sizes must agree or be 1; a causal mask of T "
            "positions is create_causal_mask(T)"
        )


def rotary_table(max_seq_len: int, head_dim: int, base: float = 10_000.0) -> np.ndarray:
    """(max_seq_len, head_dim) float32: cosines of all angles of a position, then their sines. Su et al. 2021, 3.4.2."""
    if head_dim % 2:
        raise ValueError(f"rotary_table: head_dim is {head_dim}: pairs are turned, so it must be even; use other heads")
    frequencies = base ** (-np.arange(0, head_dim, 2) / head_dim)
    angles = np.arange(max_seq_len)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


class Past(NamedTuple):
    """Where one layer keeps the keys and values of what it has seen: (batch, heads, capacity, head width) each."""

    keys: Tensor
    values: Tensor


class MultiHeadAttention(Layer):
    """Attention in `num_heads` subspaces at once: x (B, T, embed_dim) -> (B, T, embed_dim).

    `causal`: no position sees a later one. `rotary` is a table from `rotary_table`: queries and keys are turned by
    their positions. Raises ValueError where embed_dim is no multiple of num_heads.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, causal: bool = False, rotary: np.ndarray | None = None
    ) -> None:  # fmt: skip
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiHeadAttention: embed_dim {embed_dim} does not split into {num_heads} heads; choose a number of "
                "heads that divides it"
            )
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.causal, self.rotary = causal, rotary
        self.q_proj, self.k_proj = Linear(embed_dim, embed_dim), Linear(embed_dim, embed_dim)
        self.v_proj, self.out_proj = Linear(embed_dim, embed_dim), Linear(embed_dim, embed_dim)

    def forward(
        self, x: Tensor, mask: Any = None, positions: Tensor | None = None, past: Past | None = None
    ) -> Tensor:  # fmt: skip
        """`positions` (B, T) int64 say where the tokens stand, 0, 1, ... unless given.

        With `past`, which needs positions, keys and values are written there; each token sees all up to its own place.
        """
        if past is not None and (positions is None or mask is not None):
            raise ValueError(
                "MultiHeadAttention: with past each token sees what stands up to its own place: give positions (B, T), "
                "and no mask"
            )
        q, k, v = self.heads(x, positions)
        if past is not None:
            keys, values = (apply(ops.cache_write, *pair, positions) for pair in zip(past, (k, v)))
            out = apply(ops.cached_attention, q, keys, values, positions, scale=self.scale)
        elif mask is not None:
            out, _ = scaled_dot_product_attention(q, k, v, for_heads(mask))
        else:
            out = apply(ops.attention, q, k, v, causal=self.causal, scale=self.scale)
        return self.out_proj(out.transpose(1, 2).reshape(*x.shape))

    def weights(self, x: Tensor, mask: Any = None) -> Tensor:
        """How much each position looks at each other one: (B, heads, T, T)."""
        q, k, v = self.heads(x)
        if mask is None and self.causal:
            mask = create_causal_mask(x.shape[1])
        return scaled_dot_product_attention(q, k, v, None if mask is None else for_heads(mask))[1]

    @property
    def scale(self) -> float:
        return self.head_dim**-0.5

    def heads(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of x (B, T, embed_dim), each (B, heads, T, head width)."""
        if x.ndim != 3 or x.shape[2] != self.embed_dim:
            raise ValueError(f"MultiHeadAttention: x is {x.shape}: it must be (batch, positions, {self.embed_dim})")
        split = (*x.shape[:2], self.num_heads, self.head_dim)
        q, k, v = (p(x).reshape(*split).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        if self.rotary is not None:
            places = positions_of(*x.shape[:2]) if positions is None else positions
            q, k = (apply(ops.rotary, h, Tensor(self.rotary), places, inverse=False) for h in (q, k))
        return q, k, v

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, causal={self.causal}"


def positions_of(batch: int, count: int) -> Tensor:
    """0, 1, ... for every row: (batch, count) int64."""
    return Tensor(np.tile(np.arange(count, dtype=np.int64), (batch, 1)))


def for_heads(mask: Any) -> Tensor:
    """A mask (T, T), (B, T, T) or (B, heads, T, T) in a shape that broadcasts to the weights of all heads."""
    mask = as_tensor(mask)
    return mask.unsqueeze(1) if mask.ndim == 3 else mask
