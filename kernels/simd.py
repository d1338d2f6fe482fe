"""Vectors, register tiles and raw memory as Numba types: the only file of the project that contains LLVM IR.

A register tile is a tuple of LLVM vectors, `height` rows of `vectors` vectors each. LLVM keeps such a tuple in
registers, so a kernel written in Python as a loop over `tile.step` runs at the rate of the core's multiply-add units.
Only the number of lanes, the tile heights and the byte dot product depend on the CPU (`cpu.py`); the instructions are
portable LLVM (fmuladd, masked load and store), so `generic` works wherever LLVM does.

Left out: loops over tiles (`gemm.py`), everything LLVM vectorises well by itself (`elementwise.py`, `pool.py`, ...).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from kernels.cpu import HEIGHTS, LANES, PANEL, VNNI  # noqa: F401  (kernels read them here, beside the tiles)

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()

# What kernels receive: raw addresses, without bounds. Shapes are checked where steps are made, in the lowerings.
FLOATS = types.CPointer(types.float32)
DOUBLES = types.CPointer(types.float64)
INTS = types.CPointer(types.int64)
WORDS = types.CPointer(types.int32)
BYTES = types.CPointer(types.uint8)


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


INDEX = types.intp


def _intrinsic(result: types.Type, kinds: Sequence[types.Type], emit: Callable[..., Any]) -> Any:
    """A function for compiled code from `kinds` to `result`; `emit(builder, *values)` writes its LLVM IR."""

    def typed(context: Any, *_: types.Type) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            value = emit(builder, *args)
            return context.get_dummy_value() if result is types.void else value

        return result(*kinds), codegen

    # Numba reads the number of arguments off the signature.
    names = ["context", *[f"argument{i}" for i in range(len(kinds))]]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return intrinsic(typed)


# ------------------------------------------------------------------------------------------------ raw memory and steps


def _at(builder: Any, pointer: Any, index: Any) -> Any:
    return builder.gep(pointer, [index])


def _call_kernel(builder: Any, kernel: Any, *arguments: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64, I64])
    builder.call(builder.inttoptr(kernel, kind.as_pointer()), arguments)


# (address) -> the int64 values there
ints_at = _intrinsic(INTS, [types.int64], lambda builder, address: builder.inttoptr(address, I64.as_pointer()))
# (pointer, count) -> pointer + count elements
shift = _intrinsic(FLOATS, [FLOATS, INDEX], _at)
shift_ints = _intrinsic(INTS, [INTS, INDEX], _at)
shift_bytes = _intrinsic(BYTES, [BYTES, INDEX], _at)
# (address of a C function void(int64* step, int64 lo, int64 hi), step, lo, hi): call it
call_kernel = _intrinsic(types.void, [types.int64, INTS, types.int64, types.int64], _call_kernel)
# The same bits as another type.
int_as_float = _intrinsic(types.float32, [types.int32], lambda builder, value: builder.bitcast(value, F32))
float_as_int = _intrinsic(types.int32, [types.float32], lambda builder, value: builder.bitcast(value, I32))


def unpack(kinds: Sequence[types.Type]) -> Any:
    """Intrinsic `(step) -> tuple`: the words of a step as addresses, integers and floats, one for each kind."""
    result = types.Tuple(kinds)

    @intrinsic
    def words(context, step):
        def codegen(context, builder, signature, args):
            values = []
            for i, kind in enumerate(kinds):
                word, llvm = builder.load(_at(builder, args[0], I64(i))), context.get_value_type(kind)
                if isinstance(kind, types.CPointer):
                    word = builder.inttoptr(word, llvm)
                elif word.type != llvm:
                    word = builder.bitcast(word, llvm)
                values.append(word)
            return context.make_tuple(builder, result, values)

        return result(INTS), codegen

    return words


# --------------------------------------------------------------------------------------------------------- one vector


def _zero() -> Any:
    return ir.Constant(VECTOR, [0.0] * LANES)


def _splat(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    one = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def _mask(builder: Any, columns: Any) -> Any:
    """Lane i is on where i < columns."""
    lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, _splat(builder, columns))


def _masked(builder: Any, name: str, vector: Any, result: Any, arguments: list[Any]) -> Any:
    """Call llvm.masked.load or store for vectors of this type."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    suffix = {F32: "f32", I32: "i32", I8: "i8"}[vector.element]
    full_name = f"llvm.masked.{name}.v{LANES}{suffix}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, full_name), arguments)


