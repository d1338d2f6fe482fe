"""Pictures of reports, readable in grey: roofline, time and bytes by layer, memory, and two reports beside each other.

`plot_data.py` says what is in each; here it is drawn, into figures made without a window system, and written as PNG and
SVG. The way labels of dots find a place is in `labels.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import blended_transform_factory

from profiler import plot_data as data
from profiler import units
from profiler.labels import place
from profiler.palette import AFTER, BEFORE, BLUE, GREY, INK, OUTSIDE, PALE, PHASES, SKY, Look
from profiler.report import Report
from profiler.tables import PHASES as ORDER
from tinytorch.files import write_together

ROW_INCHES = 0.27
DOTS_PER_INCH = 150
LABELLED, LEAST_SHARE = 8, 0.03  # dots of a roofline that get a label: at most so many, none of a smaller share
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


def quantity(axis, show: Callable[[float], str], most: float, base: float = 10) -> None:  # type: ignore[no-untyped-def]
    """Ticks with units, at round numbers of what the unit counts: powers of `base` times 1, 2, 5, or of two."""
    unit = 1.0
    if base == 2:
        unit = float(2 ** (10 * (int(np.log2(max(most, 1))) // 10)))
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if unit > 1:
        ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, most / unit)
        axis.set_ticks([tick * unit for tick in ticks if 0 <= tick * unit <= 1.15 * most])
    axis.set_major_formatter(FuncFormatter(lambda value, _: "0" if not value else show(value)))


def row_axes(axes: Axes, names: Sequence[str]) -> None:
    """Rows with these names, from top to bottom."""
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    plain(axes)
    axes.tick_params(axis="y", length=0)


def plain(axes: Axes, grid: str = "x") -> None:
    axes.tick_params(axis="both", labelsize=8.5)
    axes.grid(axis=grid, color=PALE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def filled(look: Look) -> dict[str, object]:
    """A bar with its hatch, and an edge that grey paper shows."""
    ink = INK if look.colour == "#ffffff" else "white"
    return {"facecolor": look.colour, "hatch": look.hatch, "edgecolor": ink, "linewidth": 0.6}


def outlined(axes: Axes, bars: Iterable) -> None:  # type: ignore[type-arg]
    """Hatches have the edge's colour, so the outline is drawn once more, in ink."""
    for bar in bars:
        left, bottom = bar.get_xy()
        width, height = bar.get_width(), bar.get_height()
        axes.plot(left + width * np.array([0, 1, 1, 0, 0]), bottom + height * np.array([0, 0, 1, 1, 0]), color=INK,
                  linewidth=0.6)  # fmt: skip


# -- figures -----------------------------------------------------------------------------------------------------------


