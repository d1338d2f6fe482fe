"""From token ids to vectors that know their places: Embedding, and positions that are learned or sines.

Left out: rotary positions, which turn queries and keys instead of being added here (`engine.ops.rotary`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor, apply
from tinytorch.engine import ops

STD = 0.02  # of all tables at the start, as in GPT-2 (Radford et al. 2019)
WAVELENGTH = 10_000.0  # the slowest sine turns once in 2 pi times this many positions (Vaswani et al. 2017)


def normal_parameter(shape: tuple[int, ...], std: float = STD) -> Tensor:
    """Normally distributed around 0; drawn from NumPy's global generator."""
    return Tensor(np.random.normal(0, std, shape).astype(np.float32), requires_grad=True)


class Embedding(Layer):
    """ids (...) -> (..., embed_dim): row `id` of weight (vocab_size, embed_dim). Weights start as N(0, 0.02).

    ids are integers in a tensor, an array or nested lists; whole numbers in a floating tensor count as integers.
    IndexError names an id outside the vocabulary, and its position.
    """

    def __init__(self, vocab_size: int, embed_dim: int) -> None:
        self.weight = normal_parameter((vocab_size, embed_dim))

    @property
    def vocab_size(self) -> int:
        return self.weight.shape[0]

    @property
    def embed_dim(self) -> int:
        return self.weight.shape[1]

    def forward(self, ids: Any) -> Tensor:
        return apply(ops.embedding, self.weight, as_ids(ids))

    def extra_repr(self) -> str:
        return f"vocab_size={self.vocab_size}, embed_dim={self.embed_dim}"


def as_ids(ids: Any) -> Tensor:
    """Ids as an integer tensor. Floats are cast by an op: a plan, which wants integers, then refuses them by name."""
    tensor = Tensor(ids, dtype=None if hasattr(ids, "dtype") else np.float64)  # float32 would round ids beyond 2^24
    if tensor.dtype.kind != "f":
        return tensor
    whole = np.isfinite(tensor.data) & (tensor.data == np.rint(tensor.data))
    if not whole.all():
        position = tuple(int(i) for i in np.argwhere(~whole)[0])
        raise ValueError(
            f"Embedding: id {tensor.data[position]} at position {position}: ids must be finite integers; "
            "pass what a tokenizer's encode() gives"
        )
    return tensor.astype(np.int64)


class Positions(Layer):
    """Base of encodings that are added: x (..., T, E) + rows start_pos.. of position_embeddings (max_seq_len, E).

    A position is looked up like a token, once for each sequence: so both sums have x's shape, which kernels want.
    """

    position_embeddings: Tensor

    @property
    def max_seq_len(self) -> int:
        return self.position_embeddings.shape[0]

    @property
    def embed_dim(self) -> int:
        return self.position_embeddings.shape[1]

    def forward(self, x: Tensor, start_pos: int = 0) -> Tensor:
        name = type(self).__name__
        if x.ndim < 2 or x.shape[-1] != self.embed_dim:
            raise ValueError(f"{name}: x is {x.shape}: it must be (..., length, {self.embed_dim}), as the embedding")
        if not isinstance(start_pos, int | np.integer) or start_pos < 0:
            raise ValueError(f"{name}: start_pos is {start_pos!r}; the first position is 0, 1, 2, ...")
        end = int(start_pos) + x.shape[-2]
        if end > self.max_seq_len:
            raise ValueError(
                f"{name}: x is {x.shape} from position {start_pos}: its last position is {end - 1}, max_seq_len is "
                f"{self.max_seq_len}; shorten the sequence or build it with a greater max_seq_len"
            )
        positions = np.empty(x.shape[:-1], np.int64)
        positions[...] = np.arange(start_pos, end)
        return x + apply(ops.embedding, self.position_embeddings, Tensor(positions))

    def extra_repr(self) -> str:
        return f"max_seq_len={self.max_seq_len}, embed_dim={self.embed_dim}"


class PositionalEncoding(Positions):
    """Learned positions: x (..., T, E) -> x + position_embeddings[:T]. They start as N(0, 0.02)."""

    def __init__(self, max_seq_len: int, embed_dim: int) -> None:
        self.position_embeddings = normal_parameter((max_seq_len, embed_dim))


class SinusoidalEncoding(Positions):
    """Fixed positions: x (..., T, E) -> x + sines. Nothing to learn and nothing to save: sizes say all."""

    def __init__(self, max_seq_len: int, embed_dim: int) -> None:
        self.sines = create_sinusoidal_embeddings(max_seq_len, embed_dim).data  # no Tensor, so no parameter

    @property
    def position_embeddings(self) -> Tensor:  # type: ignore[override]
        return Tensor(self.sines)


def create_sinusoidal_embeddings(max_seq_len: int, embed_dim: int) -> Tensor:
    """(max_seq_len, embed_dim) float32: column 2i is sin(p / 10000^(2i / embed_dim)), column 2i + 1 its cosine.

    Vaswani et al. 2017, section 3.5. With an odd embed_dim the last sine has no cosine beside it.
    """
    column = np.arange(embed_dim)
    angle = np.arange(max_seq_len)[:, None] / WAVELENGTH ** ((column - column % 2) / embed_dim)
    return Tensor(np.where(column % 2, np.cos(angle), np.sin(angle)).astype(np.float32))


POSITIONS: dict[str, type[PositionalEncoding | SinusoidalEncoding]] = {
    "learned": PositionalEncoding,
    "sinusoidal": SinusoidalEncoding,
}


class EmbeddingLayer(Layer):
    """ids (..., T) -> (..., T, embed_dim): token embedding, times sqrt(embed_dim) if asked, plus positions.

    `pos_encoding` is "learned", "sinusoidal" or None. Scaling is from section 3.4 of Vaswani et al. 2017. `start_pos`
    of a call is the position of its first token, for sequences that are read in parts.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        max_seq_len: int = 512,
        pos_encoding: str | None = "learned",
        scale_embeddings: bool = False,
    ) -> None:
        if pos_encoding is not None and pos_encoding not in POSITIONS:
            raise ValueError(
                f"EmbeddingLayer: pos_encoding is {pos_encoding!r}; known: {', '.join(map(repr, POSITIONS))} and None"
            )
        self.token_embedding = Embedding(vocab_size, embed_dim)
        self.pos_encoding = None if pos_encoding is None else POSITIONS[pos_encoding](max_seq_len, embed_dim)
        self.scale_embeddings = scale_embeddings

    def forward(self, ids: Any, start_pos: int = 0) -> Tensor:
        x = self.token_embedding(ids)
        if self.scale_embeddings:
            x = x * math.sqrt(self.token_embedding.embed_dim)
        return x if self.pos_encoding is None else self.pos_encoding(x, start_pos)
