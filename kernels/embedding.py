"""Rows of a table by integer ids, and the sum of gradients back into it.

Left out: ids that are not int64, or that lie in memory in more than one stride (declined).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kernels.layout import merge_axes
from kernels.machine import EXACT, Floats, Ints, kernel
from kernels.program import Builder, Declined, Ref, contiguous_strides
from kernels.registry import lowers
from kernels.simd import LANES, vector_add, vector_load, vector_store, vector_zero

ELEMENT_NS = 0.2
ROW_NS = 5.0  # reading an id and going to its row
COLUMNS = 4 * LANES  # of one work item of the gradient: whole cache lines, and enough items for all threads
NAN = np.float32(np.nan)


@kernel(writes="y", fastmath=EXACT)
def embedding(table: Floats, ids: Ints, y: Floats, rows: int, d: int, id_step: int, lo: int, hi: int) -> None:
    """y[i] = table[ids[i]] for a table (rows, d); nan for ids outside it. Items: ids."""
    for item in range(lo, hi):
        source, target = ids[item * id_step], item * d
        if 0 <= source < rows:
            for j in range(d):
                y[target + j] = table[source * d + j]
        else:
            for j in range(d):
                y[target + j] = NAN


@kernel(writes="dtable", fastmath=EXACT)
def embedding_grad(
    g: Floats, ids: Ints, dtable: Floats, rows: int, n: int, d: int, id_step: int, lo: int, hi: int
) -> None:
    """dtable[ids[i]] += g[i] for i < n in this order; ids outside it are left out. Items: groups of COLUMNS columns."""
    for item in range(lo, hi):
        begin, end = item * COLUMNS, min(item * COLUMNS + COLUMNS, d)
        for row in range(rows):
            for j in range(begin, end, LANES):
                vector_store(vector_zero(), dtable, row * d + j, end - j)
        for i in range(n):
            row = ids[i * id_step]
            if 0 <= row < rows:
                for j in range(begin, end, LANES):
                    total = vector_add(vector_load(dtable, row * d + j, end - j), vector_load(g, i * d + j, end - j))
                    vector_store(total, dtable, row * d + j, end - j)


def _step_of(ids: Ref) -> int:
    """The one stride with which all ids can be read in row-major order."""
    axes = merge_axes(ids.shape, ids.strides, contiguous_strides(ids.shape))
    if len(axes) > 1:
        raise Declined(f"embedding: ids are {ids.shape}, strides {ids.strides}: more than one stride")
    return axes[0][1] if axes else 0


@lowers("embedding", dtypes=(np.float32, np.int64))
def lower_embedding(build: Builder, table: Ref, ids: Ref) -> Ref | None:
    """table (V, D), ids (...) -> (..., D)."""
    rows, d = table.shape
    y = build.empty((*ids.shape, d))
    build.step(
        embedding, build.contiguous(table), ids, y, rows, d, _step_of(ids),
        items=ids.size, cost_ns=ids.size * (ROW_NS + ELEMENT_NS * d),
    )  # fmt: skip
    return y


@lowers("embedding_grad", dtypes=(np.float32, np.int64))
def lower_embedding_grad(build: Builder, g: Ref, ids: Ref, *, shape: Sequence[int]) -> Ref | None:
    """g (..., D), ids (...) -> gradient of the table, of the given shape (V, D)."""
    rows, d = shape
    dtable, groups = build.empty((rows, d)), -(-d // COLUMNS)
    build.step(
        embedding_grad, build.contiguous(g), ids, dtable, rows, ids.size, d, _step_of(ids),
        items=groups, cost_ns=groups * ids.size * ROW_NS + ELEMENT_NS * (g.size + dtable.size),
    )  # fmt: skip
    return dtable
