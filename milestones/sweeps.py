"""How costs grow: the same thing built in several sizes, its work counted, its time measured, a power law fitted.

Counted are FLOPs and the peak of memory, once; measured is time, all sizes in turns by the one clock. A cost that is
c * size^e is a straight line of slope e where both axes are logarithmic. Left out: drawing it (`plots.scaling`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from profiler import clock, units
from profiler.memory import peak_memory
from profiler.record import record

LAST = 3  # points of the second fit: the first sizes cost what a call costs, whatever it does
LEAST_POINTS = 5
ROUNDS, QUICK_ROUNDS = 11, 6  # an interval of the median needs six
BUDGET_S, QUICK_BUDGET_S = 0.5, 0.15  # for each size
SAMPLE_NS = 1_000_000
DELAY_S = 1.0  # a bar for what takes longer


class Case(NamedTuple):
    """One size. `run` is timed; `observe` is the same work done by ops, where the profiler counts it.

    `memory_bytes`: of what holds its own memory, such as a plan, all of it; None where it is seen while it runs.
    """

    run: Callable[[], Any]
    observe: Callable[[], Any]
    parameters: int
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Sweep:
    """What is varied, in which sizes, and how a case of a size is built. `of` says what is measured.

    With --quick the first `quick` sizes are enough. FLOPs of the ops in `apart` are shown in a column of their own.
    `memory` says what the bytes of a case are.
    """

    axis: str
    of: str
    sizes: Sequence[int]
    build: Callable[[int], Case]
    quick: int = LEAST_POINTS
    apart: str = ""
    memory: str = "peak memory"


class Point(NamedTuple):
    """What one size costs; `apart` are the FLOPs that the sweep shows apart."""

    size: int
    parameters: int
    flops: int
    ns: float
    memory_bytes: int
    apart: int = 0


class Fit(NamedTuple):
    """The slope of a straight line through the logarithms, and its standard error: how far the points are from one."""

    exponent: float
    spread: float
    points: int

    def __str__(self) -> str:
        return f"{self.exponent:.2f} ± {self.spread:.2f}"


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Fit:
    """cost = c * size^exponent by least squares of the logarithms; ValueError below three points or one not positive.

    The spread is that of simple linear regression, sqrt(sum of squared residuals / (n - 2) / sum of squared distances
    of log size from its mean); it contains what the clock adds and that costs are no power of the size.
    """
    if len(sizes) != len(costs) or len(sizes) < 3 or min(*sizes, *costs) <= 0:
        raise ValueError(
            f"sweeps.fit: {len(sizes)} sizes and {len(costs)} costs; give as many of each, three at least, all above 0"
        )
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float))
    x, y = x - x.mean(), y - y.mean()
    exponent = float(x @ y / (x @ x))
    residuals = y - exponent * x
    return Fit(exponent, float(np.sqrt(residuals @ residuals / (len(x) - 2) / (x @ x))), len(x))


SHOWN = {"time": units.duration, "memory": units.memory}  # how costs are written; others are counts


@dataclass(frozen=True)
class Swept:
    """A sweep and the points that came out; `doubts` are the clock's."""

    sweep: Sweep
    points: tuple[Point, ...]
    doubts: tuple[str, ...] = ()
    brief: bool = False

    @property
    def title(self) -> str:
        return f"{self.sweep.axis}: {self.sweep.of}{', measured briefly' * self.brief}"

    def costs(self) -> dict[str, list[float]]:
        """Columns of what grows, those that are zero left out."""
        columns: dict[str, list[float]] = {
            "FLOPs": [point.flops for point in self.points],
            "time": [point.ns for point in self.points],
            "memory": [point.memory_bytes for point in self.points],
        }
        if self.sweep.apart:
            columns[f"{self.sweep.apart} FLOPs"] = [point.apart for point in self.points]
        return {name: values for name, values in columns.items() if min(values) > 0}

    def fitted(self, cost: str, last: int | None = None) -> Fit:
        """The exponent of a cost over all points, or over the last few."""
        points, values = self.points, self.costs()[cost]
        count = last or len(points)
        return fit([point.size for point in points[-count:]], values[-count:])

    def __str__(self) -> str:
        """A row for each size, two for the exponents."""
        costs = self.costs()
        rows = [
            (f"{point.size:,}", units.count(point.parameters),
             *(SHOWN.get(name, units.count)(values[i]) for name, values in costs.items()))
            for i, point in enumerate(self.points)
        ]  # fmt: skip
        rows += [
            (f"exponent, {'all' if count is None else 'last'} {count or len(rows)}", "",
             *(str(self.fitted(name, count)) for name in costs))
            for count in (None, LAST)
        ]  # fmt: skip
        headers = (self.sweep.axis, "parameters", *(self.sweep.memory if name == "memory" else name for name in costs))
        return tabulate(rows, headers, colalign=("left", *["right"] * (len(headers) - 1)), disable_numparse=True)

    def figures(self) -> dict[str, Any]:
        """For the JSON line."""
        return {
            "axis": self.sweep.axis, "of": self.sweep.of, "points": [point._asdict() for point in self.points],
            "exponents": {
                name: {"all": rounded(self.fitted(name)), f"last_{LAST}": rounded(self.fitted(name, LAST))}
                for name in self.costs()
            },
            "doubts": list(self.doubts),
        }  # fmt: skip


def rounded(found: Fit) -> dict[str, float]:
    return {"exponent": round(found.exponent, 3), "spread": round(found.spread, 3), "points": found.points}


def swept(sweep: Sweep, quick: bool = False) -> Swept:
    """Build every size, count its work, and time all of them in turns, with a bar where that takes longer."""
    sizes = sweep.sizes[: sweep.quick] if quick else sweep.sizes
    rounds, budget_s = (QUICK_ROUNDS, QUICK_BUDGET_S) if quick else (ROUNDS, BUDGET_S)
    total = len(sizes) + rounds
    with tqdm(total=total, desc=sweep.axis, delay=DELAY_S, leave=False, dynamic_ncols=True) as bar:
        cases, counted = {}, {}
        for size in sizes:
            cases[size] = sweep.build(size)
            counted[size] = observed(cases[size], sweep.apart)
            bar.update()
        runs = {size: case.run for size, case in cases.items()}
        times = clock.compare(runs, rounds=rounds, sample_ns=SAMPLE_NS, budget_s=budget_s, progress=bar.update)
        bar.update(total - bar.n)  # rounds that the budget did not allow
    points, doubts = [], []
    for size, case in cases.items():
        flops, memory_bytes, apart = counted[size]
        points.append(Point(size, case.parameters, flops, times[size].median_ns, memory_bytes, apart))
        doubts += [f"{sweep.axis} {size}: {doubt}" for doubt in times[size].doubts]
    return Swept(sweep, tuple(points), tuple(doubts), quick)


def observed(case: Case, apart: str) -> tuple[int, int, int]:
    """FLOPs, peak of memory in bytes, and FLOPs of the ops whose names hold `apart`."""
    with record() as recording:
        case.observe()  # also allocates what stays: moments of the optimizer, caches of the seam
    with peak_memory() as memory:
        case.observe()
    flops = sum(row.flops for row in recording.rows)
    part = sum(row.flops for row in recording.rows if apart and apart in row.op)
    return flops, memory.peak_bytes if case.memory_bytes is None else case.memory_bytes, part
