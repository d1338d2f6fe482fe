"""Pictures of reports, readable in grey: roofline, time and bytes by layer, memory, and two reports beside each other.

`plot_data.py` says what is in each; here it is drawn, into figures made without a window system, and written as PNG and
SVG. The way labels of dots find a place is in `labels.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import blended_transform_factory

from profiler import plot_data as data
from profiler import units
from profiler.labels import place
from profiler.palette import AFTER, BEFORE, BLUE, GREY, HELD, INK, MOST, OUTSIDE, PALE, PHASES, SKY, Look
from profiler.report import Report
from profiler.roofline import Level
from profiler.tables import PHASES as ORDER
from tinytorch.files import write_together

ROW_INCHES = 0.27
DOTS_PER_INCH = 150
LARGEST, SMALLEST = 260.0, 14.0  # areas of dots, in square points
CROWDED = 40  # pixels between two slopes: less has no room for a name
LEVEL_STYLES = ("-", "--", "-.", ":")
ARITHMETIC = {"float32": ("-", "GFLOP/s"), "int8": ("--", "Gop/s")}


def write(report: Report, directory: str | PathLike) -> list[Path]:
    """Draw all that the report has data for: PNG and SVG, all of them or none. Returns the paths; OSError says what
    failed.
    """
    roofline, kinds, timeline = data.roofline(report), data.kinds(report), data.timeline(report)
    figures = {
        "roofline": roofline and roofline_figure(roofline),
        "layers": layers_figure(data.layers(report)) if report.lines else None,
        "memory": kinds and memory_figure(kinds),
        "timeline": timeline and timeline_figure(timeline),
    }
    return write_together(directory, rendered({name: figure for name, figure in figures.items() if figure}))


def write_comparison(before: Report, after: Report, directory: str | PathLike) -> list[Path]:
    """Draw two reports beside each other, as `write` does."""
    figure = comparison_figure(data.comparison(before, after))
    return write_together(directory, rendered({"comparison": figure}))


def rendered(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """File names and contents; the same bytes for the same figure, without a date or a random id."""
    contents = {}
    with matplotlib.rc_context({"svg.hashsalt": "tinytorch"}):
        for name, figure in figures.items():
            for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                buffer = BytesIO()
                figure.savefig(buffer, format=ending, dpi=DOTS_PER_INCH, metadata=metadata)
                contents[f"{name}.{ending}"] = buffer.getvalue()
    return contents


# -- axes --------------------------------------------------------------------------------------------------------------


def new_figure(title: str, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK)
    return figure


def quantity(axis: Axis, show: Callable[[float], str], most: float, binary: bool) -> None:
    """A few ticks with their units, at numbers that are round in the unit: bytes in KiB, MiB, others in thousands."""
    thousand = 1024.0 if binary else 1000.0
    unit = thousand ** int(np.log(max(most, 1)) // np.log(thousand))
    ticks = np.asarray(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, most / unit)) * unit
    axis.set_ticks([tick for tick in ticks if tick <= 1.15 * most])
    axis.set_major_formatter(FuncFormatter(lambda value, _: re.sub(r"\.0+(?= |$)", "", show(value)) if value else "0"))


def row_axes(axes: Axes, names: Sequence[str]) -> None:
    """Rows with these names, from top to bottom."""
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    plain(axes)
    axes.tick_params(axis="y", length=0)


def plain(axes: Axes, grid: Literal["both", "x", "y"] = "x") -> None:
    axes.tick_params(axis="both", labelsize=8.5)
    axes.grid(axis=grid, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def filled(look: Look) -> dict[str, Any]:
    """A bar with its hatch, whose colour matplotlib takes from the edge."""
    return {"facecolor": look.colour, "hatch": look.hatch, "edgecolor": look.hatched, "linewidth": 0.6}


def outlined(axes: Axes, bars: Iterable[Any]) -> None:
    """Outlines in ink, whatever the colour of the hatch."""
    for bar in bars:
        around = bar.get_xy(), bar.get_width(), bar.get_height()
        axes.add_patch(Rectangle(*around, fill=False, edgecolor=INK, linewidth=0.6))


# -- figures -----------------------------------------------------------------------------------------------------------


def layers_figure(what: data.Layers) -> Figure:
    """Stacked bars, time to the left and bytes to the right; the time outside ops has a row of its own."""
    names = [row.name for row in what.ns] + [data.OUTSIDE]
    figure = new_figure(what.title, 11, 1.9 + ROW_INCHES * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    present = [phase for phase in ORDER if any(phase in row.values for row in what.ns)]
    for axes, rows, title, show, binary in (
        (left, what.ns, "time", units.duration, False), (right, what.bytes, "bytes moved by ops", units.memory, True)
    ):  # fmt: skip
        ends = np.zeros(len(rows))
        for phase in present:
            values = np.array([row.values.get(phase, 0.0) for row in rows])
            bars = axes.barh(range(len(rows)), values, 0.7, left=ends, label=phase, **filled(PHASES[phase]))
            outlined(axes, [bar for bar, value in zip(bars, values) if value])
            ends += values
        if axes is left:
            bars = axes.barh([len(rows)], [what.outside_ns], 0.7, label=data.OUTSIDE, **filled(OUTSIDE))
            ends = np.append(ends, what.outside_ns)
        for i, end in enumerate(ends):
            axes.annotate(show(end), (end, i), (4, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
        row_axes(axes, names)
        axes.set_title(title, fontsize=10, color=INK)
        axes.set_xlim(0, 1.18 * max(ends.max(), 1e-9))
        quantity(axes.xaxis, show, ends.max(), binary)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=9, frameon=False)
    return figure


def roofline_figure(what: data.Roofline) -> Figure:
    """Both axes logarithmic. A dot's area is its share of the pass, its marker the phase, hollow for int8."""
    figure = new_figure(what.title, 9.5, 6.4)
    axes = figure.subplots()
    per_byte = [dot.per_byte for dot in what.dots]
    ridges = [roof.ridge(level) for roof in what.roofs for level in roof.levels]
    low, high = min([*per_byte, *ridges]) / 6, max([*per_byte, *ridges]) * 3
    bottom = min(dot.per_s for dot in what.dots) / 3
    top = max(roof.peak_per_s for roof in what.roofs)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom, 2.5 * top))
    for roof in what.roofs:
        style, unit = ARITHMETIC[roof.arithmetic]
        start = min(roof.ridge(level) for level in roof.levels)
        axes.plot([start, high], [roof.peak_per_s] * 2, style, color=INK, linewidth=1.8)
        text = f"{roof.arithmetic}: {units.figures(roof.peak_per_s / 1e9)} {unit}"
        axes.annotate(text, (high, roof.peak_per_s), (-4, 4), textcoords="offset points", ha="right", fontsize=9,
                      color=INK)  # fmt: skip
    slopes(axes, max(what.roofs, key=lambda roof: roof.peak_per_s).levels, low, bottom, top)
    sizes = [max(SMALLEST, LARGEST * dot.share / what.dots[0].share) for dot in what.dots]
    for dot, size in zip(what.dots, sizes):
        look, hollow = PHASES[dot.phase], dot.arithmetic == "int8"
        face, edge, width = ("white", look.colour, 1.4) if hollow else (look.colour, INK, 0.4)
        axes.scatter([dot.per_byte], [dot.per_s], s=size, marker=look.marker, color=face, edgecolor=edge,
                     linewidth=width, zorder=3)  # fmt: skip
    for phase in [phase for phase in ORDER if any(dot.phase == phase for dot in what.dots)]:
        look = PHASES[phase]
        axes.plot([], [], look.marker, color=look.colour, mec=INK, mew=0.4, markersize=8, label=phase)
    if any(dot.arithmetic == "int8" for dot in what.dots):
        axes.plot([], [], "o", mfc="white", mec=INK, markersize=8, label="hollow: int8")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False, handletextpad=0.2, title=(
        "a dot is a layer in one phase, its area goes by its share of the pass" + left_out(what.left_out)),
        title_fontsize=8.5)  # fmt: skip
    axes.set_xlabel("operations executed for each byte moved")
    axes.set_ylabel("operations in a second")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e9:g} G"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plain(axes, "both")
    points = [(dot.per_byte, dot.per_s) for dot in what.dots]
    place(axes, dict(what.labels), points, [np.sqrt(size) / 2 for size in sizes])  # last, when nothing moves any more
    return figure


