"""How quick an op could be on a machine at most, and what would bound it: arithmetic, memory or being called.

The roofline model (Williams, Waterman and Patterson, Roofline: An Insightful Visual Performance Model for Multicore
Architectures, 2009): no op is quicker than its arithmetic at the peak rate, nor than its bytes at the rate of the
memory they are in. Left out: measuring the ceilings (`ceilings.py`), drawing them (`plots.py`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from tabulate import tabulate

from profiler.units import duration, figures, memory

Bound = Literal["compute", "memory", "overhead"]
# Main memory's rate is that of working sets so many times the last cache: what a cache kept of it is little then.
BEYOND = 4


class Ceilings(BaseModel):
    """The most that `threads` threads of a machine do together, as measured; rates are per second.

    `bandwidth`: (bytes of the working set, bytes per second) from small to large, every input and output counted once,
    as `Line.bytes` does; the better of reading alone and of two arrays read for one written. `call_ns`: an eager op on
    one number, through the seam; `step_ns`: a step of a plan that computes nothing (medians, on one thread). `caches`:
    ("L1", bytes that these threads have together), ..., nearest first; () where the system does not tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpu: str
    simd: str
    threads: PositiveInt
    float32_flops_per_s: PositiveFloat
    int8_ops_per_s: PositiveFloat
    call_ns: PositiveFloat
    step_ns: PositiveFloat
    bandwidth: Annotated[tuple[tuple[PositiveInt, PositiveFloat], ...], Field(min_length=1)]
    caches: tuple[tuple[str, PositiveInt], ...] = ()
    measured_utc: str
    doubts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        sizes_of = {"bandwidth": [size for size, _ in self.bandwidth], "caches": [size for _, size in self.caches]}
        for what, sizes in sizes_of.items():
            if any(a >= b for a, b in pairwise(sizes)):
                raise ValueError(f"{what}: sizes have to grow, and are {sizes}")
        return self


# -- one op ------------------------------------------------------------------------------------------------------------


def peak_per_s(ceilings: Ceilings, arithmetic: str) -> float:
    """Operations per second of "float32" (a multiply-add is two) or "int8". ValueError for another name."""
    peaks = {"float32": ceilings.float32_flops_per_s, "int8": ceilings.int8_ops_per_s}
    if arithmetic not in peaks:
        raise ValueError(f"roofline: unknown arithmetic {arithmetic!r}; known: {', '.join(peaks)}")
    return peaks[arithmetic]


def bytes_per_s(ceilings: Ceilings, working_set: float) -> float:
    """The rate of memory for a working set of so many bytes: between those measured, linear in its logarithm."""
    sizes, rates = zip(*ceilings.bandwidth)
    return float(np.interp(np.log2(max(working_set, 1)), np.log2(sizes), rates))


def compute_ns(ceilings: Ceilings, operations: int, arithmetic: str) -> float:
    """The least time for so many operations."""
    return 1e9 * operations / peak_per_s(ceilings, arithmetic)


def memory_ns(ceilings: Ceilings, bytes: int, calls: int = 1) -> float:
    """The least time to move so many bytes in so many calls, whose working set is what one of them moves.

    So they are taken to be in the nearest cache that holds them, as they are where the op before has just written them.
    Where they are farther away, because the whole pass does not fit, that is time above this bound, never below it. A
    little below it is possible around the size of a cache, which may still hold a part of what does not fit.
    """
    return 1e9 * bytes / bytes_per_s(ceilings, bytes / calls)


def attainable_ns(ceilings: Ceilings, operations: int, bytes: int, arithmetic: str, calls: int = 1) -> float:
    """The least time for all `calls` calls, which execute `operations` and move `bytes` together."""
    return max(compute_ns(ceilings, operations, arithmetic), memory_ns(ceilings, bytes, calls))


def share_of_roofline(
    ceilings: Ceilings, operations: int, bytes: int, arithmetic: str, ns: float, calls: int = 1
) -> float:
    """The least time as a share of the time it took: 1 is as quick as this machine can be at that intensity.

    0 for what computes and moves nothing. ValueError where it took no time.
    """
    if ns <= 0:
        raise ValueError(f"share_of_roofline: it took {ns} ns; give the time that was measured")
    return attainable_ns(ceilings, operations, bytes, arithmetic, calls) / ns


