"""What attention forward and backward do with a block of queries and a block of keys.

The scores of a block are kept transposed, (keys, queries): then the largest score and the sum of weights of 16 queries
are found lane by lane, and the five products of attention and its gradient read keys, values and queries as they lie.
Only a block of queries is turned round, once. Scores are made from scaled queries and are exponents of two.

How far a query sees is a number, its `reach`: it attends to the keys before it. A group of queries shares the keys that
are computed, and those beyond a query's reach get the weight 0.

Left out: the walk over blocks (`attention.py`, `attention_grad.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from kernels import simd
from kernels.machine import CONTRACT
from kernels.product import ZEROS, plain_rows
from kernels.program import Builder, Ref

PANEL, LANES = simd.PANEL, simd.LANES
QUERIES, KEYS = 64, 64  # of a block
GROUP = 16  # queries, or keys, that are treated alike where the causal mask cuts through a block
WIDE = max(PANEL, GROUP)  # queries of whole panels and whole groups
LOG2_E = math.log2(math.e)
NOTHING = np.float32(-np.inf)
ZERO = np.float32(0)
# From so many queries on, keys and values whose rows are far apart are copied together first, as pages of memory are
# then fewer than the CPU remembers. Measured forward and backward: 12 heads of 4,096 positions 462 ms in place of 510,
# 4 heads 155 and 158, 12 heads of 1,024 33.4 in place of 30.9.
MANY_QUERIES = 2048
LINE = 3 + max(QUERIES, KEYS)  # numbers in one line of `tables`


@njit(fastmath=CONTRACT, error_model="numpy")
def turn(x, at, row, rows, width, d, factor, y):
    """y (panels, d, PANEL) = factor times the transpose of x, whose rows begin at at + i * row; zeros beyond `rows`."""
    for first in range(0, width, PANEL):
        for lane in range(0, PANEL, LANES):
            i, target, e = first + lane, first * d + lane, 0
            while i + LANES <= rows and e + LANES <= d:
                simd.transpose(x, at + i * row + e, row, y, target + e * PANEL, PANEL)
                e += LANES
            while e < d:
                for k in range(LANES):
                    y[target + e * PANEL + k] = x[at + (i + k) * row + e] if i + k < rows else ZERO
                e += 1
        for k in range(first * d, (first + PANEL) * d, LANES):
            simd.vector_store(simd.vector_load(y, k, LANES) * factor, y, k, LANES)


@njit(fastmath=CONTRACT, error_model="numpy")
def multiply(a, r, end, rows, a_k, length, b, at, b_k, n, start, c, out_rows, target):
    """Rows r to `end` of c (n columns) from those of a and `length` rows of b, which begin at `at`, b_k apart."""
    reading, leaving = (rows, rows, 1, length, a_k), (c, start, 0, c, out_rows)  # rows[0] is 0, where k begins
    for first in range(0, n, PANEL):
        plain_rows(a, r, end, reading, b, at + first, b_k, first, n - first, leaving, target)


@njit(fastmath=CONTRACT, error_model="numpy")
def furthest(reach, first, count):
    """The largest of reach[first : first + count], count a multiple of LANES."""
    most = simd.vector_load(reach, first, LANES)
    for i in range(first + LANES, first + count, LANES):
        most = simd.vector_larger(simd.vector_load(reach, i, LANES), most)
    return int(simd.across_max(most))


@njit(fastmath=CONTRACT, error_model="numpy")
def nearest(reach, first, count):
    """The smallest of reach[first : first + count]."""
    least = simd.across_min(simd.vector_load(reach, first, LANES))
    for i in range(first + LANES, first + count, LANES):
        least = min(least, simd.across_min(simd.vector_load(reach, i, LANES)))
    return int(least)


@njit(fastmath=CONTRACT, error_model="numpy")
def keys_for(reach, first, count, j, n):
    """How many keys of the block of n from j on are computed for these queries: whole groups."""
    seen = (furthest(reach, first, count) - j + GROUP - 1) // GROUP * GROUP
    return max(0, min(n, seen))


@njit(fastmath=CONTRACT, error_model="numpy")
def cross(x, at, x_rows, turned, d, reach, width, j, n, y, y_rows):
    """y (n, QUERIES) = rows of x times turned queries (panels, d, PANEL), where a query close by sees the key."""
    keys = simd.shift(x, at)
    for first in range(0, width, PANEL):
        end = keys_for(reach, first // WIDE * WIDE, WIDE, j, n)
        multiply(keys, 0, end, x_rows, 1, d, turned, first * d, PANEL, PANEL, ZEROS, y, y_rows, first)


@njit(fastmath=CONTRACT, error_model="numpy")
def weigh(s, reach, width, j, n, top, total, shrink):
    """Scores s (n, QUERIES) of the keys from j on become weights 2 ** (s - top), top being the largest so far.

    `total` is the sum of all weights so far, and `shrink` what weights made before have to be multiplied by.
    """
    for group in range(0, width, GROUP):
        end = keys_for(reach, group, GROUP, j, n)
        for v in range(group, group + GROUP, LANES):
            limit, before = simd.vector_load(reach, v, LANES), simd.vector_load(top, v, LANES)
            clear = max(0, min(end, nearest(reach, v, LANES) - j))
            largest, i = before, v
            for _ in range(clear):
                largest = simd.vector_larger(simd.vector_load(s, i, LANES), largest)
                i += QUERIES
            for key in range(clear, end):
                here = simd.vector_splat(np.float32(j + key))
                score = simd.where_less(here, limit, simd.vector_load(s, i, LANES), simd.vector_splat(NOTHING))
                simd.vector_store(score, s, i, LANES)
                largest = simd.vector_larger(score, largest)
                i += QUERIES
            # Where all scores are -inf so far, their weights are 0 and not nan.
            base = simd.where_less(simd.vector_splat(NOTHING), largest, largest, simd.vector_zero())
            factor = simd.vector_exp2(before - base)
            weights, i = simd.vector_zero(), v
            for _ in range(end):
                weight = simd.vector_exp2(simd.vector_load(s, i, LANES) - base)
                simd.vector_store(weight, s, i, LANES)
                weights = weights + weight
                i += QUERIES
            total_here = simd.vector_multiply_add(simd.vector_load(total, v, LANES), factor, weights)
            simd.vector_store(total_here, total, v, LANES)
            simd.vector_store(largest, top, v, LANES)
            simd.vector_store(factor, shrink, v, LANES)


@njit(fastmath=CONTRACT, error_model="numpy")
def start_weighing(top, total, width):
    """No key has been seen."""
    for v in range(0, width, LANES):
        simd.vector_store(simd.vector_splat(NOTHING), top, v, LANES)
        simd.vector_store(simd.vector_zero(), total, v, LANES)


@njit(fastmath=CONTRACT, error_model="numpy")
def begin_of(tables, line, b, h, row):
    """Where row `row` of head h of example b begins in the array of this line."""
    at = line * LINE
    return b * tables[at] + h * tables[at + 1] + row * tables[at + 2]


@njit(fastmath=CONTRACT, error_model="numpy")
def rows_of(tables, line):
    """Where the rows of a block lie in the array of this line."""
    return simd.shift_ints(tables, line * LINE + 3)


@njit(fastmath=CONTRACT, error_model="numpy")
def row_step(tables, line):
    """From row to row in the array of this line."""
    return tables[line * LINE + 2]


@njit(fastmath=CONTRACT, error_model="numpy")
def reaches(reach, first, rows, width, t, s, causal):
    """reach[i] of the queries from `first` on: all s keys, or if causal as many as leave one key less to each query
    before the last. What lies beyond `rows` sees what the last one sees.
    """
    for i in range(width):
        query = first + min(i, rows - 1)
        reach[i] = np.float32(query + s - t + 1 if causal else s)


class Counts(NamedTuple):
    """How many pairs of a query and a key are computed for each head, where a mask lets some be left out: in products
    that give scores, in sums over the keys of a query, and in sums over the queries of a key.
    """

    scores: int
    over_keys: int
    over_queries: int


def counts(t: int, s: int, causal: bool, whole: int = 1) -> Counts:
    """What the functions above do for t queries and s keys, in groups and blocks; lanes beyond a block's not counted.

    The keys that a block of queries walks along end at a multiple of `whole`.
    """

    def reach(size: int) -> np.ndarray:  # keys of each query when so many of them go together
        last = np.minimum(np.arange(t) // size * size + size - 1, t - 1)
        return last + s - t + 1 if causal else np.full(t, s)

    end = np.minimum(-(-reach(QUERIES) // whole) * whole, s)
    scores = np.minimum(-(-reach(WIDE) // GROUP) * GROUP, end)
    keys, first, over_queries = np.arange(s), np.arange(0, t, QUERIES), 0
    for start, stop in zip(first, np.minimum(first + QUERIES, t)):
        unseen = keys // GROUP * GROUP - (start + s - t) if causal else np.zeros(s, np.int64)
        over_queries += int(np.clip(stop - start - np.maximum(unseen, 0), 0, None).sum())
    return Counts(int(scores.sum()), int(reach(GROUP).sum()), over_queries)


def heads(build: Builder, x: Ref) -> Ref:
    """x (B,H,T,D) as it lies, or row-major if its rows have gaps."""
    return x if x.strides[3] == 1 or x.shape[3] == 1 else build.contiguous(x)


def scattered(x: Ref, queries: int) -> bool:
    """Whether rows of x (B,H,S,D) are far apart and so many blocks of queries go along them that it matters."""
    return queries >= MANY_QUERIES and x.strides[2] > x.shape[3]


def gathered(build: Builder, x: Ref, queries: int) -> Ref:
    """x (B,H,S,D) as it lies, or row-major if its rows have gaps, or are far apart where that matters."""
    return build.contiguous(x) if scattered(x, queries) else heads(build, x)


def empty_heads(build: Builder, shape: Sequence[int]) -> Ref:
    """A temporary (B,H,T,D) by shape, (B,T,H,D) in memory."""
    b, h, t, d = shape
    return build.empty((b, t, h, d)).permute((0, 2, 1, 3))


def tables(build: Builder, *arrays: Ref) -> Ref:
    """For each of the arrays (B,H,T,D) a line: its strides, then where the first rows lie. Before them two such lines,
    for neighbours and for the rows of a block of scores.
    """
    steps = [(0, 0, 1), (0, 0, QUERIES), *(x.strides[:3] for x in arrays)]
    rows = np.arange(LINE - 3)
    return build.constant(np.array([[*line, *line[2] * rows] for line in steps], np.int64))
