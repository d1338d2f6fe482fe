"""What the clock said, drawn: single queries of both arms, and the ratio of each pair of blocks in each worker."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from leaderboard.derive import log_ratios
from leaderboard.schema import Submission
from leaderboard.site.svg import css, drawing, markup, quiet
from leaderboard.text import fixed, significant

BINS = 60
UNITS = ((1.0, 1e3, "ns"), (1e3, 1.0, "µs"), (1e6, 1e-3, "ms"), (math.inf, 1e-6, "s"))
DIVISIONS: tuple[Sequence[int], ...] = (  # of a decade, in hundredths of its begin, from fine to coarse
    *(range(100, 1000, step) for step in (1, 2, 5, 10, 20, 50)),
    (100, 150, 200, 300, 400, 500, 700),
    (100, 200, 500),
    (100, 300),
    (100,),
)


def duration(time_us: float) -> str:
    """A time with the unit that suits it: "1.25 us", "430 us", "12.0 ms"."""
    factor, unit = next((factor, unit) for limit, factor, unit in UNITS if time_us < limit)
    value = time_us * factor
    return f"{fixed(value, min(significant(value), 3))} {unit}"


def log_times(axes: Axes, low_us: float, high_us: float) -> None:
    """A logarithmic axis of times below the drawing, with three to six round labels whatever its range."""
    axes.set_xscale("log")
    axes.set_xlim(low_us, high_us)
    marks = round_marks(low_us, high_us)
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_duration(value)))


def round_marks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within a range, `most` of them or fewer and none too near to another on a logarithmic axis.

    Of several divisions of a decade the finest that fits.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = ([step / 100 * 10.0**decade for decade in decades for step in steps] for steps in DIVISIONS)
    inside = next(
        ([mark for mark in marks if low <= mark <= high] for marks in every if _count(marks, low, high) <= most),
        [10.0**decade for decade in decades][:: -(-len(decades) // most)],
    )
    kept: list[float] = []
    for mark in inside:
        if not kept or math.log(mark / kept[-1]) > math.log(high / low) / (2 * most):
            kept.append(mark)
    return kept


def _count(marks: Sequence[float], low: float, high: float) -> int:
    return sum(low <= mark <= high for mark in marks)


def plain_duration(time_us: float) -> str:
    """A round time without the zeros that say how well it was measured."""
    number, unit = duration(time_us).split(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def queries(submission: Submission) -> Markup | None:
    """How long each of the single queries took, one panel for each arm. None where none were timed."""
    raw, derived = submission.raw.queries, submission.derived
    arms = [
        ("candidate", "opt", raw.opt_ns, derived.latency_us_p90),
        ("reference", "ref", raw.ref_ns, derived.reference_latency_us_p90),
    ]
    arms = [arm for arm in arms if arm[2]]
    if not arms:
        return None
    told = []
    with drawing("queries", 5.2, 1.45 * len(arms), margins=(0.7, 0.25, 0.15, 0.08)) as figure:
        panels = figure.subplots(len(arms), 1, squeeze=False, gridspec_kw={"hspace": 0.34})[:, 0]
        for axes, (name, colour, times_ns, p90) in zip(panels, arms):
            times_us = np.asarray(times_ns, float) / 1000
            low, high = float(times_us.min()) / 1.02, float(times_us.max()) * 1.02
            edges = np.geomspace(low, high, BINS + 1)
            counts, _ = np.histogram(times_us, edges)
            axes.stairs(counts, edges, fill=True, color=css(colour))
            axes.axvline(float(np.median(times_us)), color=css("ink"), linewidth=1.5)
            if p90:
                axes.axvline(p90, color=css("ink"), linewidth=1, linestyle=(0, (3, 2)))
            log_times(axes, low, high)
            axes.set_ylabel(name)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            quiet(axes, "y")
            told.append(f"{name}: {len(times_us)} queries, median {duration(float(np.median(times_us)))}")
        return markup(figure, "queries", f"Histogram of the times of single queries. {'; '.join(told)}")


def ratios(submission: Submission) -> Markup:
    """The ratio of each pair of blocks, worker by worker, with the worker's median and the interval of the score."""
    derived = submission.derived
    workers = sorted(submission.raw.workers, key=lambda worker: worker.pid_order)
    with drawing("ratios", 5.2, 0.62 + 0.42 * len(workers), margins=(0.85, 0.5, 0.15, 0.08)) as figure:
        axes = figure.subplots()
        axes.axvspan(derived.ratio_lo, derived.ratio_hi, color=css("opt"), alpha=0.15, linewidth=0)
        axes.axvline(derived.ratio_lo, color=css("opt"), linewidth=1, linestyle=(0, (4, 2)))
        for row, worker in enumerate(workers):
            values = np.exp(list(log_ratios(worker)))
            axes.scatter(values, spread(len(values), row), s=12, color=css("opt"), alpha=0.7, linewidth=0)
            middle = math.exp(float(np.median(np.log(values))))
            axes.plot([middle] * 2, [row - 0.36, row + 0.36], color=css("ink"), linewidth=1.8)
        axes.set_ylim(len(workers) - 0.4, -0.6)
        axes.set_yticks(range(len(workers)), [f"worker {worker.pid_order + 1}" for worker in workers])
        axes.set_xlabel("times faster, each pair of blocks")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        quiet(axes, "x")
        told = f"Ratio of each pair of blocks in {len(workers)} workers; their medians lie between "
        told += f"{derived.ratio_lo:.4g} and {derived.ratio_hi:.4g}"
        return markup(figure, "ratios", told)


def spread(count: int, row: int) -> Sequence[float]:
    """Heights around a row that keep dots apart, in the order of time from above."""
    return [row] if count == 1 else list(np.linspace(row - 0.26, row + 0.26, count))
