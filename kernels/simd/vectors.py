"""One vector of LANES numbers as a Numba type: load, store, arithmetic, transpose."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import models, overload, register_model

from kernels.cpu import LANES
from kernels.simd.raw import BYTES, F32, FLOATS, I8, I32, I64, INDEX, element, emitted

VECTOR, VECTOR_I32 = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


class VectorType(types.Type):
    """LANES numbers of 32 bits in one register."""

    def __init__(self, element: str) -> None:
        super().__init__(name=f"vector_{element}x{LANES}")
        self.llvm = VECTOR if element == "f32" else VECTOR_I32


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: VectorType) -> None:
        super().__init__(manager, fe_type, fe_type.llvm)


vector_f32, vector_i32 = VectorType("f32"), VectorType("i32")



def zeros_of_vector() -> Any:
    return ir.Constant(VECTOR, [0.0] * LANES)


def splat(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    one = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def _mask(builder: Any, columns: Any) -> Any:
    """Lane i is on where i < columns."""
    lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, splat(builder, columns))


def _masked(builder: Any, name: str, vector: Any, result: Any, arguments: list[Any]) -> Any:
    """Call llvm.masked.load or store for vectors of this type."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    suffix = {F32: "f32", I32: "i32", I8: "i8"}[vector.element]
    full_name = f"llvm.masked.{name}.v{LANES}{suffix}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, full_name), arguments)


def load_vector(builder: Any, pointer: Any, columns: Any | None, vector: Any = VECTOR) -> Any:
    """LANES values, or only the first `columns` and zeros."""
    pointer = builder.bitcast(pointer, vector.as_pointer())
    if columns is None:
        return builder.load(pointer, align=4)
    none = ir.Constant(vector, [0] * LANES)
    return _masked(builder, "load", vector, vector, [pointer, I32(4), _mask(builder, columns), none])


def store_vector(builder: Any, value: Any, pointer: Any, columns: Any | None, align: int = 4) -> None:
    """LANES values, or only the first `columns`."""
    pointer = builder.bitcast(pointer, value.type.as_pointer())
    if columns is None:
        builder.store(value, pointer, align=align)
    else:
        mask = _mask(builder, columns)
        _masked(builder, "store", value.type, ir.VoidType(), [value, pointer, I32(align), mask])


def fetch_line(builder: Any, pointer: Any, write: bool) -> None:
    """Begin to bring a cache line near, to be written or read."""
    place = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [place.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [place, I32(int(write)), I32(3), I32(1)])  # data, into the nearest cache


def extreme(relation: str) -> Callable[..., Any]:
    def choose(builder: Any, a: Any, b: Any) -> Any:
        # b is taken if it is more extreme or nan; a nan in a is never replaced by a number
        taken = builder.or_(builder.fcmp_ordered(relation, b, a), builder.fcmp_unordered("uno", b, b))
        return builder.select(taken, b, a)

    return choose


def _across(combine: Callable[..., Any]) -> Callable[..., Any]:
    def emit(builder: Any, a: Any) -> Any:
        undefined, width = ir.Constant(VECTOR, ir.Undefined), LANES
        while width > 1:
            width //= 2
            folded = [i + width if i < width else i for i in range(LANES)]
            a = combine(builder, a, builder.shuffle_vector(a, undefined, ir.Constant(VECTOR_I32, folded)))
        return builder.extract_element(a, I32(0))

    return emit


def _same(builder: Any, a: Any, b: Any) -> Any:
    both_nan = builder.and_(builder.fcmp_unordered("uno", a, a), builder.fcmp_unordered("uno", b, b))
    return builder.or_(builder.fcmp_ordered("==", a, b), both_nan)


def _all_finite(builder: Any, a: Any) -> Any:
    product = builder.fmul(a, zeros_of_vector())  # nan where a is not finite
    odd = builder.bitcast(builder.fcmp_unordered("uno", product, product), ir.IntType(LANES))
    return builder.icmp_unsigned("==", odd, ir.IntType(LANES)(0))


def _of_bytes(builder: Any, x: Any, at: Any) -> Any:
    place = builder.bitcast(element(builder, x, at), ir.VectorType(I8, LANES).as_pointer())
    return builder.sitofp(builder.zext(builder.load(place, align=1), VECTOR_I32), VECTOR)


def _of_bytes_backwards(builder: Any, x: Any, at: Any) -> Any:
    forwards = _of_bytes(builder, x, builder.sub(at, I64(LANES - 1)))
    backwards = ir.Constant(VECTOR_I32, list(range(LANES))[::-1])
    return builder.shuffle_vector(forwards, ir.Constant(VECTOR, ir.Undefined), backwards)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [a, b, c])


