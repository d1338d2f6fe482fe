"""Raw memory and steps for compiled code, and the way every intrinsic of this package is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
F32 = ir.FloatType()

# What kernels receive: raw addresses, without bounds. Shapes are checked where steps are made, in the lowerings.
FLOATS = types.CPointer(types.float32)
DOUBLES = types.CPointer(types.float64)
INTS = types.CPointer(types.int64)
WORDS = types.CPointer(types.int32)
BYTES = types.CPointer(types.uint8)



INDEX = types.intp


def emitted(result: types.Type, kinds: Sequence[types.Type], emit: Callable[..., Any]) -> Any:
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



def element(builder: Any, pointer: Any, index: Any) -> Any:
    return builder.gep(pointer, [index])


def _call_kernel(builder: Any, kernel: Any, *arguments: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64, I64])
    builder.call(builder.inttoptr(kernel, kind.as_pointer()), arguments)


# (address) -> the int64 values there
ints_at = emitted(INTS, [types.int64], lambda builder, address: builder.inttoptr(address, I64.as_pointer()))
words_at = emitted(WORDS, [types.int64], lambda builder, address: builder.inttoptr(address, I32.as_pointer()))
# (pointer, count) -> pointer + count elements
shift = emitted(FLOATS, [FLOATS, INDEX], element)
shift_ints = emitted(INTS, [INTS, INDEX], element)
shift_bytes = emitted(BYTES, [BYTES, INDEX], element)
# (address of a C function void(int64* step, int64 lo, int64 hi), step, lo, hi): call it
call_kernel = emitted(types.void, [types.int64, INTS, types.int64, types.int64], _call_kernel)
# The same bits as another type.
int_as_float = emitted(types.float32, [types.int32], lambda builder, value: builder.bitcast(value, F32))
float_as_int = emitted(types.int32, [types.float32], lambda builder, value: builder.bitcast(value, I32))


def unpack(kinds: Sequence[types.Type]) -> Any:
    """Intrinsic `(step) -> tuple`: the words of a step as addresses, integers and floats, one for each kind."""
    result = types.Tuple(kinds)

    @intrinsic
    def words(context, step):
        def codegen(context, builder, signature, args):
            values = []
            for i, kind in enumerate(kinds):
                word, llvm = builder.load(element(builder, args[0], I64(i))), context.get_value_type(kind)
                if isinstance(kind, types.CPointer):
                    word = builder.inttoptr(word, llvm)
                elif word.type != llvm:
                    word = builder.bitcast(word, llvm)
                values.append(word)
            return context.make_tuple(builder, result, values)

        return result(INTS), codegen

    return words