def slopes(axes: Axes, levels: Sequence[Level], low: float, bottom: float, top: float) -> None:
    """A line for each level of memory from the edge of the axes to the flat roof, its name along it."""
    assert axes.figure is not None
    axes.figure.figure.draw_without_rendering()  # from now on a slope has an angle
    above = np.inf
    for number, (level, style) in enumerate(zip(levels, LEVEL_STYLES, strict=False)):
        ends = np.array([max(low, bottom / level.bytes_per_s), top / level.bytes_per_s])
        axes.plot(ends, ends * level.bytes_per_s, style, color=GREY, linewidth=1.4)
        at = 1.12 * max(ends[0], bottom / levels[-1].bytes_per_s if number else ends[0])
        (x0, y0), (x1, y1) = axes.transData.transform([(x, x * level.bytes_per_s) for x in (at, ends[1])])
        crowded = above - y0 < CROWDED
        text = f"{level.name} {units.figures(level.bytes_per_s / 1e9)} GB/s"
        axes.annotate(text, (at, at * level.bytes_per_s), (2, -3) if crowded else (-2, 3), textcoords="offset points",
                      va="top" if crowded else "bottom", rotation=np.degrees(np.arctan2(y1 - y0, x1 - x0)),
                      rotation_mode="anchor", fontsize=8.5, color="#666666")  # fmt: skip
        above = y0


