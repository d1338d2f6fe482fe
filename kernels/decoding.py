"""Attention to a cache of keys and values, writing to it, and rotary positions: what generating text needs.

One new token reads each row of the cache once: the dot products of as many keys as a vector has lanes side by side,
then their softmax, then the sum of values in four chains. Several new tokens go by blocks (`attention.py`).

Left out: checks of positions (the engine's); those outside the cache touch nothing, or see its nearest end.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels import simd
from kernels.attention import blocks_of_queries
from kernels.attention_tiles import LOG2_E, empty_heads, heads
from kernels.machine import CONTRACT, EXACT, Floats, Ints, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

LANES = simd.LANES
ONE_BY_ONE = 8  # so many new tokens read the cache each for themselves; more share blocks of queries
KEY_NS = 0.1  # for each number of a key and its value
COPY_NS, TURN_NS = 0.2, 0.5
NOTHING = np.float32(-np.inf)


@njit(fastmath=CONTRACT, error_model="numpy")
def _scores(q, keys, at, row, n, d, scores):
    """scores[:n] = rows of keys times q (d, and zeros up to whole vectors); -inf up to whole vectors."""
    for first in range(0, n, LANES):
        products, e = simd.no_dots(), 0
        while e + LANES <= d:
            query = simd.vector_load(q, e, LANES)
            products = simd.add_products(products, keys, at + first * row + e, row, n - first, query)
            e += LANES
        if e < d:
            query = simd.vector_load(q, e, LANES)
            products = simd.add_some_products(products, keys, at + first * row + e, row, n - first, query, d - e)
        simd.vector_store(simd.dots_of(products), scores, first, LANES)
    for i in range(n, (n + LANES - 1) // LANES * LANES):
        scores[i] = NOTHING


@njit(fastmath=CONTRACT, error_model="numpy")
def _weights(scores, n):
    """Scores become 2 ** (score - the largest); returns their sum."""
    largest = simd.vector_splat(NOTHING)
    for i in range(0, n, LANES):
        largest = simd.vector_larger(simd.vector_load(scores, i, LANES), largest)
    top, total = simd.vector_splat(simd.across_max(largest)), simd.vector_zero()
    for i in range(0, n, LANES):
        weight = simd.vector_exp2(simd.vector_load(scores, i, LANES) - top)
        simd.vector_store(weight, scores, i, LANES)
        total = total + weight
    return simd.across_add(total)


@njit(fastmath=CONTRACT, error_model="numpy", forceinline=True)
def _values(weights, values, at, row, n, factor, y, y_at, columns):
    """y[y_at :] = factor times the sum of weights[i] times row i."""
    a = b = c = d = simd.vector_zero()
    i = 0
    while i + 4 <= n:
        a = simd.vector_multiply_add(simd.vector_splat(weights[i]), simd.vector_load(values, at, columns), a)
        b = simd.vector_multiply_add(simd.vector_splat(weights[i + 1]), simd.vector_load(values, at + row, columns), b)
        at += 2 * row
        c = simd.vector_multiply_add(simd.vector_splat(weights[i + 2]), simd.vector_load(values, at, columns), c)
        d = simd.vector_multiply_add(simd.vector_splat(weights[i + 3]), simd.vector_load(values, at + row, columns), d)
        at += 2 * row
        i += 4
    while i < n:
        a = simd.vector_multiply_add(simd.vector_splat(weights[i]), simd.vector_load(values, at, columns), a)
        at += row
        i += 1
    simd.vector_store(((a + b) + (c + d)) * factor, y, y_at, columns)


@kernel(writes="y scratch", fastmath=CONTRACT)
def attend_one(
    q: Floats, keys: Floats, values: Floats, positions: Ints, y: Floats, scratch: Floats, heads: int, t: int, s: int,
    d: int, q_b: int, q_h: int, q_t: int, k_b: int, k_h: int, k_row: int, v_b: int, v_h: int, v_row: int,
    p_b: int, p_t: int, scale: float, slot: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (B,T,H,D) = softmax(scale q k^T) v over the keys 0 to positions (B,T) of q (B,H,T,D). Items: B x T x H.

    `scratch`: `slot` numbers for an item, of which the first of a share are used.
    """
    query, padded = simd.shift(scratch, lo * slot), (d + LANES - 1) // LANES * LANES
    scores, factor = simd.shift(query, padded), np.float32(scale)
    for item in range(lo, hi):
        place, h = item // heads, item % heads
        b, i = place // t, place % t
        n, source = max(1, min(s, positions[b * p_b + i * p_t] + 1)), b * q_b + h * q_h + i * q_t
        for e in range(0, d, LANES):
            simd.vector_store(simd.vector_load(q, source + e, d - e) * factor, query, e, LANES)
        _scores(query, keys, b * k_b + h * k_h, k_row, n, d, scores)
        share, at, target = np.float32(1) / _weights(scores, n), b * v_b + h * v_h, item * d
        for e in range(0, d, LANES):
            if d - e >= LANES:
                _values(scores, values, at + e, v_row, n, share, y, target + e, LANES)
            else:
                _values(scores, values, at + e, v_row, n, share, y, target + e, d - e)


