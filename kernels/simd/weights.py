"""What attention needs of vectors: powers of two, the larger of two, choice by comparison, dot products side by side.

Left out: softmax and attention themselves (`attention_tiles.py`, `decoding.py`).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from kernels.cpu import LANES
from kernels.simd.raw import FLOATS, I32, I64, INDEX, element, emitted
from kernels.simd.vectors import (
    VECTOR,
    VECTOR_I32,
    load_vector,
    multiply_add,
    splat,
    vector_f32,
    zeros_of_vector,
)  # fmt: skip

# 2 ** r = 1 + r (P1 + r (P2 + ...)), fitted for the least relative error on |r| <= 1/2: 2e-9 before rounding. 2 ** 0 is
# 1 exactly.
POWERS = (
    0.6931472028550592, 0.24022647913638223, 0.055503324711477994, 0.009618437356627048, 0.0013398874406635643,
    0.00015353362176162992,
)  # fmt: skip
_PRODUCTS = types.UniTuple(vector_f32, LANES)
_FOUR = [vector_f32] * 4


def _constant(value: float) -> Any:
    return ir.Constant(VECTOR, [value] * LANES)


def _exp2(builder: Any, x: Any) -> Any:
    # Adding 1.5 * 2^23 rounds to an integer, which is left in the low bits; 127 more make them an exponent.
    low, shift = _constant(-127.0), _constant(12582912.0 + 127)
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)  # nan stays nan
    shifted = builder.fadd(x, shift)
    r, power = builder.fsub(x, builder.fsub(shifted, shift)), _constant(POWERS[-1])
    for coefficient in (*POWERS[-2::-1], 1.0):
        power = multiply_add(builder, power, r, _constant(coefficient))
    bits = builder.shl(builder.bitcast(shifted, VECTOR_I32), ir.Constant(VECTOR_I32, [23] * LANES))
    return builder.fmul(power, builder.bitcast(bits, VECTOR))


def _dots(builder: Any, acc: Any, x: Any, at: Any, row: Any, rows: Any, y: Any, columns: Any = None) -> Any:
    last, out = builder.sub(rows, I64(1)), []
    for i, so_far in enumerate(cgutils.unpack_tuple(builder, acc)):
        inside = builder.select(builder.icmp_signed("<", I64(i), last), I64(i), last)
        place = element(builder, x, builder.add(at, builder.mul(inside, row)))
        out.append(multiply_add(builder, load_vector(builder, place, columns), y, so_far))
    return cgutils.pack_array(builder, out)


def _fold(builder: Any, acc: Any) -> Any:
    rows, size = cgutils.unpack_tuple(builder, acc), 1
    while size < LANES:  # the sums of pairs, then of fours, ...: lane i comes from row i
        low = [i if i & size == 0 else LANES + i - size for i in range(LANES)]
        high = [i + size if i & size == 0 else LANES + i for i in range(LANES)]
        for i in range(0, LANES, 2 * size):
            halves = [
                builder.shuffle_vector(rows[i], rows[i + size], ir.Constant(ir.VectorType(I32, LANES), lanes))
                for lanes in (low, high)
            ]
            rows[i] = builder.fadd(*halves)
        size *= 2
    return rows[0]


vector_splat = emitted(vector_f32, [types.float32], splat)
# (a, b) -> a where it is larger, else b: a nan in a is dropped, one in b is kept
vector_larger = emitted(
    vector_f32, [vector_f32] * 2, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b)
)
# (a, b, x, y) -> x where a < b, else y
where_less = emitted(
    vector_f32, _FOUR, lambda builder, a, b, x, y: builder.select(builder.fcmp_ordered("<", a, b), x, y)
)
vector_exp2 = emitted(vector_f32, [vector_f32], _exp2)  # 2 ** x; 0 where that is less than 2^-126; for x < 128
no_dots = emitted(
    _PRODUCTS, [], lambda builder: cgutils.pack_array(builder, [zeros_of_vector()] * LANES)
)
# (products, x, at, row, rows, y, columns): products[i] + x[at + min(i, rows - 1) * row :] * y, lane by lane
add_products = emitted(_PRODUCTS, [_PRODUCTS, FLOATS, INDEX, INDEX, INDEX, vector_f32], _dots)
add_some_products = emitted(_PRODUCTS, [_PRODUCTS, FLOATS, INDEX, INDEX, INDEX, vector_f32, INDEX], _dots)
dots_of = emitted(vector_f32, [_PRODUCTS], _fold)  # (products) -> lane i is the sum of the lanes of products[i]
