"""Runs one op's kernels where mistakes show: nan in memory not yet written, guard zones around it, work in parts.

Inputs are compared with what they were before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels import machine, program, registry

GUARD = 256  # bytes on either side of outputs and arena
RNG = np.random.default_rng(3)


class Guarded:
    """Zeroed or nan-filled bytes between two guard zones."""

    def __init__(self, nbytes: int) -> None:
        self.raw = program.aligned(np.full(nbytes + 2 * GUARD, 0xFF, np.uint8))  # float32 of these bytes is nan
        self.raw[:GUARD] = self.raw[GUARD + nbytes :] = 0xA5
        self.inside = self.raw[GUARD : GUARD + nbytes]
        self.address = self.raw.ctypes.data + GUARD

    def check(self, what: str) -> None:
        end = GUARD + self.inside.size
        assert (self.raw[:GUARD] == 0xA5).all(), f"{what}: written before its beginning"
        assert (self.raw[end:] == 0xA5).all(), f"{what}: written behind its end"


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def run(op: str, *arrays: Any, format: str = "dense", slack: int = 0, **params: Any) -> np.ndarray | None:
    """The op's result, or None if its kernel declines. Same bits for one and for three parts, or the test fails.

    `arrays` may hold a weight of a format, which is passed on as it is. `slack`: bytes behind inputs that may be read.
    """
    arrays = tuple(with_slack(a, slack) if isinstance(a, np.ndarray) and slack else a for a in arrays)
    results = [_run(op, arrays, params, parts, format) for parts in (1, 3)]
    if results[0] is not None:
        np.testing.assert_array_equal(_bits(results[0]), _bits(results[1]), err_msg=f"{op}: depends on the split")
    return results[0]


def with_slack(x: np.ndarray, nbytes: int) -> np.ndarray:
    """A copy of a row-major array with that many bytes behind it."""
    raw = np.full(x.nbytes + nbytes, 0xA5, np.uint8)
    copy = raw[: x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def _bits(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(np.uint8)


def _run(op: str, arrays: tuple[Any, ...], params: dict[str, Any], parts: int, format: str) -> np.ndarray | None:
    build = program.Builder()
    refs = [
        build.input(a.shape, [s // a.itemsize for s in a.strides], a.dtype) if isinstance(a, np.ndarray) else a
        for a in arrays
    ]
    lower = registry.lowering(op, format)
    assert lower is not None, f"{op} has no lowering"
    out = lower(build, *refs, **params)
    if out is None:
        return None
    made = build.finish([out])
    given = [a for a in arrays if isinstance(a, np.ndarray)]
    before = [a.copy() for a in given]
    output, arena = Guarded(build.buffers[out.buffer].nbytes), Guarded(made.arena_bytes)
    addresses = {"output0": output.address, "arena": arena.address}
    rows = made.link([given[i].ctypes.data if i < len(given) else addresses[b] for i, b in enumerate(made.bases)])
    rows[:, machine.PARTS] = parts  # however little work there is
    program.execute(rows, parts)
    output.check(f"{op} output")
    arena.check(f"{op} arena")
    updated = {ref.buffer for step in made.steps for name, ref in step._refs() if name in step.kernel.updates}
    for i, (a, old) in enumerate(zip(given, before)):
        if i not in updated:
            np.testing.assert_array_equal(a, old, err_msg=f"{op}: input {i} was changed")
    if out.buffer < len(given):
        return given[out.buffer]
    values = output.inside[: len(output.inside) // out.dtype.itemsize * out.dtype.itemsize].view(out.dtype)
    strides = [stride * out.dtype.itemsize for stride in out.strides]
    return np.lib.stride_tricks.as_strided(values[out.offset :], out.shape, strides).copy()


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """The same values row-major, in reverse axis order, with gaps between, and backwards in memory."""
    unused = np.nan if x.dtype.kind == "f" else 99
    gaps = np.full([2 * n for n in x.shape], unused, x.dtype)[(..., *[slice(None, None, 2) for _ in x.shape])]
    gaps[...] = x
    back = (..., *[slice(None, None, -1) for _ in x.shape])
    return [x.copy(), np.asfortranarray(x), gaps, x[back].copy()[back]]