def _load(builder: Any, pointer: Any, columns: Any | None, vector: Any = VECTOR) -> Any:
    """LANES values, or only the first `columns` and zeros."""
    pointer = builder.bitcast(pointer, vector.as_pointer())
    if columns is None:
        return builder.load(pointer, align=4)
    none = ir.Constant(vector, [0] * LANES)
    return _masked(builder, "load", vector, vector, [pointer, I32(4), _mask(builder, columns), none])


def _store(builder: Any, value: Any, pointer: Any, columns: Any | None, align: int = 4) -> None:
    """LANES values, or only the first `columns`."""
    pointer = builder.bitcast(pointer, value.type.as_pointer())
    if columns is None:
        builder.store(value, pointer, align=align)
    else:
        mask = _mask(builder, columns)
        _masked(builder, "store", value.type, ir.VoidType(), [value, pointer, I32(align), mask])


def _extreme(relation: str) -> Callable[..., Any]:
    def choose(builder: Any, a: Any, b: Any) -> Any:
        # b is taken if it is more extreme or nan; a nan in a is never replaced by a number
        taken = builder.or_(builder.fcmp_ordered(relation, b, a), builder.fcmp_unordered("uno", b, b))
        return builder.select(taken, b, a)

    return choose


def _same(builder: Any, a: Any, b: Any) -> Any:
    both_nan = builder.and_(builder.fcmp_unordered("uno", a, a), builder.fcmp_unordered("uno", b, b))
    return builder.or_(builder.fcmp_ordered("==", a, b), both_nan)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [a, b, c])


_TWO, _THREE = [vector_f32] * 2, [vector_f32] * 3
vector_zero = _intrinsic(vector_f32, [], lambda builder: _zero())
vector_add = _intrinsic(vector_f32, _TWO, lambda builder, a, b: builder.fadd(a, b))
vector_sub = _intrinsic(vector_f32, _TWO, lambda builder, a, b: builder.fsub(a, b))
vector_mul = _intrinsic(vector_f32, _TWO, lambda builder, a, b: builder.fmul(a, b))
vector_max = _intrinsic(vector_f32, _TWO, _extreme(">"))  # nan wins, as in vector_min
vector_min = _intrinsic(vector_f32, _TWO, _extreme("<"))
# (a, b, c) -> a b + c, rounded once where the CPU can
vector_multiply_add = _intrinsic(vector_f32, _THREE, lambda builder, a, b, c: _multiply_add(builder, a, b, c))
# (a, number) -> every lane times the number
vector_scale = _intrinsic(
    vector_f32, [vector_f32, types.float32], lambda builder, a, number: builder.fmul(a, _splat(builder, number))
)
# (a, b, c) -> c where a equals b (nan equals nan), else 0; and the other way round
where_same = _intrinsic(
    vector_f32, _THREE, lambda builder, a, b, c: builder.select(_same(builder, a, b), c, _zero())
)
where_differ = _intrinsic(
    vector_f32, _THREE, lambda builder, a, b, c: builder.select(_same(builder, a, b), _zero(), c)
)

