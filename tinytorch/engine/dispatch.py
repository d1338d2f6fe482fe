"""The one seam: every computation, forward and backward, goes through `call`.

`call` looks up what to run for this op, backend, shapes, strides, dtypes and parameters; the first time it checks the
shapes and chooses between a compiled program and the NumPy reference, afterwards that is one dictionary look-up. The
profiler, the FLOP counter and the plan tracer watch here and nowhere else; the tape is kept by `core.tensor.apply`.

Left out: what ops there are (`ops/`) and how programs are made (`kernels.registry`, imported when first wanted).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tinytorch.engine.op import Op

BACKENDS = ("numpy", "numba")
FLOAT32, ARRAY = np.dtype(np.float32), np.ndarray
# Beyond this many distinct calls (indices in a loop, say) the cache starts afresh instead of growing without end.
CACHE_LIMIT = 8192


class Event(NamedTuple):
    """What a watcher is told about one call.

    `scope` is the innermost layer that was running, `root` the outermost, None outside of all. `phase` is "forward",
    "backward" or "update"; in backward `source` is the array made by the op whose gradient is computed.
    """

    op: Op
    arrays: tuple[Any, ...]
    params: dict[str, Any]
    out: np.ndarray
    start_ns: int
    end_ns: int
    scope: Any
    root: Any
    phase: Phase
    source: np.ndarray | None


Phase = Literal["forward", "backward", "update"]
Watcher = Callable[[Event], None]

Run = Callable[..., Any]  # what runs for one signature: (*arrays, **params) -> array
_cache: dict[tuple, Run] = {}
watchers: list[Watcher] = []
scopes: list[Any] = []
source: np.ndarray | None = None  # written by `core.autograd.backward` while somebody watches
_phase: Phase = "forward"


def _known_backend(name: str, source: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{source}: unknown backend {name!r}; known: {', '.join(BACKENDS)}")
    return name


_backend = os.environ.get("TINYTORCH_BACKEND", "numba")  # checked when first used, where a command can still explain
# Up to so many elements a NumPy function is called without a look at the cache: no kernel is quicker there.
SMALL = 2048 if _backend in BACKENDS else -1


class use_backend:
    """Choose what computes: "numpy" (the reference) or "numba" (compiled kernels).

    `use_backend("numpy")` switches until the next switch; `with use_backend("numpy"):` switches back at the end of the
    block. An unknown name raises ValueError listing the known ones.
    """

    def __init__(self, name: str) -> None:
        global _backend
        self.previous, _backend = _backend, _known_backend(name, "use_backend")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        global _backend
        _backend = self.previous


def backend() -> str:
    """Name of the backend in use; ValueError if the environment names an unknown one."""
    return _known_backend(_backend, "TINYTORCH_BACKEND")


def call(op: Op, *arrays: Any, **params: Any) -> np.ndarray:
    """Run `op` on arrays (or weight formats; None stands for an absent input) and return its one output array.

    Raises ValueError or TypeError from the op's shape rule, naming the op, the shapes, the clash and the next step.
    """
    if not watchers:
        ufunc = op.ufunc
        if ufunc is not None and not params:
            for a in arrays:
                if type(a) is not ARRAY or a.dtype is not FLOAT32 or a.size > SMALL:
                    break
            else:
                try:
                    out = ufunc(*arrays)
                except ValueError:
                    out = None  # shapes that clash: the shape rule below says so better
                if type(out) is ARRAY:
                    return out
        out = find(op, arrays, params)(*arrays, **params)
        return out if type(out) is ARRAY else np.asarray(out)
    run = find(op, arrays, params)
    start = perf_counter_ns()
    out = np.asarray(run(*arrays, **params))
    end = perf_counter_ns()
    scope, root = (scopes[-1], scopes[0]) if scopes else (None, None)
    event = Event(op, arrays, params, out, start, end, scope, root, _phase, source)
    for watcher in tuple(watchers):
        watcher(event)
    return out


def unwatched(op: Op, *arrays: Any, **params: Any) -> np.ndarray:
    """Run `op` as no part of what is watched: beside a model, and maybe in another thread than the model's."""
    return np.asarray(find(op, arrays, params)(*arrays, **params))