def layers_figure(what: data.Layers) -> Figure:
    """Stacked bars, time to the left and bytes to the right; the time outside ops has a row of its own."""
    names = [row.name for row in what.ns] + [data.OUTSIDE]
    figure = new_figure(what.title, 11, 1.9 + ROW_INCHES * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    present = [phase for phase in ORDER if any(phase in row.values for row in what.ns)]
    for axes, rows, title, show, base in (
        (left, what.ns, "time", units.duration, 10), (right, what.bytes, "bytes moved by ops", units.memory, 2)
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
        quantity(axes.xaxis, show, ends.max(), base)
    handles, texts = left.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=len(texts), fontsize=9, frameon=False)
    return figure


def roofline_figure(what: data.Roofline) -> Figure:
    """Both axes logarithmic. A dot's area is its share of the pass, its marker the phase, hollow for int8."""
    figure = new_figure(what.title, 9.5, 6.4)
    axes = figure.subplots()
    per_byte = [dot.per_byte for dot in what.dots]
    ridges = [roof.ridge(level) for roof in what.roofs for level in roof.levels]
    low, high = min([*per_byte, *ridges]) / 2.5, max([*per_byte, *ridges]) * 2.5
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
    figure.draw_without_rendering()  # so that slopes have an angle
    highest = max(what.roofs, key=lambda roof: roof.peak_per_s)
    for level, style in zip(highest.levels, LEVEL_STYLES, strict=False):
        ends = np.array([max(low, bottom / level.bytes_per_s), highest.ridge(level)])
        axes.plot(ends, ends * level.bytes_per_s, style, color=GREY, linewidth=1.4)
        (x0, y0), (x1, y1) = axes.transData.transform(np.column_stack([ends, ends * level.bytes_per_s]))
        angle = np.degrees(np.arctan2(y1 - y0, x1 - x0))
        at = ends[0] * (1.15 if low < ends[0] else 1.1)
        axes.annotate(f"{level.name} {units.figures(level.bytes_per_s / 1e9)} GB/s", (at, at * level.bytes_per_s),
                      (-3, 3), textcoords="offset points", rotation=angle, rotation_mode="anchor", fontsize=8.5,
                      color="#666666")  # fmt: skip
    dots = [(dot.per_byte, dot.per_s, PHASES[dot.phase], 14 + 700 * dot.share, dot.arithmetic) for dot in what.dots]
    for x, y, look, size, arithmetic in dots:
        face = "white" if arithmetic == "int8" else look.colour
        edge = look.colour if arithmetic == "int8" else "white"
        axes.scatter([x], [y], s=size, marker=look.marker, color=face, edgecolor=edge, linewidth=0.9, zorder=3)
    notes = [f"{dot.layer}  {dot.share:.0%}" for dot in what.dots[:LABELLED] if dot.share >= LEAST_SHARE]
    place(axes, notes, [dot[:2] for dot in dots], [np.sqrt(dot[3]) / 2 for dot in dots])
    for phase in [phase for phase in ORDER if any(dot.phase == phase for dot in what.dots)]:
        axes.plot([], [], PHASES[phase].marker, color=PHASES[phase].colour, markersize=8, label=phase)
    if any(dot.arithmetic == "int8" for dot in what.dots):
        axes.plot([], [], "o", mfc="white", mec=INK, markersize=8, label="hollow: int8")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False, handletextpad=0.2, title=(
        "a dot is a layer in one phase; its area is its share of the pass" + left_out(what.left_out)),
        title_fontsize=8.5)  # fmt: skip
    axes.set_xlabel("operations executed for each byte moved")
    axes.set_ylabel("operations in a second")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{units.figures(value / 1e9).rstrip('0').rstrip('.') if value < 1e11 else f'{value / 1e9:.0f}'} G"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plain(axes, "both")
    return figure


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
        look = OUTSIDE if name not in what.held else Look(SKY, "o", "")
        outlined(axes, axes.barh([i], [value], 0.64, **filled(look)))
        text = units.memory(value)
        axes.annotate(text, (value, i), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
    row_axes(axes, list(values))
    most = max(values.values())
    axes.set_xlim(0, 1.15 * most)
    quantity(axes.xaxis, units.memory, most, 2)
    axes.set_xlabel(f"the most: beyond what was there before; the whole process holds {units.memory(what.resident_bytes)}",
                    fontsize=8.5)  # fmt: skip
    return figure


def timeline_figure(what: data.Timeline) -> Figure:
    """Bytes that live after each op as an area, the most while it ran as a line; phases are shaded and named."""
    figure = new_figure(what.title, 10, 4.6)
    axes = figure.subplots()
    edges = np.arange(len(what.live_bytes) + 1)
    most = max(*what.peak_bytes, *what.live_bytes, 1)
    axes.stairs(what.live_bytes, edges, fill=True, color=SKY, alpha=0.9, label="live after the op")
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
    quantity(axes.yaxis, units.memory, most, 2)
    plain(axes, "y")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def comparison_figure(what: data.Comparison) -> Figure:
    """The whole on top, each quantity as a share of the larger; below time, bytes and FLOPs by layer."""
    shows = {"FLOPs": units.count, "bytes moved": units.memory, "peak memory": units.memory}
    figure = new_figure("", 12, 2.6 + 0.42 * len(what.whole) + 1.25 * ROW_INCHES * len(what.ns))
    top, below = figure.subfigures(2, 1, height_ratios=[1.1 + 0.42 * len(what.whole), 1.0 + 1.25 * ROW_INCHES * len(what.ns)])
    axes = top.subplots()
    pairs_of_bars(axes, [pair.name for pair in what.whole], [
        (scaled(pair.before, pair), scaled(pair.after, pair)) for pair in what.whole], [
        [shows.get(pair.name, units.duration)(value or 0) for value in (pair.before, pair.after)] for pair in what.whole])  # fmt: skip
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("the whole: each as a share of the larger of the two", fontsize=10, color=INK)
    parts = ((what.ns, "time", units.duration, 10), (what.bytes, "bytes moved", units.memory, 2),
             (what.flops, "FLOPs", units.count, 10))  # fmt: skip
    panels = below.subplots(1, len(parts), sharey=True)
    for panel, (pairs, title, show, base) in zip(panels, parts):
        texts = [["" if value is None else show(value) for value in pair[1:]] for pair in pairs]
        values = [(pair.before or 0.0, pair.after or 0.0) for pair in pairs]
        pairs_of_bars(panel, [pair.name for pair in pairs], values, texts)
        panel.set_title(f"{title} by layer", fontsize=10, color=INK)
        quantity(panel.xaxis, show, max((max(pair) for pair in values), default=1), base)
    handles, _ = axes.get_legend_handles_labels()
    figure.legend(handles, (f"A: {what.before}", f"B: {what.after}"), loc="outside upper center", ncols=2, fontsize=10,
                  frameon=False)  # fmt: skip
    return figure


def scaled(value: float | None, pair: data.Pair) -> float:
    return (value or 0) / (max(pair.before or 0, pair.after or 0) or 1)


def pairs_of_bars(
    axes: Axes, names: Sequence[str], values: Sequence[tuple[float, float]], texts: Sequence[Sequence[str]]
) -> None:
    """Two bars in each row, before above after, with their values."""
    for part, look, shift in ((0, BEFORE, -0.19), (1, AFTER, 0.19)):
        places, lengths = np.arange(len(names)) + shift, [value[part] for value in values]
        bars = axes.barh(places, lengths, 0.36, label="AB"[part], **filled(look))
        outlined(axes, [bar for bar, text in zip(bars, texts) if text[part]])
        for at, length, text in zip(places, lengths, texts):
            axes.annotate(text[part], (length, at), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                          color=INK)  # fmt: skip
    row_axes(axes, names)
    axes.set_xlim(0, 1.22 * max((max(pair) for pair in values), default=1) or 1)