@kernel(updates="cache", fastmath=EXACT)
def write_rows(
    cache: Floats, new: Floats, positions: Ints, t: int, heads: int, s: int, d: int, c_b: int, c_h: int, c_row: int,
    x_b: int, x_h: int, x_row: int, p_b: int, p_t: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """cache[b, h, positions[b, i]] = new[b, h, i] for i < t in this order. Items: B x H."""
    for item in range(lo, hi):
        b, h = item // heads, item % heads
        for i in range(t):
            place = positions[b * p_b + i * p_t]
            if 0 <= place < s:
                target, source = b * c_b + h * c_h + place * c_row, b * x_b + h * x_h + i * x_row
                for e in range(d):
                    cache[target + e] = new[source + e]


@kernel(writes="y", fastmath=CONTRACT)
def rotate(
    x: Floats, table: Floats, positions: Ints, y: Floats, t: int, heads: int, s: int, half: int, x_b: int, x_h: int,
    x_row: int, p_b: int, p_t: int, direction: float, lo: int, hi: int,
) -> None:  # fmt: skip
    """y (B,T,H,2 half): pairs (x[i], x[i + half]) of x (B,H,T,2 half) turned by the angles of their positions.

    table (s, 2 half): cosines, then sines; nan for positions outside it. Items: B x T.
    """
    sign = np.float32(direction)
    for item in range(lo, hi):
        b, i = item // t, item % t
        place, source = positions[b * p_b + i * p_t], b * x_b + i * x_row
        cosine = place * 2 * half
        sine = cosine + half
        for h in range(heads):
            a, target = source + h * x_h, (item * heads + h) * 2 * half
            if 0 <= place < s:
                for e in range(half):
                    y[target + e] = x[a + e] * table[cosine + e] - x[a + half + e] * (sign * table[sine + e])
                for e in range(half):
                    y[target + half + e] = x[a + half + e] * table[cosine + e] + x[a + e] * (sign * table[sine + e])
            else:
                for e in range(2 * half):
                    y[target + e] = np.float32(np.nan)


@lowers("cached_attention", dtypes=(np.float32, np.float32, np.float32, np.int64))
def cached_attention(build: Builder, q: Ref, keys: Ref, values: Ref, positions: Ref, *, scale: float) -> Ref | None:
    """q (B,H,T,D) to rows 0 to positions (B,T) int64 of keys and values (B,H,S,D) -> (B,H,T,D)."""
    (b, h, t, d), s = q.shape, keys.shape[2]
    if t > ONE_BY_ONE:
        return blocks_of_queries(build, q, keys, values, positions, False, scale)
    q, keys, values = heads(build, q), heads(build, keys), heads(build, values)
    y, items = empty_heads(build, q.shape), b * t * h
    slot = -(-d // LANES) * LANES + -(-s // LANES) * LANES
    build.step(
        attend_one, q, keys, values, positions, y, build.empty((items, slot)), h, t, s, d,
        *q.strides[:3], *keys.strides[:3], *values.strides[:3], *positions.strides,
        scale * LOG2_E, slot,
        items=items, cost_ns=KEY_NS * items * s * d,
    )  # fmt: skip
    return y


@lowers("cache_write", dtypes=(np.float32, np.float32, np.int64))
def cache_write(build: Builder, cache: Ref, new: Ref, positions: Ref) -> Ref | None:
    """Sets cache[b, :, positions[b, i]] of a cache (B,H,S,D) to new[b, :, i] (B,H,T,D) and returns the cache."""
    (b, h, s, d), t = cache.shape, new.shape[2]
    if cache.strides[3] != 1 and d > 1:
        return None
    new = heads(build, new)
    build.step(
        write_rows, cache, new, positions, t, h, s, d, *cache.strides[:3], *new.strides[:3], *positions.strides,
        items=b * h, cost_ns=COPY_NS * new.size,
    )  # fmt: skip
    return cache


@lowers("rotary", dtypes=(np.float32, np.float32, np.int64))
def rotary(build: Builder, x: Ref, table: Ref, positions: Ref, *, inverse: bool) -> Ref | None:
    """x (B,H,T,D), table (S,D), positions (B,T) int64 -> x turned by the angles of its positions, or back."""
    x, (b, h, t, d) = heads(build, x), x.shape
    y = empty_heads(build, x.shape)
    build.step(
        rotate, x, build.contiguous(table), positions, y, t, h, table.shape[0], d // 2, *x.strides[:3],
        *positions.strides, -1.0 if inverse else 1.0, items=b * t, cost_ns=TURN_NS * x.size,
    )  # fmt: skip
    return y
