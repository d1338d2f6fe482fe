"""Register tiles of float32: `height` rows of `vectors` vectors, kept in registers from the first step to the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from kernels.cpu import LANES
from kernels.simd.raw import BYTES, F32, FLOATS, I8, I64, INDEX, INTS, element, emitted
from kernels.simd.vectors import (
    VECTOR,
    VECTOR_I32,
    extreme,
    fetch_line,
    load_vector,
    multiply_add,
    splat,
    store_vector,
    vector_f32,
    zeros_of_vector,
)  # fmt: skip


class Tile(NamedTuple):
    """The operations on a register tile of one size, for compiled code.

    `columns` is the number of valid columns; only a masked tile (one vector wide) looks at it.
    """

    zeros: Any  # () -> tile
    repeat: Any  # (bias, first, columns) -> tile: every row is bias[first:]
    add: Any  # (tile, c, offsets, r, first, columns) -> tile + what `store` would overwrite
    rows: Any  # (a, offsets, r) -> row pointers a + offsets[r + i]
    step: Any  # (tile, rows, j, b, k, columns) -> tile + outer(rows[:][j], b[k:])
    floor: Any  # (tile) -> where(tile < 0, 0, tile), so that nan stays nan
    pool: Any  # (tile) -> tile of height / 4: the largest of every 4 rows, nan wins
    store: Any  # (tile, c, offsets, r, first, columns): row i to c[offsets[r + i] + first :]
    fetch: Any  # (c, offsets, r, first): begin to bring what `store` will overwrite into the cache
    # (tile, q, offsets, r, first, columns, inverse, zero): likewise bytes, clip(round(tile * inverse) + zero, 0, 255)
    store_codes: Any


def row_pointers(height: int) -> Callable[..., Any]:
    def rows(builder: Any, a: Any, offsets: Any, r: Any) -> Any:
        found = [builder.load(element(builder, offsets, builder.add(r, I64(i)))) for i in range(height)]
        return cgutils.pack_array(builder, [element(builder, a, offset) for offset in found])

    return rows


def largest_of_four(builder: Any, cells: list[Any], vectors: int, larger: Callable[..., Any]) -> list[Any]:
    """Of a tile's cells, row by row, the largest of every 4 rows that are left complete."""
    columns = [cells[i : i + 4 * vectors] for i in range(0, len(cells) // (4 * vectors) * 4 * vectors, 4 * vectors)]
    return [
        reduce(lambda a, b: larger(builder, a, b), four[v::vectors]) for four in columns for v in range(vectors)
    ]


def tile(height: int, vectors: int, masked: bool = False) -> Tile:
    """Make the operations of one tile size. A masked tile has one vector, of which only valid columns are touched."""
    if masked and vectors != 1:
        raise ValueError(f"tile: a masked tile has 1 vector, not {vectors}; cover the rest with full tiles")
    kind, row_kind = types.UniTuple(vector_f32, height * vectors), types.UniTuple(FLOATS, height)
    pack, values = cgutils.pack_array, cgutils.unpack_tuple

    def valid(columns: Any) -> Any:
        return columns if masked else None

    def row(builder: Any, x: Any, first: Any, columns: Any) -> list[Any]:
        """The vectors that begin at x[first]."""
        starts = [element(builder, x, builder.add(first, I64(v * LANES))) for v in range(vectors)]
        return [load_vector(builder, start, valid(columns)) for start in starts]

    def places(builder: Any, c: Any, offsets: Any, r: Any, first: Any) -> list[Any]:
        """Pointers to the vectors of a tile in memory."""
        starts = values(builder, row_pointers(height)(builder, c, offsets, r))
        return [element(builder, start, builder.add(first, I64(v * LANES))) for start in starts for v in range(vectors)]

    def repeat(builder: Any, bias: Any, first: Any, columns: Any) -> Any:
        return pack(builder, row(builder, bias, first, columns) * height)

    def add(builder: Any, acc: Any, c: Any, offsets: Any, r: Any, first: Any, columns: Any) -> Any:
        so_far = [load_vector(builder, place, valid(columns)) for place in places(builder, c, offsets, r, first)]
        return pack(builder, [builder.fadd(a, b) for a, b in zip(so_far, values(builder, acc))])

    def step(builder: Any, acc: Any, a_rows: Any, j: Any, b: Any, k: Any, columns: Any) -> Any:
        b_row = row(builder, b, k, columns)
        out = []
        for a_row in values(builder, a_rows):
            out += [(splat(builder, builder.load(element(builder, a_row, j), align=4)), vector) for vector in b_row]
        return pack(builder, [multiply_add(builder, a, b, c) for (a, b), c in zip(out, values(builder, acc))])

    def floor(builder: Any, acc: Any) -> Any:
        zero = zeros_of_vector()
        clamped = [builder.select(builder.fcmp_ordered("<", v, zero), zero, v) for v in values(builder, acc)]
        return pack(builder, clamped)

    def pool(builder: Any, acc: Any) -> Any:
        return pack(builder, largest_of_four(builder, values(builder, acc), vectors, extreme(">")))

    def store(builder: Any, acc: Any, c: Any, offsets: Any, r: Any, first: Any, columns: Any) -> None:
        for value, place in zip(values(builder, acc), places(builder, c, offsets, r, first)):
            store_vector(builder, value, place, valid(columns))

    def fetch(builder: Any, c: Any, offsets: Any, r: Any, first: Any) -> None:
        for place in places(builder, c, offsets, r, first):
            fetch_line(builder, place, True)

    def store_codes(builder: Any, acc: Any, q: Any, offsets: Any, r: Any, first: Any, columns: Any, *grid: Any) -> None:
        inverse, zero = (splat(builder, builder.fptrunc(number, F32)) for number in grid)
        low, high = builder.fneg(zero), builder.fsub(ir.Constant(VECTOR, [255.0] * LANES), zero)
        # Adding and taking away 1.5 * 2^23 rounds to an integer, to even at halves, anything as small as this.
        big = ir.Constant(VECTOR, [12582912.0] * LANES)
        for v, place in zip(values(builder, acc), places(builder, q, offsets, r, first)):
            v = builder.fmul(v, inverse)
            v = builder.select(builder.fcmp_ordered(">", v, low), v, low)  # nan becomes the lowest code
            v = builder.select(builder.fcmp_ordered("<", v, high), v, high)
            v = builder.fadd(builder.fsub(builder.fadd(v, big), big), zero)
            code = builder.trunc(builder.fptosi(v, VECTOR_I32), ir.VectorType(I8, LANES))
            store_vector(builder, code, place, valid(columns), align=1)

    where = [INTS, INDEX, INDEX, INDEX]
    pooled = types.UniTuple(vector_f32, height // 4 * vectors)
    return Tile(
        zeros=emitted(kind, [], lambda builder: pack(builder, [zeros_of_vector()] * (height * vectors))),
        repeat=emitted(kind, [FLOATS, INDEX, INDEX], repeat),
        add=emitted(kind, [kind, FLOATS, *where], add),
        rows=emitted(row_kind, [FLOATS, INTS, INDEX], row_pointers(height)),
        step=emitted(kind, [kind, row_kind, INDEX, FLOATS, INDEX, INDEX], step),
        floor=emitted(kind, [kind], floor),
        pool=emitted(pooled, [kind], pool),
        store=emitted(types.void, [kind, FLOATS, *where], store),
        fetch=emitted(types.void, [FLOATS, INTS, INDEX, INDEX], fetch),
        store_codes=emitted(types.void, [kind, BYTES, *where, types.float64, types.float64], store_codes),
    )