def find(op: Op, arrays: tuple[Any, ...], params: dict[str, Any]) -> Run:
    """What `call` runs for such arrays and parameters."""
    key: tuple | None
    if len(arrays) == 2 and not params and arrays[0] is not None and arrays[1] is not None:  # quickest written out
        a, b = arrays
        key = (op, _backend, a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype)
    else:
        signature = [None if a is None else (a.shape, a.strides, a.dtype) for a in arrays]
        key = (op, _backend, *signature, *params.items())
    try:
        run = _cache.get(key)
    except TypeError:  # a parameter that cannot be hashed, such as an index made of slices
        run = key = None
    if run is None:
        run = _resolve(op, arrays, params)
        if key is not None:
            if len(_cache) >= CACHE_LIMIT:
                _cache.clear()
            _cache[key] = run
    return run


def _resolve(op: Op, arrays: tuple[Any, ...], params: dict[str, Any]) -> Run:
    op.shape(*arrays, **params)
    chosen = backend()
    if any(is_packed(a) for a in arrays):
        return _checked(op, partial(_packed, op))
    if chosen == "numba":
        from kernels import registry

        program = registry.program(op.name, arrays, params)
        if program is not None:
            return _checked(op, saying(program, lambda *arrays, **params: program(*arrays)))
    return _checked(op, op.reference)


def _checked(op: Op, run: Callable[..., Any]) -> Callable[..., Any]:
    if op.check is None:
        return run

    def checked(*arrays: Any, **params: Any) -> Any:
        op.check(*arrays, **params)
        return run(*arrays, **params)

    return saying(run, checked)


def is_packed(a: Any) -> bool:
    """Whether `a` is a weight in a packed format (`formats.Format`) and no array."""
    return hasattr(a, "compute")


def _packed(op: Op, *arrays: Any, **params: Any) -> np.ndarray:
    return next(filter(is_packed, arrays)).compute(op, *arrays, **params)


class Executed(NamedTuple):
    """What a call really runs: names of compiled kernels, none for the NumPy reference; how many operations they
    execute, 2 for a multiply-add; "float32" or "int8".
    """

    kernels: tuple[str, ...]
    operations: int
    arithmetic: Literal["float32", "int8"]


def executed(op: Op, arrays: tuple[Any, ...], params: dict[str, Any], flops: int) -> Executed:
    """What `find(op, arrays, params)` runs. `flops` are the op's own, executed where no kernel says otherwise."""
    weight = next(filter(is_packed, arrays), None)
    run = find(op, arrays, params) if weight is None else weight.run(op, arrays, params)
    program = getattr(run, "program", None)
    if program is None:
        return Executed((), flops, getattr(run, "arithmetic", "float32"))
    return Executed(program.kernels, program.operations or flops, program.arithmetic)


def saying(made: Any, run: Run) -> Run:
    """`run`, which can say of itself what `made` says: what it is a way to call."""
    for name in ("program", "arithmetic"):
        if hasattr(made, name):
            setattr(run, name, getattr(made, name))
    return run


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of every call inside the block, after it has run."""
    watchers.append(watcher)
    try:
        yield
    finally:
        watchers.remove(watcher)


@contextmanager
def scope(layer: Any) -> Iterator[None]:
    """Mark the calls inside the block as belonging to `layer`."""
    scopes.append(layer)
    try:
        yield
    finally:
        scopes.pop()


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """Mark the calls inside the block, or of the function it decorates, as part of backward, or of an update."""
    global _phase, source
    before, _phase = (_phase, source), name
    try:
        yield
    finally:
        _phase, source = before
