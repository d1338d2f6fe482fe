"""Vectors, register tiles and raw memory as Numba types: the only file of the project that contains LLVM IR.

A register tile is a tuple of LLVM vectors, `height` rows of `vectors` vectors each. LLVM keeps such a tuple in
registers, so a kernel written in Python as a loop over `tile.step` runs at the rate of the core's multiply-add units.
Only the number of lanes and the tile heights depend on the CPU; the instructions are portable LLVM (fmuladd, masked
load and store), so `generic` works wherever LLVM does.

Left out: loops over tiles (`gemm.py`), everything LLVM vectorises well by itself (`elementwise.py`, `pool.py`, ...).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()

# What kernels receive: raw addresses, without bounds. Shapes are checked where steps are made, in the lowerings.
FLOATS = types.CPointer(types.float32)
DOUBLES = types.CPointer(types.float64)
INTS = types.CPointer(types.int64)


class Path(NamedTuple):
    """One instruction set: how many float32 lanes a vector has, and which tile heights cover a remainder of rows."""

    lanes: int
    # Tall first. height x 2 accumulators + 2 columns + 1 broadcast must fit in the registers (32 with AVX-512, else
    # 16), and at least 8 accumulators hide the 4 cycles of two multiply-add units. 1 must come last, so that every row
    # is covered. Measured with AVX-512: 8 rows are as quick as 12 on products (172 GFLOP/s at 256, limit 177), quicker
    # on convolutions of small images (154 against 117 to 151 at 4 x 4); 6 and 4 rows lose up to 5 and 15 %.
    heights: tuple[int, ...]
    features: frozenset[str]


PATHS = {
    "avx512": Path(16, (8, 4, 1), frozenset({"avx512f", "avx512vl", "avx512bw", "avx512dq"})),
    "avx2": Path(8, (6, 4, 1), frozenset({"avx2", "fma"})),
    "generic": Path(4, (6, 4, 1), frozenset()),
}


def choose_path(asked: str | None, features: frozenset[str]) -> str:
    """Name of the path to use: the one `asked` for, else the widest that the CPU's `features` allow.

    Raises ValueError if the name is unknown or the CPU lacks a feature that the path needs.
    """
    if not asked:
        return next(name for name, path in PATHS.items() if path.features <= features)
    if asked not in PATHS:
        raise ValueError(f"KERNELS_SIMD: unknown path {asked!r}; known: {', '.join(PATHS)}")
    missing = PATHS[asked].features - features
    if missing:
        able = [name for name, path in PATHS.items() if path.features <= features]
        raise ValueError(
            f"KERNELS_SIMD={asked}: this CPU lacks {', '.join(sorted(missing))}; it can run: {', '.join(able)}"
        )
    return asked


def _host_features() -> frozenset[str]:
    return frozenset(name for name, present in binding.get_host_cpu_features().items() if present)


PATH = choose_path(os.environ.get("KERNELS_SIMD"), _host_features())
LANES, HEIGHTS = PATHS[PATH].lanes, PATHS[PATH].heights
PANEL = 2 * LANES  # columns of a full tile

VECTOR = ir.VectorType(F32, LANES)


class VectorType(types.Type):
    """LANES float32 in one register."""

    def __init__(self) -> None:
        super().__init__(name=f"vector_f32x{LANES}")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: VectorType) -> None:
        super().__init__(manager, fe_type, VECTOR)


vector_f32 = VectorType()


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


def _load(builder: Any, pointer: Any, columns: Any | None) -> Any:
    """LANES values, or only the first `columns` and zeros."""
    pointer = builder.bitcast(pointer, VECTOR.as_pointer())
    if columns is None:
        return builder.load(pointer, align=4)
    mask = _mask(builder, columns)
    kind = ir.FunctionType(VECTOR, [pointer.type, I32, mask.type, VECTOR])
    masked = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
    return builder.call(masked, [pointer, I32(4), mask, _zero()])


def _store(builder: Any, value: Any, pointer: Any, columns: Any | None) -> None:
    """LANES values, or only the first `columns`."""
    pointer = builder.bitcast(pointer, VECTOR.as_pointer())
    if columns is None:
        builder.store(value, pointer, align=4)
        return
    mask = _mask(builder, columns)
    kind = ir.FunctionType(ir.VoidType(), [VECTOR, pointer.type, I32, mask.type])
    masked = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
    builder.call(masked, [value, pointer, I32(4), mask])


def _larger(builder: Any, a: Any, b: Any) -> Any:
    # b is taken if it is larger or nan; a nan in a is never replaced by a number
    return builder.select(builder.or_(builder.fcmp_ordered(">", b, a), builder.fcmp_unordered("uno", b, b)), b, a)


def _same(builder: Any, a: Any, b: Any) -> Any:
    both_nan = builder.and_(builder.fcmp_unordered("uno", a, a), builder.fcmp_unordered("uno", b, b))
    return builder.or_(builder.fcmp_ordered("==", a, b), both_nan)


_TWO, _THREE = [vector_f32] * 2, [vector_f32] * 3
vector_zero = _intrinsic(vector_f32, [], lambda builder: _zero())
vector_add = _intrinsic(vector_f32, _TWO, lambda builder, a, b: builder.fadd(a, b))
vector_max = _intrinsic(vector_f32, _TWO, _larger)  # nan wins
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

    def rows(builder: Any, a: Any, offsets: Any, r: Any) -> Any:
        found = [builder.load(_at(builder, offsets, builder.add(r, I64(i)))) for i in range(height)]
        return pack(builder, [_at(builder, a, offset) for offset in found])

    def step(builder: Any, acc: Any, a_rows: Any, j: Any, b: Any, k: Any, columns: Any) -> Any:
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
        b_row = [_load(builder, place, valid(columns)) for place in places(builder, b, k, I64(0), rows=1)]
        out = []
        for row in values(builder, a_rows):
            out += [(_splat(builder, builder.load(_at(builder, row, j), align=4)), vector) for vector in b_row]
        return pack(builder, [builder.call(multiply_add, [a, b, c]) for (a, b), c in zip(out, values(builder, acc))])

    def floor(builder: Any, acc: Any) -> Any:
        clamped = [builder.select(builder.fcmp_ordered("<", v, _zero()), _zero(), v) for v in values(builder, acc)]
        return pack(builder, clamped)

    def store(builder: Any, acc: Any, c: Any, first: Any, row_stride: Any, columns: Any) -> None:
        for value, place in zip(values(builder, acc), places(builder, c, first, row_stride)):
            _store(builder, value, place, valid(columns))

    return Tile(
        zeros=_intrinsic(kind, [], lambda builder: pack(builder, [_zero()] * (height * vectors))),
        repeat=_intrinsic(kind, [FLOATS, INDEX, INDEX], repeat),
        add=_intrinsic(kind, [kind, FLOATS, INDEX, INDEX, INDEX], add),
        rows=_intrinsic(row_kind, [FLOATS, INTS, INDEX], rows),
        step=_intrinsic(kind, [kind, row_kind, INDEX, FLOATS, INDEX, INDEX], step),
        floor=_intrinsic(kind, [kind], floor),
        store=_intrinsic(types.void, [kind, FLOATS, INDEX, INDEX, INDEX], store),
    )
