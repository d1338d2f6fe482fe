"""Attention to a cache of keys and values, one position after the other, as text is generated; and rotary positions.

A cache is (batch, heads, capacity, width) and is written in place. `positions` (batch, T) int64 say where in its text
each of T new tokens stands: rows of a batch may be at different places. Left out: gradients through a cache.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size, spec_like
from tinytorch.engine.ops.attention import check_heads
from tinytorch.engine.ops.index import check_ids

__all__ = ["cache_write", "cached_attention", "rotary"]


def check_positions(name: str, x: Shaped, positions: Shaped) -> None:
    """Errors unless positions are int64 (B, T) for x (B, H, T, D)."""
    if positions.dtype != np.int64:
        raise TypeError(f"{name}: positions are {positions.dtype}: they must be int64; convert them with astype(int)")
    if positions.shape != (x.shape[0], x.shape[2]):
        raise ValueError(
            f"{name}: x is {x.shape}, positions are {positions.shape}: they must be {(x.shape[0], x.shape[2])}, one "
            "for each new token of each row"
        )


class CacheWrite(Op):
    """cache[b, :, positions[b, t]] := new[b, :, t], in place; returns the cache (B, H, capacity, D)."""

    gradient = None
    in_place = True

    def shape(self, cache: Shaped, new: Shaped, positions: Shaped) -> Spec:
        if len(cache.shape) != 4 or len(new.shape) != 4:
            raise ValueError(
                f"cache_write: cache is {cache.shape}, new is {new.shape}: both must be (batch, heads, positions, "
                "width)"
            )
        (b, h, _, d), given = cache.shape, new.shape
        if given[:2] != (b, h) or given[3] != d:
            raise ValueError(
                f"cache_write: cache is {cache.shape}, new is {given}: only the numbers of positions may differ; make "
                "the cache for this model and batch"
            )
        check_positions("cache_write", new, positions)
        return spec_like(cache)

    def check(self, cache: np.ndarray, new: np.ndarray, positions: np.ndarray) -> None:
        check_ids("cache_write", positions, cache.shape[2], "capacity of the cache")

    def reference(self, cache: np.ndarray, new: np.ndarray, positions: np.ndarray) -> np.ndarray:
        rows = np.arange(len(positions))[:, None]
        cache[rows, :, positions] = new.transpose(0, 2, 1, 3)
        return cache

    def flops(self, out: Shaped, *_: Shaped) -> int:
        return 0

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for (b, h, t, d), capacity in (((1, 1, 1, 1), 1), ((2, 3, 1, 4), 5), ((3, 2, 4, 17), 9), ((0, 2, 1, 4), 3)):
            positions = rng.permuted(np.tile(np.arange(capacity), (b, 1)), axis=1)[:, :t]
            yield Sample((normal(rng, b, h, capacity, d), normal(rng, b, h, t, d), positions))


class CachedAttention(Op):
    """q (B,H,T,D) to the rows 0..positions[b,t] of keys and values (B,H,capacity,D) -> (B,H,T,D)."""

    gradient = None
    flops_of_values = True

    def shape(self, q: Shaped, keys: Shaped, values: Shaped, positions: Shaped, scale: float) -> Spec:
        check_heads("cached_attention", q, keys, values)
        check_positions("cached_attention", q, positions)
        return Spec(q.shape, np.result_type(q.dtype, keys.dtype, values.dtype))

    def check(
        self, q: np.ndarray, keys: np.ndarray, values: np.ndarray, positions: np.ndarray, scale: float
    ) -> None:  # fmt: skip
        check_ids("cached_attention", positions, keys.shape[2], "capacity of the cache")

    def reference(
        self, q: np.ndarray, keys: np.ndarray, values: np.ndarray, positions: np.ndarray, scale: float
    ) -> np.ndarray:
        used = int(positions.max(initial=0)) + 1
        scores = (q @ keys[:, :, :used].swapaxes(-1, -2)) * q.dtype.type(scale)
        unseen = np.arange(used) > positions[:, None, :, None]
        scores = np.where(unseen, q.dtype.type(-np.inf), scores)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        return (scores / scores.sum(-1, keepdims=True)) @ values[:, :, :used]

    def flops(self, out: Shaped, q: Shaped, keys: Shaped, values: Shaped, positions: Shaped, scale: float) -> int:
        """Two products with the rows read; where only shapes are known, with the whole cache."""
        if isinstance(positions, np.ndarray):
            return 4 * q.shape[1] * q.shape[3] * int((positions + 1).sum())
        return 4 * size(q.shape) * keys.shape[2]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for (b, h, t, d), capacity in (((1, 1, 1, 1), 1), ((2, 3, 1, 4), 5), ((3, 2, 4, 17), 90), ((1, 4, 1, 32), 64)):
            positions = rng.integers(0, capacity, (b, t))
            cache = normal(rng, b, h, capacity, d), normal(rng, b, h, capacity, d)
            yield Sample((normal(rng, b, h, t, d), *cache, positions), {"scale": d**-0.5})


class Rotary(Op):
    """Pairs (x[i], x[i + D/2]) of x (B,H,T,D) turned by the angles of their positions; backwards with `inverse`.

    table (capacity, D): the cosines of D/2 angles and then their sines, a row for each position. Su et al. 2021,
    section 3.4.2.
    """

    derived = MappingProxyType({1: None})

    def shape(self, x: Shaped, table: Shaped, positions: Shaped, inverse: bool) -> Spec:
        check_floating("rotary", x)
        if len(x.shape) != 4 or x.shape[3] % 2 or table.shape[1:] != x.shape[3:]:
            raise ValueError(
                f"rotary: x is {x.shape}, table is {table.shape}: x must be (batch, heads, positions, width) of an "
                "even width, and table (capacity, width); choose another number of heads"
            )
        check_positions("rotary", x, positions)
        return spec_like(x)

    def check(self, x: np.ndarray, table: np.ndarray, positions: np.ndarray, inverse: bool) -> None:
        check_ids("rotary", positions, table.shape[0], "number of positions")

    def reference(self, x: np.ndarray, table: np.ndarray, positions: np.ndarray, inverse: bool) -> np.ndarray:
        half = x.shape[3] // 2
        angles = table[positions][:, None]  # (B, 1, T, D)
        cosine, sine = angles[..., :half], angles[..., half:]
        a, b = x[..., :half], x[..., half:]
        if inverse:
            sine = -sine
        return np.concatenate([a * cosine - b * sine, b * cosine + a * sine], -1)

    def gradient(
        self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, table: np.ndarray, positions: np.ndarray,
        inverse: bool,
    ) -> tuple:  # fmt: skip
        return need[0] and rotary(g, table, positions, inverse=not inverse), None, None

    def flops(self, out: Shaped, *_: Shaped, **__: object) -> int:
        return 3 * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for (b, h, t, d), capacity in (((1, 1, 1, 2), 1), ((2, 3, 5, 4), 7), ((2, 1, 3, 34), 8)):
            angles = rng.uniform(0, 3, (capacity, d // 2))
            table = np.concatenate([np.cos(angles), np.sin(angles)], 1)
            for inverse in (False, True):
                yield Sample(
                    (normal(rng, b, h, t, d), table, rng.integers(0, capacity, (b, t))), {"inverse": inverse}
                )  # fmt: skip


cache_write, cached_attention, rotary = CacheWrite(), CachedAttention(), Rotary()
