"""Which op has which lowering, and one-op programs for eager calls.

A lowering turns one op into kernel steps: `@lowers("conv2d") def conv2d(build, x, w, bias=None, *, stride, ...) -> Ref
| None`. It receives symbolic arrays and may decline by returning None; the caller then runs its reference. The same
lowerings serve plans, where a builder takes the steps of a whole graph.

Left out: ops themselves and the choice between backends (the engine).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from kernels import machine, threads
from kernels.program import ALIGNMENT, Builder, Declined, Ref
from kernels.symbols import FLOAT32

Lowering = Callable[..., "Ref | None"]

# The files that register lowerings, imported when one is first asked for.
MODULES = (
    "matmul", "conv", "pool", "elementwise", "gelu", "dropout", "softmax", "batch_norm", "batch_norm_grad",
    "layer_norm", "reduce", "embedding", "optimizers", "attention", "attention_grad", "decoding", "int8", "sparse",
    "views", "choosing", "clipping", "binary_cross_entropy", "augment",
)  # fmt: skip
_lowerings: dict[tuple[str, str], Lowering] = {}


def lowers(op_name: str, format: str = "dense", dtypes: Sequence[Any] = ()) -> Callable[[Lowering], Lowering]:
    """Register the lowering of an op for a weight format.

    `dtypes` of its arrays, a tuple where several will do; float32 for arrays beyond the list.

    Before the lowering is asked, arrays of other dtypes, empty arrays and copies that no kernel can do are declined.
    """

    def register(lowering: Lowering) -> Lowering:
        if (op_name, format) in _lowerings:
            raise TypeError(f"lowers: {op_name} for {format} is registered twice")

        def checked(build: Builder, *arrays: Ref | None, **params: Any) -> Ref | None:
            given = [(a, dtypes[i] if i < len(dtypes) else FLOAT32) for i, a in enumerate(arrays) if isinstance(a, Ref)]
            if any(a.size == 0 or a.dtype not in (wanted if isinstance(wanted, tuple) else (wanted,))
                   for a, wanted in given):  # fmt: skip
                return None
            steps = len(build.steps)
            try:
                out = lowering(build, *arrays, **params)
            except Declined:
                out = None
            if out is None:
                del build.steps[steps:]
            return out

        _lowerings[op_name, format] = checked
        return lowering

    return register


@cache
def _load() -> None:
    for module in MODULES:
        import_module(f"kernels.{module}")


def lowering(op_name: str, format: str = "dense") -> Lowering | None:
    """The lowering of an op for a weight format, or None if there is none."""
    _load()
    return _lowerings.get((op_name, format))


def known() -> list[tuple[str, str]]:
    """All (op, format) that have a lowering."""
    _load()
    return sorted(_lowerings)


def program(
    op_name: str, arrays: Sequence[Any], params: dict[str, Any], format: str = "dense"
) -> Callable[..., np.ndarray] | None:
    """A function `(*arrays) -> array` that runs the op on arrays of these shapes, strides and dtypes; None if declined.

    For a weight `format` other than "dense" the weight among `arrays` is no array: it is packed now, and None is passed
    in its place.
    It may be called from several threads at once. The result is a new array (for ops in place, the one updated). Its
    attribute `program` says what runs.
    """
    lower = lowering(op_name, format)
    if lower is None or len(arrays) + 2 > machine.CALL_OBJECTS:
        return None
    given = [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray)]
    if not all(_addressable(arrays[i]) for i in given) or (
        format == "dense" and any(a is not None for i, a in enumerate(arrays) if i not in given)
    ):
        return None
    build, refs = Builder(eager=True), list(arrays)
    for i in given:
        a = arrays[i]
        refs[i] = build.input(a.shape, [s // a.itemsize for s in a.strides], a.dtype)
    out = lower(build, *refs, **params)
    return None if out is None else _callable(build, out, given)


def _addressable(a: np.ndarray) -> bool:
    return a.flags.aligned and a.dtype.isnative and all(stride % a.itemsize == 0 for stride in a.strides)


def _callable(build: Builder, out: Ref, present: list[int]) -> Callable[..., np.ndarray]:
    """Close over all that a call needs, so that the call itself is a few hundred nanoseconds of Python."""
    made = build.finish([out])
    packed = made.packed()
    address, call = packed.ctypes.data, machine.loop().call
    place = made.places[out.buffer]
    in_place = place.base < len(present)
    order = sorted(range(len(out.shape)), key=lambda i: (-out.strides[i], i))
    shape, axes = tuple(out.shape[i] for i in order), np.argsort(order).tolist()
    straight, dtype = axes == sorted(axes), out.dtype
    scratch_bytes = made.arena_bytes + ALIGNMENT if made.arena_bytes else 0
    padding = (0,) * (machine.CALL_OBJECTS - len(made.bases))
    empty, get_num_threads = np.empty, threads.get_num_threads

    def run(*arrays: np.ndarray | None) -> np.ndarray:
        ids = [id(a) for a in arrays if a is not None]
        if in_place:
            result: Any = arrays[present[place.base]]
        else:
            result = empty(shape, dtype)
            ids.append(id(result))
        if scratch_bytes:
            scratch = empty(scratch_bytes, np.uint8)
            ids.append(id(scratch))
        call(address, get_num_threads(), *ids, *padding)
        return result if straight or in_place else result.transpose(axes)

    run.packed, run.program = packed, made  # type: ignore[attr-defined]  # keeps the rows and the constants alive
    return run
