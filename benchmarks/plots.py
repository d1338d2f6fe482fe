"""Three drawings, readable without colour: how far each target is, times of all contestants as multiples of ours, and
accuracies on their way up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.accuracy import Race, races
from benchmarks.contest import Result
from benchmarks.table import is_ours
from benchmarks.targets import Target
from profiler.palette import BLUE, INK
from profiler.units import duration, figures

UNFILLED = {"color": "white", "edgecolor": INK, "hatch": "////"}
MARKERS = "osD^vPX*"
LINES = ("-", "--")
ROW_INCHES = 0.24


def draw(results: Sequence[Result], targets: Sequence[Target], folder: Path) -> list[Path]:
    """Write the PNG files into `folder`, made if need be; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    figures = {
        "targets": targets_figure(targets), "times": times_figure(results), "accuracy": accuracy_figure(races(results)),
    }  # fmt: skip
    for name, figure in figures.items():
        if figure is not None:
            paths.append(folder / f"benchmarks_{name}.png")
            figure.savefig(paths[-1], dpi=150)
    return paths


def rows_figure(title: str, rows: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure with one row for each label, from top to bottom, and a logarithmic axis."""
    figure = Figure(figsize=(10, 1.6 + ROW_INCHES * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")
    axes.tick_params(axis="x", which="both", labelsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_title(title, fontsize=11, color=INK)
    axes.grid(axis="x", which="major", color="#dddddd")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def targets_figure(targets: Sequence[Target]) -> Figure | None:
    """Measured over required for each target: bars that reach the line are full, the others hatched."""
    known = [(target, target.measured) for target in targets if target.measured is not None]
    if not known:
        return None
    labels = [f"{target.name} ({target.threads} thr.)" for target, _ in known]
    figure, axes = rows_figure("measured / required (bars that cross the line reach their target)", labels)
    for i, (target, measured) in enumerate(known):
        share = measured.median / target.required
        style: dict[str, Any] = {"color": BLUE} if target.reached else UNFILLED
        axes.barh(i, share - 1, left=1, height=0.7, **style)
        away = np.array([measured.least, measured.greatest]) / target.required
        axes.plot(away, [i, i], color=INK, linewidth=1)
        text = f" {figures(measured.median)} of {target.required:g} "
        axes.annotate(text, (max(share, 1, away[1]), i), va="center", fontsize=7, color=INK)
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.margins(x=0.12)
    return figure


def times_figure(results: Sequence[Result]) -> Figure | None:
    """Each peer's time over our quickest, a marker for each peer, a row for each case."""
    rows = []
    for result in results:
        ours = result.quickest([str(each) for each in result.case.contestants if is_ours(each)])
        peers = [str(each) for each in result.case.contestants if each.package != "tinytorch"]
        ratios = {name: result.ratio(name, ours).median for name in peers if ours and name in result.times_ns}
        if ratios:
            rows.append((f"{result.case} ({result.threads} thr.)", ratios))
    if not rows:
        return None
    figure, axes = rows_figure("peer's time / ours (right of the line: ours is quicker)", [label for label, _ in rows])
    names = list(dict.fromkeys(name for _, ratios in rows for name in ratios))
    for name, marker in zip(names, MARKERS, strict=False):
        points = [(ratios[name], i) for i, (_, ratios) in enumerate(rows) if name in ratios]
        axes.plot(*zip(*points), marker, color=INK, mfc="none" if marker in "sDv" else INK, markersize=5, label=name)
    axes.axvline(1, color=INK, linewidth=1.2)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, fontsize=8, frameon=False, borderaxespad=3)
    return figure


def accuracy_figure(races: Sequence[Race]) -> Figure | None:
    """Accuracy over seconds of training, a point for each epoch, and where each contestant reaches the goal."""
    known = [race for race in races if race.laps]
    if not known:
        return None
    figure = Figure(figsize=(8, 4.5 * len(known)), layout="constrained")
    for axes, race in zip(figure.subplots(len(known), squeeze=False)[:, 0], known):
        for height, (name, marker, line) in enumerate(zip(race.laps, MARKERS, LINES)):
            ns, accuracies = zip(*race.curve(name))
            axes.plot(np.array(ns) / 1e9, accuracies, line + marker, color=INK, mfc="white", markersize=5, label=name)
            if (reached := race.reached(name)) is not None:
                epoch, when = reached
                axes.axvline(when / 1e9, color=INK, linewidth=0.8, linestyle=line)
                place, text = (when / 1e9, 0.02 + 0.05 * height), f" {duration(when)}, epoch {epoch}"
                axes.annotate(text, place, xycoords=axes.get_xaxis_transform(), fontsize=8, color=INK)
        if race.training.goal is not None:
            axes.axhline(race.training.goal, color=BLUE, linewidth=1.2)
        axes.set_title(f"{race.case} ({race.threads} thr.)", fontsize=11, color=INK)
        axes.set_xlabel("seconds of training", fontsize=9)
        axes.set_ylabel("accuracy on the test part", fontsize=9)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.tick_params(labelsize=8)
        axes.set_xlim(left=0)
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", fontsize=8, frameon=False)
    return figure
