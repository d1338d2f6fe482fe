"""Kernels as C functions, compiled when first needed.

Every kernel is compiled once, alone, with one ABI: `void kernel(int64* step, int64 lo, int64 hi)`. The words of `step`
are the kernel's parameters in order (addresses, integers, floats as their bits); `[lo, hi)` is the range of work items
to do. Items are independent, so any split over threads gives the same bits. So a kernel serves eager calls and plans,
serial and parallel, and a new model compiles nothing.

Left out: the loop that runs kernels (`loop.py`), what the rows are made from (`program.py`), where code is kept
(`cache.py`), compiling before anything is needed (`ahead.py`).
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import cfunc, njit, types

from kernels import cache, memory, simd, threads

# Fastmath flags, chosen so that nan and infinity keep their meaning: never nnan or ninf.
EXACT: set[str] = set()  # IEEE order and rounding, operation by operation
CONTRACT = {"contract"}  # a multiply and an add may become one fused instruction
REDUCE = {"contract", "reassoc", "nsz"}  # a sum may be spread over lanes (the same way whatever the split)

# The annotations a kernel's parameters may have.
Floats = Any  # address of float32
Doubles = Any  # address of float64
Ints = Any  # address of int64
Words = Any  # address of int32
Bytes = Any  # address of uint8, and of int8 where a kernel says so
POINTERS = {
    "Floats": simd.FLOATS, "Doubles": simd.DOUBLES, "Ints": simd.INTS, "Words": simd.WORDS, "Bytes": simd.BYTES
}  # fmt: skip
SCALARS = {"int": types.int64, "float": types.float64}
KINDS = {**POINTERS, **SCALARS}

# A row of a program: address of the kernel, number of items, most useful parts, then the kernel's own words.
KERNEL, ITEMS, PARTS, WORDS = range(4)
# Where CPython and NumPy keep what compiled code reads of an array object, in bytes: `PyArrayObject_fields` of NumPy's
# C interface, behind the object header. Verified in `loop()`.
OBJECT_DATA = object.__basicsize__
OBJECT_NDIM, OBJECT_SHAPE, OBJECT_DTYPE, OBJECT_FLAGS = (OBJECT_DATA + 8 * i for i in (1, 2, 5, 6))
CALL_OBJECTS = 7  # how many arrays `loop().call` takes: inputs, output and scratch together

NOTICE_SECONDS = 2.0
KERNELS: dict[str, Kernel] = {}
_lock = threading.RLock()


class Kernel:
    """One compiled function; compiled, or loaded from the disk cache, when its address is first asked for."""

    def __init__(self, function: Callable[..., None], writes: str, updates: str, fastmath: set[str]) -> None:
        self.name = function.__name__
        self.parameters = {k: v for k, v in function.__annotations__.items() if k not in ("lo", "hi", "return")}
        self.updates = frozenset(updates.split())
        self.writes = frozenset(writes.split()) | self.updates
        self.fastmath = fastmath
        self._function = function
        self._compiled: Any = None
        self._check()
        KERNELS[self.name] = self

    def _check(self) -> None:
        unknown = set(self.parameters.values()) - set(KINDS)
        if unknown:
            raise TypeError(f"kernel {self.name}: unknown annotations {sorted(unknown)}; known: {', '.join(KINDS)}")
        stray = self.writes - {name for name, kind in self.parameters.items() if kind in POINTERS}
        if stray:
            raise TypeError(f"kernel {self.name}: it writes {sorted(stray)}, not among its pointer parameters")
        if self.name in KERNELS:
            raise TypeError(f"kernel {self.name}: defined twice; give one of them another name")

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    @property
    def address(self) -> int:
        """Address of the C function."""
        return (self._compiled or self.compile()).address

    @property
    def ready(self) -> bool:
        """Whether the code is in memory, so that a call needs neither compile nor load it."""
        return self._compiled is not None

    @property
    def cache_hit(self) -> bool:
        """Whether the code came from the disk cache."""
        return (self._compiled or self.compile()).cache_hits > 0

    def compile(self) -> Any:
        """The C function, compiled or loaded now if it was not before."""
        with _lock, _notice(self.name):
            if self._compiled is None:
                body = njit(fastmath=self.fastmath, error_model="numpy", nogil=True)(self._function)
                words = simd.unpack([KINDS[kind] for kind in self.parameters.values()])
                entry = FunctionType(_entry.__code__, {"body": body, "words": words}, self.name)
                # Numba names the cache file after module and qualified name: all that tells two entries apart.
                entry.__module__, entry.__qualname__ = __name__, self.name
                with cache.compiled_here(), cache.self_contained(self.name):
                    self._compiled = cfunc(types.void(simd.INTS, types.int64, types.int64), cache=True)(entry)
            return self._compiled


def _entry(step, lo, hi):  # type: ignore[no-untyped-def]
    """The C function of every kernel; `body` and `words` are the kernel's own."""
    body(*words(step), lo, hi)  # type: ignore[name-defined]  # noqa: F821