def bound(
    ceilings: Ceilings, operations: int, bytes: int, arithmetic: str, calls: int = 1, form: str = "eager"
) -> Bound:
    """Which of the three takes longest, each at its best: computing, moving bytes, or being called.

    A call costs `step_ns` in a "plan", otherwise `call_ns`. How long it really took does not matter here: `share` tells
    how much of it is none of the three, and then a better kernel is what helps.
    """
    parts: dict[Bound, float] = {
        "compute": compute_ns(ceilings, operations, arithmetic),
        "memory": memory_ns(ceilings, bytes, calls),
        "overhead": calls * (ceilings.step_ns if form == "plan" else ceilings.call_ns),
    }
    return max(parts, key=parts.__getitem__)


# -- the picture -------------------------------------------------------------------------------------------------------


class Level(NamedTuple):
    """A cache, or main memory (its `nbytes` are None), and the best rate of working sets that are in it."""

    name: str
    nbytes: int | None
    bytes_per_s: float


def levels(ceilings: Ceilings) -> tuple[Level, ...]:
    """The levels of memory, nearest first: caches that a measured working set lies in, then main memory.

    A working set lies in a cache if it fits there and is larger than the one before. Main memory is beyond BEYOND times
    the last cache. Where the system does not tell its caches: the smallest working set and the largest.
    """
    found, below = [], 0
    for name, nbytes in ceilings.caches:
        rates = [rate for size, rate in ceilings.bandwidth if below < size <= nbytes]
        if rates:
            found.append(Level(name, nbytes, max(rates)))
        below = nbytes
    if not found:
        found = [Level("nearest cache", ceilings.bandwidth[0][0], ceilings.bandwidth[0][1])]
    far = [rate for size, rate in ceilings.bandwidth if below and size >= BEYOND * below]
    return (*found, Level("main memory", None, max(far, default=ceilings.bandwidth[-1][1])))


class Roof(NamedTuple):
    """The lines of a roofline plot: a flat one at `peak_per_s`, and for each level a slope that meets it."""

    arithmetic: str
    peak_per_s: float
    levels: tuple[Level, ...]

    def attainable_per_s(self, intensity: float, level: Level) -> float:
        """Operations per second at so many operations per byte, with all bytes in this level."""
        return min(self.peak_per_s, intensity * level.bytes_per_s)

    def ridge(self, level: Level) -> float:
        """Operations per byte from which on arithmetic is what bounds."""
        return self.peak_per_s / level.bytes_per_s


def roof(ceilings: Ceilings, arithmetic: str = "float32") -> Roof:
    """What a roofline plot draws for "float32" or "int8"."""
    return Roof(arithmetic, peak_per_s(ceilings, arithmetic), levels(ceilings))


# -- words -------------------------------------------------------------------------------------------------------------


def table(ceilings: Ceilings) -> str:
    """The ceilings for a person: arithmetic and calls, then memory level by level, then what should be doubted."""
    threads = f"{ceilings.threads} thread{'s' * (ceilings.threads > 1)}"
    top = f"ceilings of {ceilings.cpu} ({ceilings.simd}, {threads}), measured {ceilings.measured_utc}"
    rates = [
        ("float32 multiply-adds", f"{figures(ceilings.float32_flops_per_s / 1e9)} GFLOP/s"),
        ("int8 dot products", f"{figures(ceilings.int8_ops_per_s / 1e9)} Gop/s"),
        ("an eager op on one number", duration(ceilings.call_ns)),
        ("a step of a plan that computes nothing", duration(ceilings.step_ns)),
    ]
    near_and_far = [
        (level.name, "" if level.nbytes is None else memory(level.nbytes), f"{figures(level.bytes_per_s / 1e9)} GB/s",
         *(f"{figures(roof(ceilings, arithmetic).ridge(level))} op/byte" for arithmetic in ("float32", "int8")))
        for level in levels(ceilings)
    ]  # fmt: skip
    headers = ("memory", "holds", "moves", "float32 bounds from", "int8 bounds from")
    sizes = [(memory(size), f"{figures(rate / 1e9)} GB/s") for size, rate in ceilings.bandwidth]
    parts = [
        top,
        tabulate(rates, ("", "at most"), colalign=("left", "right"), disable_numparse=True),
        tabulate(near_and_far, headers, colalign=("left", "right", "right", "right", "right"), disable_numparse=True),
        tabulate(sizes, ("working set", "moves"), colalign=("right", "right"), disable_numparse=True),
        *(f"doubt: {doubt}" for doubt in ceilings.doubts),
    ]
    return "\n\n".join(parts)
