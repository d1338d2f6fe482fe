"""Scaled dot-product attention in tiles: softmax(scale q k^T) v without the matrix of all weights ever in memory.

Keys and values pass a block of queries block by block. The weights of a block are relative to the largest score so far,
and what was summed before shrinks where a larger one comes (online softmax: Milakov and Gimelshein 2018,
arXiv:1805.02867, section 3; in tiles: Dao et al. 2022, arXiv:2205.14135, algorithm 1).

Arrays are (B,H,T,D) by shape. Rows may lie at any distance; results are (B,T,H,D) in memory, as the projection behind
attention wants them. Left out: the gradient (`attention_grad.py`), one query to a cache (`decoding.py`), other masks
than the causal one. A value that is not finite may show in a query that gives it the weight 0, as 0 times it is nan.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from kernels import simd
from kernels.attention_tiles import (
    GROUP,
    KEYS,
    LOG2_E,
    QUERIES,
    WIDE,
    begin_of,
    counts,
    cross,
    empty_heads,
    furthest,
    gathered,
    heads,
    multiply,
    nearest,
    reaches,
    row_step,
    rows_of,
    start_weighing,
    tables,
    turn,
    weigh,
)  # fmt: skip
from kernels.machine import CONTRACT, Floats, Ints, kernel
from kernels.matmul import FLOPS_PER_NS
from kernels.product import SUM, ZEROS
from kernels.program import NULL, Builder, Ref
from kernels.registry import lowers

# The scratch of a work item is needed only once for each thread, but threads are not known here: so there are no more
# items than this, each a share of the blocks of queries.
MOST_ITEMS = 64
ONE = np.float32(1)
NEIGHBOURS, BLOCK, Q, K, V, Y = range(6)  # lines of the tables


@njit(fastmath=CONTRACT, error_model="numpy")
def _scale_rows(y, at, row, rows, d, factors):
    """Row i times factors[i]."""
    for i in range(rows):
        factor = factors[i]
        if factor != ONE:
            for e in range(at + i * row, at + i * row + d):
                y[e] *= factor


@kernel(writes="y scratch", fastmath=CONTRACT)
def attend(
    q: Floats, k: Floats, v: Floats, positions: Ints, y: Floats, tables: Ints, scratch: Floats, heads: int, t: int,
    s: int, d: int, causal: int, cached: int, p_b: int, p_t: int, scale: float, blocks: int, units: int, items: int,
    slot: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """y = softmax(scale q k^T) v, for `units` blocks of queries, `blocks` of each head. Items: equal shares of them.

    `cached`: query i of example b sees the keys 0 to positions[b, i]. `scratch`: `slot` numbers for an item.
    """
    turned = simd.shift(scratch, lo * slot)
    weights = simd.shift(turned, d * QUERIES)
    reach = simd.shift(weights, KEYS * QUERIES)
    top, total, shrink = simd.shift(reach, QUERIES), simd.shift(reach, 2 * QUERIES), simd.shift(reach, 3 * QUERIES)
    neighbours, block_rows = rows_of(tables, NEIGHBOURS), rows_of(tables, BLOCK)
    for unit in range(units * lo // items, units * hi // items):
        # Long and short blocks in turn, so that shares cost the same where a mask makes them unequal.
        block = unit % blocks
        block = block // 2 if block % 2 == 0 else blocks - 1 - block // 2
        b, h, first = unit // blocks // heads, unit // blocks % heads, block * QUERIES
        rows = min(QUERIES, t - first)
        width = (rows + WIDE - 1) // WIDE * WIDE
        if cached:
            for i in range(width):
                reach[i] = np.float32(max(1, min(s, positions[b * p_b + (first + min(i, rows - 1)) * p_t] + 1)))
        else:
            reaches(reach, first, rows, width, t, s, causal)
        turn(q, begin_of(tables, Q, b, h, first), row_step(tables, Q), rows, width, d, np.float32(scale), turned)
        start_weighing(top, total, width)
        target = begin_of(tables, Y, b, h, first)
        end, clear = furthest(reach, 0, width), nearest(reach, 0, width)
        for j in range(0, end, KEYS):
            n = min(KEYS, end - j)
            k_at = begin_of(tables, K, b, h, j)
            cross(k, k_at, rows_of(tables, K), turned, d, reach, width, j, n, weights, block_rows)
            weigh(weights, reach, width, j, n, top, total, shrink)
            if j > 0:
                _scale_rows(y, target, row_step(tables, Y), rows, d, shrink)
            start, step = SUM if j > 0 else ZEROS, rows if clear >= j + n else GROUP
            for i in range(0, rows, step):
                seen = n if clear >= j + n else min(n, furthest(reach, i, GROUP) - j)
                if seen > 0:
                    multiply(
                        weights, i, min(i + step, rows), neighbours, QUERIES, seen, v, begin_of(tables, V, b, h, j),
                        row_step(tables, V), d, start, y, rows_of(tables, Y), target,
                    )  # fmt: skip
        for i in range(rows):
            total[i] = ONE / total[i]
        _scale_rows(y, target, row_step(tables, Y), rows, d, total)


def blocks_of_queries(build: Builder, q: Ref, k: Ref, v: Ref, positions: Ref, causal: bool, scale: float) -> Ref:
    """q (B,H,T,D), k and v (B,H,S,D) -> (B,H,T,D). With positions (B,T), what query sees which key goes by them."""
    (b, h, t, d), s = q.shape, k.shape[2]
    q, k, v = heads(build, q), gathered(build, k, t), gathered(build, v, t)
    y, blocks = empty_heads(build, q.shape), -(-t // QUERIES)
    units, cached = b * h * blocks, positions != NULL
    items, slot = min(units, MOST_ITEMS), d * QUERIES + KEYS * QUERIES + 4 * QUERIES
    pairs = counts(t, s, causal)
    build.step(
        attend, q, k, v, positions, y, tables(build, q, k, v, y), build.empty((items, slot)), h, t, s, d,
        causal, cached, *(positions.strides if cached else (0, 0)), scale * LOG2_E, blocks, units, items, slot,
        items=items, cost_ns=4 * q.size * s / (2 if causal else 1) / FLOPS_PER_NS,
        operations=0 if cached else 2 * b * h * d * (pairs.scores + pairs.over_keys),  # positions are not known here
    )  # fmt: skip
    return y


@lowers("attention")
def attention(build: Builder, q: Ref, k: Ref, v: Ref, *, causal: bool, scale: float) -> Ref | None:
    """q (B,H,T,D), k and v (B,H,S,D) -> (B,H,T,D)."""
    if causal and q.shape[2] > k.shape[2]:
        return None
    return blocks_of_queries(build, q, k, v, build.null, causal, scale)