_TWO, _THREE = [vector_f32] * 2, [vector_f32] * 3
vector_of_bytes = emitted(vector_f32, [BYTES, INDEX], _of_bytes)  # (x, at) -> x[at], x[at + 1], ... as numbers
vector_of_bytes_backwards = emitted(vector_f32, [BYTES, INDEX], _of_bytes_backwards)  # x[at], x[at - 1], ...
vector_zero = emitted(vector_f32, [], lambda builder: zeros_of_vector())
vector_add = emitted(vector_f32, _TWO, lambda builder, a, b: builder.fadd(a, b))
vector_sub = emitted(vector_f32, _TWO, lambda builder, a, b: builder.fsub(a, b))
vector_mul = emitted(vector_f32, _TWO, lambda builder, a, b: builder.fmul(a, b))
vector_max = emitted(vector_f32, _TWO, extreme(">"))  # nan wins, as in vector_min
vector_min = emitted(vector_f32, _TWO, extreme("<"))
# (a) -> the largest, the smallest of its lanes
across_max = emitted(types.float32, [vector_f32], _across(extreme(">")))
across_min = emitted(types.float32, [vector_f32], _across(extreme("<")))
across_add = emitted(types.float32, [vector_f32], _across(lambda builder, a, b: builder.fadd(a, b)))  # their sum
all_finite = emitted(types.boolean, [vector_f32], _all_finite)
# (a, b, c) -> a b + c, rounded once where the CPU can
vector_multiply_add = emitted(vector_f32, _THREE, lambda builder, a, b, c: multiply_add(builder, a, b, c))
# (a, number) -> every lane times the number
vector_scale = emitted(
    vector_f32, [vector_f32, types.float32], lambda builder, a, number: builder.fmul(a, splat(builder, number))
)
# (a, b, c) -> c where a equals b (nan equals nan), else 0; and the other way round
where_same = emitted(
    vector_f32, _THREE, lambda builder, a, b, c: builder.select(_same(builder, a, b), c, zeros_of_vector())
)
where_differ = emitted(
    vector_f32, _THREE, lambda builder, a, b, c: builder.select(_same(builder, a, b), zeros_of_vector(), c)
)
# the same where nan equals nothing
where_equal = emitted(
    vector_f32, _THREE, lambda builder, a, b, c: builder.select(builder.fcmp_ordered("==", a, b), c, zeros_of_vector())
)
where_unequal = emitted(
    vector_f32, _THREE, lambda builder, a, b, c: builder.select(builder.fcmp_ordered("==", a, b), zeros_of_vector(), c)
)
# (a, c) -> c where a is positive, else 0
where_positive = emitted(
    vector_f32, _TWO,
    lambda builder, a, c: builder.select(builder.fcmp_ordered(">", a, zeros_of_vector()), c, zeros_of_vector()),
)  # fmt: skip

# (x, at): begin to bring x[at] into the cache, to be read; `at` may lie beyond the array
prefetch = emitted(
    types.void, [FLOATS, INDEX], lambda builder, x, at: fetch_line(builder, element(builder, x, at), False)
)


@overload(operator.add)
def _plus(a, b):
    if a == b == vector_f32:
        return lambda a, b: vector_add(a, b)


@overload(operator.sub)
def _minus(a, b):
    if a == b == vector_f32:
        return lambda a, b: vector_sub(a, b)


@overload(operator.mul)
def _times(a, b):
    if a == vector_f32 and b == types.float32:
        return lambda a, b: vector_scale(a, b)


_load_full = emitted(
    vector_f32, [FLOATS, INDEX],
    lambda builder, x, at: load_vector(builder, element(builder, x, at), None),
)  # fmt: skip
_load_some = emitted(
    vector_f32, [FLOATS, INDEX, INDEX],
    lambda builder, x, at, columns: load_vector(builder, element(builder, x, at), columns),
)  # fmt: skip
_store_full = emitted(
    types.void, [vector_f32, FLOATS, INDEX],
    lambda builder, value, y, at: store_vector(builder, value, element(builder, y, at), None),
)  # fmt: skip
_store_some = emitted(
    types.void, [vector_f32, FLOATS, INDEX, INDEX],
    lambda builder, value, y, at, columns: store_vector(builder, value, element(builder, y, at), columns),
)  # fmt: skip


@njit(fastmath=False)
def vector_load(x, first, columns):
    """x[first : first + LANES], with 0 from the lane `columns` on."""
    return _load_full(x, first) if columns >= LANES else _load_some(x, first, columns)


@njit(fastmath=False)
def vector_store(value, y, first, columns):
    """Store the first `columns` lanes."""
    if columns >= LANES:
        _store_full(value, y, first)
    else:
        _store_some(value, y, first, columns)


def _transpose(builder: Any, x: Any, x_at: Any, x_row: Any, y: Any, y_at: Any, y_row: Any) -> None:
    rows = []
    for _ in range(LANES):
        rows.append(load_vector(builder, element(builder, x, x_at), None))
        x_at = builder.add(x_at, x_row)
    # Swap the off-diagonal quarters of all 2 x 2 blocks: blocks of 1, then of 2, of 4, ...
    size = 1
    while size < LANES:
        low = [i if i & size == 0 else LANES + i - size for i in range(LANES)]
        high = [i + size if i & size == 0 else LANES + i for i in range(LANES)]
        for i in (i for i in range(LANES) if i & size == 0):
            pair = rows[i], rows[i + size]
            for j, lanes in ((i, low), (i + size, high)):
                rows[j] = builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(I32, LANES), lanes))
        size *= 2
    for row in rows:
        store_vector(builder, row, element(builder, y, y_at), None)
        y_at = builder.add(y_at, y_row)


# (x, x_first, x_row, y, y_first, y_row): y[y_first + j * y_row + i] = x[x_first + i * x_row + j] for i, j < LANES
transpose = emitted(types.void, [FLOATS, INDEX, INDEX] * 2, _transpose)
