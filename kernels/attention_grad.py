"""The gradients of q, k and v of attention, in tiles, with five products for a block of queries and one of keys.

After Dao 2023 (FlashAttention-2, arXiv:2307.08691), section 3.1.2, with queries in the outer loop. A block of queries
makes its weights for all keys first and keeps them, 64 numbers for each key, so they are not computed twice: first
relative to the largest score so far, then with one factor for each block of keys. Keys are walked backwards the second
time, so that what was written last, and is still near, is read first.

The blocks of queries of a head are one item of work, for each adds to the gradients of all keys. Where there are few
heads, items are parts of a head that cost the same, with sums of their own that are added in their order afterwards.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from kernels import layout, simd
from kernels.attention import MOST_ITEMS
from kernels.attention_tiles import (
    GROUP,
    KEYS,
    LOG2_E,
    QUERIES,
    WIDE,
    begin_of,
    counts,
    cross,
    furthest,
    gathered,
    heads,
    keys_for,
    multiply,
    nearest,
    reaches,
    row_step,
    rows_of,
    scattered,
    start_weighing,
    tables,
    turn,
    weigh,
)  # fmt: skip
from kernels.elementwise import BLOCK as ELEMENTS
from kernels.machine import CONTRACT, REDUCE, Floats, Ints, kernel
from kernels.matmul import FLOPS_PER_NS
from kernels.product import SUM, ZEROS
from kernels.program import Builder, Ref, contiguous_strides
from kernels.registry import lowers

ENOUGH_ITEMS = 8  # heads, or parts of them: enough for two threads, or four, to finish at about the same time
LANES = simd.LANES
ZERO, ONE = np.float32(0), np.float32(1)
NEIGHBOURS, BLOCK, Q, K, V, Y, G, DQ, DK, DV = range(10)  # lines of the tables


@njit(fastmath=REDUCE, error_model="numpy")
def _row_products(x, x_at, x_row, y, y_at, y_row, rows, width, d, factor, out):
    """out[i] = factor times the dot product of rows i; 0 beyond `rows`."""
    for i in range(rows):
        total = ZERO
        for e in range(d):
            total += x[x_at + i * x_row + e] * y[y_at + i * y_row + e]
        out[i] = total * factor
    for i in range(rows, width):
        out[i] = ZERO


@njit(fastmath=CONTRACT, error_model="numpy")
def _score_gradients(p, dp, reach, width, j, n, top, last_top, inverse, average):
    """Weights p relative to `top` become final ones, and their gradients dp those of scores: p (dp - average)."""
    for group in range(0, width, GROUP):
        end = keys_for(reach, group, GROUP, j, n)
        for v in range(group, group + GROUP, LANES):
            base = simd.vector_load(last_top, v, LANES)
            base = simd.where_less(simd.vector_splat(np.float32(-np.inf)), base, base, simd.vector_zero())
            factor = simd.vector_exp2(simd.vector_load(top, v, LANES) - base)
            factor = simd.vector_mul(factor, simd.vector_load(inverse, v, LANES))
            mean, i = simd.vector_load(average, v, LANES), v
            for _ in range(end):
                weight = simd.vector_mul(simd.vector_load(p, i, LANES), factor)
                simd.vector_store(weight, p, i, LANES)
                change = simd.vector_mul(simd.vector_load(dp, i, LANES) - mean, weight)
                simd.vector_store(change, dp, i, LANES)
                i += QUERIES


@njit(fastmath=CONTRACT, error_model="numpy")
def _clear(x, at, row, rows, d):
    for i in range(rows):
        for e in range(at + i * row, at + i * row + d):
            x[e] = ZERO


@kernel(writes="dq dk dv scratch", fastmath=CONTRACT)
def attend_grad(
    q: Floats, k: Floats, v: Floats, y: Floats, g: Floats, dq: Floats, dk: Floats, dv: Floats, tables: Ints,
    starts: Ints, scratch: Floats, heads: int, t: int, s: int, d: int, causal: int, scale: float, parts: int,
    part_size: int, units: int, items: int, slot: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """dq (B,H,T,D), and dk and dv (parts,B,H,S,D), for g, the gradient of y. Items: equal shares of `units`.

    A unit is a part of a head: the blocks of queries starts[part] to starts[part + 1], whose sums go `part_size`
    numbers behind those of the part before. `scratch`: `slot` numbers for an item.
    """
    turned = simd.shift(scratch, lo * slot)
    turned_g = simd.shift(turned, d * QUERIES)
    changes = simd.shift(turned_g, d * QUERIES)
    reach = simd.shift(changes, KEYS * QUERIES)
    total, shrink, average = simd.shift(reach, QUERIES), simd.shift(reach, 2 * QUERIES), simd.shift(reach, 3 * QUERIES)
    last_top = simd.shift(reach, 4 * QUERIES)
    tops = simd.shift(reach, 5 * QUERIES)
    weights = simd.shift(tops, (s + KEYS - 1) // KEYS * QUERIES)
    neighbours, block_rows = rows_of(tables, NEIGHBOURS), rows_of(tables, BLOCK)
    for unit in range(units * lo // items, units * hi // items):
        part, b, h = unit % parts, unit // parts // heads, unit // parts % heads
        part_dk, part_dv, set_keys = simd.shift(dk, part * part_size), simd.shift(dv, part * part_size), 0
        for block in range(starts[part], starts[part + 1]):
            first = block * QUERIES
            rows = min(QUERIES, t - first)
            width = (rows + WIDE - 1) // WIDE * WIDE
            q_at, g_at = begin_of(tables, Q, b, h, first), begin_of(tables, G, b, h, first)
            reaches(reach, first, rows, width, t, s, causal)
            turn(q, q_at, row_step(tables, Q), rows, width, d, np.float32(scale * LOG2_E), turned)
            turn(g, g_at, row_step(tables, G), rows, width, d, np.float32(scale), turned_g)
            _row_products(
                g, g_at, row_step(tables, G), y, begin_of(tables, Y, b, h, first), row_step(tables, Y), rows, width, d,
                np.float32(scale), average,
            )  # fmt: skip
            start_weighing(last_top, total, width)
            end = min(s, (furthest(reach, 0, width) + KEYS - 1) // KEYS * KEYS)
            clear = nearest(reach, 0, width)
            for j in range(0, end, KEYS):
                n, p, top = min(KEYS, end - j), simd.shift(weights, j * QUERIES), simd.shift(tops, j // KEYS * QUERIES)
                k_at = begin_of(tables, K, b, h, j)
                cross(k, k_at, rows_of(tables, K), turned, d, reach, width, j, n, p, block_rows)
                weigh(p, reach, width, j, n, last_top, total, shrink)
                for i in range(width):
                    top[i] = last_top[i]
            for i in range(width):
                total[i] = ONE / total[i]
            for j in range((end - 1) // KEYS * KEYS, -1, -KEYS):
                n, p, top = min(KEYS, end - j), simd.shift(weights, j * QUERIES), simd.shift(tops, j // KEYS * QUERIES)
                whole = clear >= j + n
                v_at, k_at = begin_of(tables, V, b, h, j), begin_of(tables, K, b, h, j)
                cross(v, v_at, rows_of(tables, V), turned_g, d, reach, width, j, n, changes, block_rows)
                _score_gradients(p, changes, reach, width, j, n, top, last_top, total, average)
                start = ZEROS if j >= set_keys else SUM
                step = n if whole else GROUP
                for i in range(0, n, step):
                    # The first queries see none of these keys.
                    past = 0 if whole else max(0, min(rows, j + i - (first + s - t)))
                    until, left = min(i + step, n), rows - past
                    multiply(
                        simd.shift(p, past), i, until, block_rows, 1, left, g, g_at + past * row_step(tables, G),
                        row_step(tables, G), d, start, part_dv, rows_of(tables, DV), begin_of(tables, DV, b, h, j),
                    )  # fmt: skip
                    multiply(
                        simd.shift(changes, past), i, until, block_rows, 1, left, q, q_at + past * row_step(tables, Q),
                        row_step(tables, Q), d, start, part_dk, rows_of(tables, DK), begin_of(tables, DK, b, h, j),
                    )  # fmt: skip
                start, step = SUM if j + KEYS < end else ZEROS, rows if whole else GROUP
                for i in range(0, rows, step):
                    seen = n if whole else max(0, min(n, furthest(reach, i, GROUP) - j))
                    multiply(
                        changes, i, min(i + step, rows), neighbours, QUERIES, seen, k, k_at, row_step(tables, K), d,
                        start, dq, rows_of(tables, DQ), begin_of(tables, DQ, b, h, first),
                    )  # fmt: skip
            set_keys = max(set_keys, end)
        _clear(part_dk, begin_of(tables, DK, b, h, set_keys), row_step(tables, DK), s - set_keys, d)
        _clear(part_dv, begin_of(tables, DV, b, h, set_keys), row_step(tables, DV), s - set_keys, d)


@kernel(writes="y", fastmath=CONTRACT)
def add_parts(x: Floats, y: Floats, parts: int, n: int, lo: int, hi: int) -> None:
    """y (n): the sum of x (parts, n) over the parts in their order. Items: blocks of ELEMENTS."""
    for item in range(lo, hi):
        first, end = item * ELEMENTS, min(item * ELEMENTS + ELEMENTS, n)
        for i in range(first, end):
            y[i] = x[i] + x[n + i]
        for part in range(2, parts):
            for i in range(first, end):
                y[i] += x[part * n + i]


def equal_parts(t: int, s: int, causal: bool, parts: int) -> list[int]:
    """Where parts of the blocks of queries begin, and the number of blocks; each part has as many keys to see."""
    keys = [min(s, min(t, first + QUERIES) + s - t) if causal else s for first in range(0, t, QUERIES)]
    so_far = np.cumsum([0, *keys])
    return [int(np.abs(so_far * parts - so_far[-1] * part).argmin()) for part in range(parts + 1)]


def _result(flat: Ref, x: Ref, start: int = 0) -> Ref:
    """A gradient of x (B,H,T,D) from flat[start] on, (B,T,H,D) in memory."""
    b, h, t, d = x.shape
    shape = b, t, h, d
    there = replace(flat, shape=shape, strides=contiguous_strides(shape), offset=flat.offset + start)
    return there.permute((0, 2, 1, 3))


@lowers("attention_grad")
def attention_grad(
    build: Builder, g: Ref, out: Ref, q: Ref, k: Ref, v: Ref, *, causal: bool, scale: float
) -> Ref | None:
    """g, out and q (B,H,T,D), k and v (B,H,S,D) -> the gradients of q, k and v, flat, each in the order (B,T,H,D)."""
    (b, h, t, d), s = q.shape, k.shape[2]
    if causal and t > s:
        return None
    q, out, g, k, v = *(heads(build, x) for x in (q, out, g)), gathered(build, k, t), gathered(build, v, t)
    flat, n = build.empty((q.size + 2 * k.size,)), 2 * k.size
    both = replace(flat, shape=(n,), offset=q.size)
    dq, dk, dv = _result(flat, q), _result(both, k), _result(both, v, k.size)
    parts = min(-(-t // QUERIES), -(-ENOUGH_ITEMS // (b * h)))
    targets: tuple[Ref, ...]
    if parts > 1:
        sums = build.empty((parts, n))
        targets = _result(sums, k), _result(sums, v, k.size)
    else:
        targets = tuple(build.empty(x.shape) if scattered(x, t) else x for x in (dk, dv))
    units, key_blocks, pairs = b * h * parts, -(-s // KEYS), counts(t, s, causal, KEYS)
    items, slot = min(units, MOST_ITEMS), QUERIES * (2 * d + KEYS + 5 + key_blocks + key_blocks * KEYS)
    build.step(
        attend_grad, q, k, v, out, g, dq, *targets, tables(build, q, k, v, out, g, dq, *targets),
        build.constant(np.array(equal_parts(t, s, causal, parts), np.int64)), build.empty((items, slot)),
        h, t, s, d, causal, scale, parts, n, units, items, slot,
        items=items, cost_ns=10 * q.size * s / (2 if causal else 1) / FLOPS_PER_NS,
        operations=2 * b * h * d * (2 * pairs.scores + pairs.over_keys + 2 * pairs.over_queries),
    )  # fmt: skip
    if parts > 1:
        build.step(add_parts, sums, both, parts, n, items=-(-n // ELEMENTS), cost_ns=0.3 * parts * n)
    else:
        for x, y in zip(targets, (dk, dv)):
            if x is not y:
                layout.copy(build, x, y)
    return flat