def kernel(*, writes: str = "", updates: str = "", fastmath: set[str]) -> Callable[[Callable[..., None]], Kernel]:
    """Make a kernel of a function whose parameters are annotated with names of `KINDS`, followed by `lo, hi`.

    `writes` names the pointers it only writes, `updates` those it reads and writes, separated by spaces; it only reads
    the others. `fastmath` has to be stated: EXACT, CONTRACT or REDUCE.
    """
    return lambda function: Kernel(function, writes, updates, fastmath)


def loop() -> Any:
    """The module of the compiled loop. Raises RuntimeError if array objects keep their data elsewhere."""
    if "kernels.loop" not in sys.modules:
        if not array_objects_are_known():
            raise RuntimeError("kernels: this Python keeps array data elsewhere; use the numpy backend and report it")
        with _lock, _notice("execute"):
            threads.prepare()
            memory.keep_freed_memory()
            module: Any = import_module("kernels.loop")
        if numba.threading_layer() == "workqueue":  # ends the process if two threads launch at once
            module.execute, module.call = _waiting(module.execute, 3), _waiting(module.call, 1)
    return sys.modules["kernels.loop"]


def timed_loop() -> Any:
    """The module of the compiled loop that keeps the time of every step."""
    loop()
    if "kernels.timed" not in sys.modules:
        with _lock, _notice("the timed loop"):
            module: Any = import_module("kernels.timed")
        if numba.threading_layer() == "workqueue":
            module.execute = _waiting(module.execute, 3)
    return sys.modules["kernels.timed"]


def array_objects_are_known() -> bool:
    """Whether array objects are laid out as compiled code takes it for granted."""
    probe = np.empty((3, 5), np.float32)

    def read(offset: int, kind: Any = ctypes.c_int64) -> int:
        return kind.from_address(id(probe) + offset).value

    return (
        (read(OBJECT_DATA), read(OBJECT_DTYPE)) == (probe.ctypes.data, id(probe.dtype))
        and (read(OBJECT_NDIM, ctypes.c_int32), read(OBJECT_FLAGS, ctypes.c_int32)) == (probe.ndim, probe.flags.num)
        and tuple((ctypes.c_int64 * probe.ndim).from_address(read(OBJECT_SHAPE))) == probe.shape
    )


_turn = threading.Lock()


def _waiting(function: Callable[..., None], threads_at: int) -> Callable[..., None]:
    def run(*arguments: int) -> None:
        if arguments[threads_at] == 1:
            function(*arguments)  # which launches nothing
        else:
            with _turn:
                function(*arguments)

    return run


_announced = threading.local()


@contextmanager
def quiet() -> Iterator[None]:
    before, _announced.by_caller = getattr(_announced, "by_caller", False), True
    try:
        yield
    finally:
        _announced.by_caller = before


@contextmanager
def _notice(name: str) -> Iterator[None]:
    """Tell a person at a terminal what takes so long, unless the caller shows progress itself."""
    if getattr(_announced, "by_caller", False) or not sys.stderr.isatty():
        yield
        return
    text = f"kernels: compiling {name} (first use on this machine, kept on disk)"
    timer = threading.Timer(NOTICE_SECONDS, lambda: print(text, file=sys.stderr))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
