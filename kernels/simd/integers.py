"""Register tiles of exact int32 sums of products of bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from kernels.cpu import LANES, VNNI
from kernels.simd.raw import BYTES, FLOATS, I32, I64, INDEX, INTS, WORDS, element, emitted
from kernels.simd.tiles import largest_of_four, row_pointers
from kernels.simd.vectors import VECTOR, VECTOR_I32, load_vector, splat, vector_f32, vector_i32


def _dot(builder: Any, acc: Any, a: Any, b: Any) -> Any:
    """acc + in each lane the dot product of its 4 bytes of a (unsigned) and of b (signed), exact."""
    if VNNI:
        vectors = [VECTOR_I32] * 3
        name = f"llvm.x86.avx512.vpdpbusd.{32 * LANES}"
        return builder.call(
            cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR_I32, vectors), name), [acc, a, b]
        )
    # Bytes 0 and 2, then 1 and 3, as 16-bit numbers whose products are added in pairs: LLVM knows this as pmaddwd.
    pairs = ir.VectorType(ir.IntType(16), 2 * LANES)
    wide = ir.VectorType(I32, 2 * LANES)
    eight = ir.Constant(pairs, [8] * 2 * LANES)
    a, b = builder.bitcast(a, pairs), builder.bitcast(b, pairs)
    low = builder.and_(a, ir.Constant(pairs, [255] * 2 * LANES)), builder.ashr(builder.shl(b, eight), eight)
    high = builder.lshr(a, eight), builder.ashr(b, eight)
    for x, y in (low, high):
        products = builder.mul(builder.sext(x, wide), builder.sext(y, wide))
        for first in (0, 1):
            lanes = ir.Constant(VECTOR_I32, list(range(first, 2 * LANES, 2)))
            acc = builder.add(acc, builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), lanes))
    return acc


class IntTile(NamedTuple):
    """The operations on a tile of exact int32 sums, for compiled code; `columns` as for `Tile`."""

    repeat: Any  # (start, first, columns) -> tile: every row is start[first:]
    rows: Any  # (a, offsets, r) -> row pointers a + offsets[r + i], in bytes
    step: Any  # (tile, rows, j, b, k) -> tile + outer products of the 4 bytes rows[:][j:] and those of columns b[k:]
    add: Any  # (tile, tile) -> tile
    zeros: Any  # () -> tile
    pool: Any  # (tile) -> tile of height / 4: the largest of every 4 rows
    scaled: Any  # (tile, scale, bias, first, columns) -> float tile * scale[first:] + bias[first:]


def int_tile(height: int, vectors: int, masked: bool = False) -> IntTile:
    """Make the operations of one tile size on integers."""
    kind, row_kind = types.UniTuple(vector_i32, height * vectors), types.UniTuple(BYTES, height)
    float_kind = types.UniTuple(vector_f32, height * vectors)
    pack, values = cgutils.pack_array, cgutils.unpack_tuple

    def row(builder: Any, x: Any, first: Any, columns: Any, vector: Any = VECTOR) -> list[Any]:
        places = [element(builder, x, builder.add(first, I64(v * LANES))) for v in range(vectors)]
        return [load_vector(builder, place, columns if masked else None, vector) for place in places]

    def repeat(builder: Any, start: Any, first: Any, columns: Any) -> Any:
        return pack(builder, row(builder, start, first, columns, VECTOR_I32) * height)

    def step(builder: Any, acc: Any, a_rows: Any, j: Any, b: Any, k: Any) -> Any:
        columns = []
        for v in range(vectors):
            place = builder.bitcast(element(builder, b, builder.add(k, I64(4 * v * LANES))), VECTOR_I32.as_pointer())
            columns.append(builder.load(place, align=1))
        pairs = []
        for a_row in values(builder, a_rows):
            four = builder.load(builder.bitcast(element(builder, a_row, j), I32.as_pointer()), align=1)
            pairs += [(splat(builder, four), column) for column in columns]
        return pack(builder, [_dot(builder, c, a, b) for (a, b), c in zip(pairs, values(builder, acc))])

    def add(builder: Any, a: Any, b: Any) -> Any:
        return pack(builder, [builder.add(x, y) for x, y in zip(values(builder, a), values(builder, b))])

    def larger(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.icmp_signed(">", b, a), b, a)

    def pool(builder: Any, acc: Any) -> Any:
        return pack(builder, largest_of_four(builder, values(builder, acc), vectors, larger))

    def scaled(builder: Any, acc: Any, scale: Any, bias: Any, first: Any, columns: Any) -> Any:
        factors, terms = row(builder, scale, first, columns) * height, row(builder, bias, first, columns) * height
        floats = [builder.sitofp(c, VECTOR) for c in values(builder, acc)]
        return pack(builder, [builder.fadd(builder.fmul(x, m), b) for x, m, b in zip(floats, factors, terms)])

    pooled = types.UniTuple(vector_i32, height // 4 * vectors)
    return IntTile(
        repeat=emitted(kind, [WORDS, INDEX, INDEX], repeat),
        rows=emitted(row_kind, [BYTES, INTS, INDEX], row_pointers(height)),
        step=emitted(kind, [kind, row_kind, INDEX, BYTES, INDEX], step),
        add=emitted(kind, [kind, kind], add),
        zeros=emitted(kind, [], lambda builder: pack(builder, [ir.Constant(VECTOR_I32, None)] * height * vectors)),
        pool=emitted(pooled, [kind], pool),
        scaled=emitted(float_kind, [kind, FLOATS, FLOATS, INDEX, INDEX], scaled),
    )