_load_full = _intrinsic(vector_f32, [FLOATS, INDEX], lambda builder, x, at: _load(builder, _at(builder, x, at), None))
_load_some = _intrinsic(
    vector_f32, [FLOATS, INDEX, INDEX], lambda builder, x, at, columns: _load(builder, _at(builder, x, at), columns)
)
_store_full = _intrinsic(
    types.void, [vector_f32, FLOATS, INDEX],
    lambda builder, value, y, at: _store(builder, value, _at(builder, y, at), None),
)  # fmt: skip
_store_some = _intrinsic(
    types.void, [vector_f32, FLOATS, INDEX, INDEX],
    lambda builder, value, y, at, columns: _store(builder, value, _at(builder, y, at), columns),
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
        rows.append(_load(builder, _at(builder, x, x_at), None))
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
        _store(builder, row, _at(builder, y, y_at), None)
        y_at = builder.add(y_at, y_row)


# (x, x_first, x_row, y, y_first, y_row): y[y_first + j * y_row + i] = x[x_first + i * x_row + j] for i, j < LANES
transpose = _intrinsic(types.void, [FLOATS, INDEX, INDEX] * 2, _transpose)


# -------------------------------------------------------------------------------------------------------------- tiles


class Tile(NamedTuple):
    """The operations on a register tile of one size, for compiled code.

    `columns` is the number of valid columns; only a masked tile (one vector wide) looks at it.
    """

    zeros: Any  # () -> tile
    repeat: Any  # (bias, first, columns) -> tile: every row is bias[first:]
    add: Any  # (tile, c, first, row_stride, columns) -> c[first:] + tile
    rows: Any  # (a, offsets, r) -> row pointers a + offsets[r + i]
    step: Any  # (tile, rows, j, b, k, columns) -> tile + outer(rows[:][j], b[k:])
    floor: Any  # (tile) -> where(tile < 0, 0, tile), so that nan stays nan
    store: Any  # (tile, c, first, row_stride, columns)
    store_at: Any  # (tile, c, offsets, r, first, columns): row i to c[offsets[r + i] + first :]
    # (tile, q, offsets, r, first, columns, inverse, zero): likewise bytes, clip(round(tile * inverse) + zero, 0, 255)
    store_codes: Any


def _row_pointers(height: int) -> Callable[..., Any]:
    def rows(builder: Any, a: Any, offsets: Any, r: Any) -> Any:
        found = [builder.load(_at(builder, offsets, builder.add(r, I64(i)))) for i in range(height)]
        return cgutils.pack_array(builder, [_at(builder, a, offset) for offset in found])

    return rows


def tile(height: int, vectors: int, masked: bool = False) -> Tile:
    """Make the operations of one tile size. A masked tile has one vector, of which only valid columns are touched."""
    if masked and vectors != 1:
        raise ValueError(f"tile: a masked tile has 1 vector, not {vectors}; cover the rest with full tiles")
    kind, row_kind = types.UniTuple(vector_f32, height * vectors), types.UniTuple(FLOATS, height)
    pack, values = cgutils.pack_array, cgutils.unpack_tuple

    def valid(columns: Any) -> Any:
        return columns if masked else None

    def places(builder: Any, c: Any, first: Any, row_stride: Any, rows: int = height) -> list[Any]:
        """Pointers to the vectors of a tile in memory."""
        found = []
        for _ in range(rows):
            found += [_at(builder, c, builder.add(first, I64(v * LANES))) for v in range(vectors)]
            first = builder.add(first, row_stride)
        return found

    def repeat(builder: Any, bias: Any, first: Any, columns: Any) -> Any:
        row = [_load(builder, place, valid(columns)) for place in places(builder, bias, first, I64(0), rows=1)]
        return pack(builder, row * height)

    def add(builder: Any, acc: Any, c: Any, first: Any, row_stride: Any, columns: Any) -> Any:
        so_far = [_load(builder, place, valid(columns)) for place in places(builder, c, first, row_stride)]
        return pack(builder, [builder.fadd(a, b) for a, b in zip(so_far, values(builder, acc))])

    def step(builder: Any, acc: Any, a_rows: Any, j: Any, b: Any, k: Any, columns: Any) -> Any:
        b_row = [_load(builder, place, valid(columns)) for place in places(builder, b, k, I64(0), rows=1)]
        out = []
        for row in values(builder, a_rows):
            out += [(_splat(builder, builder.load(_at(builder, row, j), align=4)), vector) for vector in b_row]
        return pack(builder, [_multiply_add(builder, a, b, c) for (a, b), c in zip(out, values(builder, acc))])

    def floor(builder: Any, acc: Any) -> Any:
        clamped = [builder.select(builder.fcmp_ordered("<", v, _zero()), _zero(), v) for v in values(builder, acc)]
        return pack(builder, clamped)

    def store(builder: Any, acc: Any, c: Any, first: Any, row_stride: Any, columns: Any) -> None:
        for value, place in zip(values(builder, acc), places(builder, c, first, row_stride)):
            _store(builder, value, place, valid(columns))

    def scatter(builder: Any, vectors_out: list[Any], c: Any, offsets: Any, r: Any, first: Any, columns: Any) -> None:
        starts = cgutils.unpack_tuple(builder, _row_pointers(height)(builder, c, offsets, r))
        for i, value in enumerate(vectors_out):
            place = _at(builder, starts[i // vectors], builder.add(first, I64(i % vectors * LANES)))
            _store(builder, value, place, valid(columns), align=1 if value.type.element == I8 else 4)

    def store_at(builder: Any, acc: Any, *where: Any) -> None:
        scatter(builder, values(builder, acc), *where)

    def store_codes(builder: Any, acc: Any, q: Any, offsets: Any, r: Any, first: Any, columns: Any, *grid: Any) -> None:
        inverse, zero = (_splat(builder, builder.fptrunc(number, F32)) for number in grid)
        low, high = builder.fneg(zero), builder.fsub(ir.Constant(VECTOR, [255.0] * LANES), zero)
        # Adding and taking away 1.5 * 2^23 rounds to an integer, to even at halves, anything as small as this.
        big, codes = ir.Constant(VECTOR, [12582912.0] * LANES), []
        for v in values(builder, acc):
            v = builder.fmul(v, inverse)
            v = builder.select(builder.fcmp_ordered(">", v, low), v, low)  # nan becomes the lowest code
            v = builder.select(builder.fcmp_ordered("<", v, high), v, high)
            v = builder.fadd(builder.fsub(builder.fadd(v, big), big), zero)
            codes.append(builder.trunc(builder.fptosi(v, VECTOR_I32), ir.VectorType(I8, LANES)))
        scatter(builder, codes, q, offsets, r, first, columns)

    place_kind = [INTS, INDEX, INDEX, INDEX]
    return Tile(
        zeros=_intrinsic(kind, [], lambda builder: pack(builder, [_zero()] * (height * vectors))),
        repeat=_intrinsic(kind, [FLOATS, INDEX, INDEX], repeat),
        add=_intrinsic(kind, [kind, FLOATS, INDEX, INDEX, INDEX], add),
        rows=_intrinsic(row_kind, [FLOATS, INTS, INDEX], _row_pointers(height)),
        step=_intrinsic(kind, [kind, row_kind, INDEX, FLOATS, INDEX, INDEX], step),
        floor=_intrinsic(kind, [kind], floor),
        store=_intrinsic(types.void, [kind, FLOATS, INDEX, INDEX, INDEX], store),
        store_at=_intrinsic(types.void, [kind, FLOATS, *place_kind], store_at),
        store_codes=_intrinsic(types.void, [kind, BYTES, *place_kind, types.float64, types.float64], store_codes),
    )


# ------------------------------------------------------------------------------------------------------- integer tiles


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
        places = [_at(builder, x, builder.add(first, I64(v * LANES))) for v in range(vectors)]
        return [_load(builder, place, columns if masked else None, vector) for place in places]

    def repeat(builder: Any, start: Any, first: Any, columns: Any) -> Any:
        return pack(builder, row(builder, start, first, columns, VECTOR_I32) * height)

    def step(builder: Any, acc: Any, a_rows: Any, j: Any, b: Any, k: Any) -> Any:
        columns = []
        for v in range(vectors):
            place = builder.bitcast(_at(builder, b, builder.add(k, I64(4 * v * LANES))), VECTOR_I32.as_pointer())
            columns.append(builder.load(place, align=1))
        pairs = []
        for a_row in values(builder, a_rows):
            four = builder.load(builder.bitcast(_at(builder, a_row, j), I32.as_pointer()), align=1)
            pairs += [(_splat(builder, four), column) for column in columns]
        return pack(builder, [_dot(builder, c, a, b) for (a, b), c in zip(pairs, values(builder, acc))])

    def add(builder: Any, a: Any, b: Any) -> Any:
        return pack(builder, [builder.add(x, y) for x, y in zip(values(builder, a), values(builder, b))])

    def pool(builder: Any, acc: Any) -> Any:
        cells, best = values(builder, acc), []
        for at in range(0, height * vectors, 4 * vectors):
            for v in range(vectors):
                top = cells[at + v]
                for other in cells[at + v + vectors : at + 4 * vectors : vectors]:
                    top = builder.select(builder.icmp_signed(">", other, top), other, top)
                best.append(top)
        return pack(builder, best)

    def scaled(builder: Any, acc: Any, scale: Any, bias: Any, first: Any, columns: Any) -> Any:
        factors, terms = row(builder, scale, first, columns) * height, row(builder, bias, first, columns) * height
        floats = [builder.sitofp(c, VECTOR) for c in values(builder, acc)]
        return pack(builder, [builder.fadd(builder.fmul(x, m), b) for x, m, b in zip(floats, factors, terms)])

    pooled = types.UniTuple(vector_i32, height // 4 * vectors)
    return IntTile(
        repeat=_intrinsic(kind, [WORDS, INDEX, INDEX], repeat),
        rows=_intrinsic(row_kind, [BYTES, INTS, INDEX], _row_pointers(height)),
        step=_intrinsic(kind, [kind, row_kind, INDEX, BYTES, INDEX], step),
        add=_intrinsic(kind, [kind, kind], add),
        zeros=_intrinsic(kind, [], lambda builder: pack(builder, [ir.Constant(VECTOR_I32, None)] * height * vectors)),
        pool=_intrinsic(pooled, [kind], pool),
        scaled=_intrinsic(float_kind, [kind, FLOATS, FLOATS, INDEX, INDEX], scaled),
    )