def left_out(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"\nno operations, so no dot: {shown}"


def memory_figure(what: data.Kinds) -> Figure:
    """A bar for each kind of memory that is held, then one for the most at one moment."""
    values = {**what.held, "most at one moment": what.peak_bytes}
    figure = new_figure(what.title, 8, 1.7 + 0.36 * len(values))
    axes = figure.subplots()
    for i, (name, value) in enumerate(values.items()):
        outlined(axes, axes.barh([i], [value], 0.64, **filled(HELD if name in what.held else MOST)))
        text = units.memory(value)
        axes.annotate(text, (value, i), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
    row_axes(axes, list(values))
    most = max(values.values())
    axes.set_xlim(0, 1.15 * most)
    quantity(axes.xaxis, units.memory, most, binary=True)
    whole = f"the whole process holds {units.memory(what.resident_bytes)}"
    axes.set_xlabel(f"the most: beyond what was there before; {whole}", fontsize=8.5)
    return figure


def timeline_figure(what: data.Timeline) -> Figure:
    """Bytes that live after each op as an area, the most while it ran as a line; phases are shaded and named."""
    figure = new_figure(what.title, 10, 4.6)
    axes = figure.subplots()
    edges = np.arange(len(what.live_bytes) + 1)
    most = max(*what.peak_bytes, *what.live_bytes, 1)
    axes.stairs(what.live_bytes, edges, fill=True, color=SKY, label="live after the op")
    axes.stairs(what.peak_bytes, edges, baseline=None, color=INK, linewidth=1.1, label="the most while it ran")
    across = blended_transform_factory(axes.transData, axes.transAxes)
    for i, (phase, begin, end) in enumerate(what.spans):
        axes.axvspan(begin, end, facecolor="#eeeeee" if i % 2 else "white", zorder=0)
        if end - begin > 0.04 * len(what.live_bytes):
            axes.text((begin + end) / 2, 0.985, phase, transform=across, ha="center", va="top", fontsize=9, color=INK)
    x, y = what.at + 0.5, what.peak_bytes[what.at]
    side = "left" if x < len(what.live_bytes) / 2 else "right"
    axes.plot([x], [y], "v", color=BLUE, markersize=7)
    axes.annotate(what.what, (x, y), (0, 9), textcoords="offset points", ha=side, fontsize=9, color=INK)
    axes.set(xlabel="op, in the order they ran", xlim=(0, len(what.live_bytes)), ylim=(0, 1.25 * most))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    quantity(axes.yaxis, units.memory, most, binary=True)
    plain(axes, "y")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def comparison_figure(what: data.Comparison) -> Figure:
    """The whole on top, each quantity as a share of the larger; below time, bytes and FLOPs by layer."""
    shows = {"FLOPs": units.count, "bytes moved": units.memory, "peak memory": units.memory}
    heights = [1.1 + 0.42 * len(what.whole), 1.0 + 1.25 * ROW_INCHES * len(what.ns)]
    figure = new_figure("", 12, 0.5 + sum(heights))
    places = figure.add_gridspec(2, 1, height_ratios=heights)
    axes = figure.add_subplot(places[0])
    shares = [(scaled(pair.before, pair), scaled(pair.after, pair)) for pair in what.whole]
    notes = [texts(pair, shows.get(pair.name, units.duration)) for pair in what.whole]
    pairs_of_bars(axes, [pair.name for pair in what.whole], shares, notes)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("the whole: each as a share of the larger of the two", fontsize=10, color=INK)
    parts = ((what.ns, "time", units.duration, False), (what.bytes, "bytes moved", units.memory, True),
             (what.flops, "FLOPs", units.count, False))  # fmt: skip
    panels = places[1].subgridspec(1, len(parts)).subplots(sharey=True)
    for panel, (pairs, title, show, binary) in zip(np.asarray(panels).flat, parts):
        values = [(pair.before or 0.0, pair.after or 0.0) for pair in pairs]
        pairs_of_bars(panel, [pair.name for pair in pairs], values, [texts(pair, show) for pair in pairs])
        panel.set_title(f"{title} by layer", fontsize=10, color=INK)
        quantity(panel.xaxis, show, max((max(pair) for pair in values), default=1), binary)
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(handles, (f"A: {what.before}", f"B: {what.after}"), loc="outside upper center", ncols=2, fontsize=10,
                  frameon=False)  # fmt: skip
    return figure


def texts(pair: data.Pair, show: Callable[[float], str]) -> list[str]:
    """The values at the ends of the two bars; "" where there is no such layer."""
    return ["" if value is None else show(value) for value in (pair.before, pair.after)]


def scaled(value: float | None, pair: data.Pair) -> float:
    return (value or 0) / (max(pair.before or 0, pair.after or 0) or 1)


def pairs_of_bars(
    axes: Axes, names: Sequence[str], values: Sequence[tuple[float, float]], notes: Sequence[Sequence[str]]
) -> None:
    """Two bars in each row, before above after, with their values."""
    for part, look, shift in ((0, BEFORE, -0.19), (1, AFTER, 0.19)):
        places, lengths = np.arange(len(names)) + shift, [value[part] for value in values]
        bars = axes.barh(places, lengths, 0.36, label="AB"[part], **filled(look))
        outlined(axes, [bar for bar, text in zip(bars, notes) if text[part]])
        for at, length, text in zip(places, lengths, notes):
            axes.annotate(text[part], (length, at), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                          color=INK)  # fmt: skip
    row_axes(axes, names)
    axes.set_xlim(0, 1.22 * max((max(pair) for pair in values), default=1) or 1)
