"""Drawings that the milestones share, in the profiler's colours.

Each function draws into matplotlib axes; figures are made without a window system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from milestones.run import Curve
from milestones.sweeps import LAST, SHOWN, Swept
from profiler import units
from profiler.palette import BLUE, GREEN, INK, ORANGE, PINK
from tinytorch.core.layers import Layer

PROBABILITY = LinearSegmentedColormap.from_list("probability", ["#9cc9e4", "#ffffff", "#f3b991"])
WEIGHT = LinearSegmentedColormap.from_list("weight", ["#ffffff", "#9cc9e4", BLUE, "#003a5d"])
GRID_POINTS = 200


def panels(title: str, count: int, widths: list[float] | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in a row under a title."""
    figure = Figure(figsize=(4.6 * (sum(widths) if widths else count), 4.6), layout="constrained")
    figure.suptitle(title, fontsize=13, color=INK)
    axes = figure.subplots(1, count, width_ratios=widths, gridspec_kw={"wspace": 0.08}, squeeze=False)[0]
    return figure, list(axes)


def grid(title: str, rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure with small axes in rows and columns under a title."""
    figure = Figure(figsize=(3.1 * columns, 3.2 * rows), layout="constrained")
    figure.suptitle(title, fontsize=13, color=INK)
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def decision_surface(axes: Axes, model: Layer, x: np.ndarray, y: np.ndarray, title: str) -> Any:
    """The model's probability over the plane, its boundary at one half, and points x (N, 2) of classes y (N,).

    Points on the wrong side have a ring. Returns the image, for a colour bar.
    """
    margin = 0.1 * np.ptp(x, axis=0)
    low, high = x.min(0) - margin, x.max(0) + margin
    across, up = np.meshgrid(*(np.linspace(a, b, GRID_POINTS) for a, b in zip(low, high)))
    surface = model.predict(np.stack([across.ravel(), up.ravel()], 1)).reshape(across.shape)
    wrong = (model.predict(x)[:, 0] > 0.5) != y
    extent = (low[0], high[0], low[1], high[1])
    image = axes.imshow(surface, extent=extent, origin="lower", cmap=PROBABILITY, vmin=0, vmax=1, aspect="auto")
    axes.contour(across, up, surface, levels=[0.5], colors=[INK], linewidths=1.8)
    for label, marker, colour in ((0, "o", BLUE), (1, "^", ORANGE)):
        part = x[y == label]
        axes.plot(*part.T, marker, color=colour, markersize=5, mec="white", mew=0.5, label=f"class {label}")
    if wrong.any():
        axes.plot(*x[wrong].T, "o", mfc="none", mec=INK, mew=1.1, markersize=9, label=f"wrong: {wrong.sum()}")
    axes.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=9, frameon=False, handletextpad=0)
    return image


def loss_curve(
    axes: Axes, losses: dict[str, list[float]], title: str = "training loss", least: float | None = None
) -> None:
    """Loss over epochs, one line for each name (two at most), and the least value it can take, where that is not 0."""
    styles = ((BLUE, "-"), (ORANGE, "--"))
    if least is not None:
        axes.axhline(least, color=INK, linestyle=":", linewidth=1.2)
        note = f"least possible: {least:.3f}"
        axes.annotate(note, (1, least), (0, -4), textcoords="offset points", va="top", fontsize=9, color=INK)
    for (name, values), (colour, style) in zip(losses.items(), styles):
        axes.plot(range(1, len(values) + 1), values, style, color=colour, linewidth=1.8, label=name)
    axes.set(title=title, xlabel="epoch", ylabel="mean loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(losses) > 1:
        axes.legend(fontsize=9, frameon=False)


def accuracy_curve(axes: Axes, accuracies: Sequence[float], title: str, required: float | None = None) -> None:
    """Accuracy in per cent after each epoch, the last one written beside it; and what is required of the test part."""
    percent = [100 * accuracy for accuracy in accuracies]
    if required is not None:
        axes.axhline(100 * required, color=INK, linestyle=":", linewidth=1.2)
        axes.annotate(f"required of the test part: {required:.0%}", (len(percent), 100 * required), (0, -4),
                      textcoords="offset points", ha="right", va="top", fontsize=9, color=INK)  # fmt: skip
    axes.plot(range(1, len(percent) + 1), percent, "o-", color=ORANGE, linewidth=1.8, markersize=4)
    axes.annotate(f"{percent[-1]:.1f}", (len(percent), percent[-1]), (0, 6), textcoords="offset points", ha="center",
                  fontsize=9, color=INK)  # fmt: skip
    axes.set(title=title, xlabel="epoch", ylabel="right, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def step_curve(axes: Axes, curve: Curve, smooth: int, required: float | None = None) -> None:
    """Losses of single steps, faint; their means of `smooth` steps; and the loss on what is held out, after some."""
    losses, watched = curve.losses, curve.watched
    axes.plot(range(1, len(losses) + 1), losses, color=BLUE, linewidth=0.5, alpha=0.25)
    ends = range(smooth, len(losses) + 1, smooth)
    means = [float(np.mean(losses[end - smooth : end])) for end in ends]
    axes.plot(np.array(ends) - (smooth - 1) / 2, means, color=BLUE, linewidth=1.8, label="training")
    axes.plot(list(watched), list(watched.values()), "o--", color=ORANGE, linewidth=1.8, markersize=4, label="held out")
    if required is not None:
        axes.axhline(required, color=INK, linestyle=":", linewidth=1.2)
        note = f"required: {required:.2f}"
        axes.annotate(note, (1, required), (0, -4), textcoords="offset points", va="top", fontsize=9, color=INK)
    axes.set(title="loss", xlabel="step", ylabel="nats for each token")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False)


def attention_map(axes: Axes, weights: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str) -> Any:
    """Weights (T, S), 0 to 1: how much each row's token looks at each column's. Returns the image, for a colour bar."""
    image = axes.imshow(weights, cmap=WEIGHT, vmin=0, vmax=1)
    axes.set_title(title, fontsize=10)
    axes.set_xticks(range(len(columns)), columns, fontsize=7, family="monospace")
    axes.set_yticks(range(len(rows)), rows, fontsize=7, family="monospace")
    axes.tick_params(length=0, pad=1.5)
    axes.spines[:].set_color("#dddddd")
    return image


def class_accuracies(axes: Axes, shares: Mapping[str, float], title: str) -> None:
    """A point for each class, from top to bottom: what part of its images is recognised, in per cent."""
    names, percent = list(shares)[::-1], [100 * share for share in shares.values()][::-1]
    axes.plot(percent, names, "o", color=BLUE, markersize=7)
    for i, value in enumerate(percent):
        axes.annotate(f"{value:.1f}", (value, i), (8, 0), textcoords="offset points", va="center", fontsize=9,
                      color=INK)  # fmt: skip
    axes.set(title=title, xlabel="right, %")
    axes.margins(x=0.15)
    axes.grid(axis="y", alpha=0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def bars(axes: Axes, values: dict[str, float], title: str, unit: str) -> None:
    """A bar for each name, from left to right, with its value at the end."""
    names = list(values)[::-1]
    drawn = axes.barh(names, [values[name] for name in names], 0.6, color=BLUE)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=4, fontsize=9, color=INK)
    axes.set(title=title, xlabel=unit)
    axes.margins(x=0.2)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def entropy(smoothing: float, classes: int) -> float:
    """Entropy of a label smoothed over the classes: the least cross-entropy any prediction can have."""
    target = np.full(classes, smoothing / classes)
    target[0] += 1 - smoothing
    return float(-(target * np.log(target, where=target > 0, out=np.zeros(classes))).sum())


def confusion_matrix(axes: Axes, truth: np.ndarray, predicted: np.ndarray, names: Sequence[str], title: str) -> None:
    """How many of each class (row) were taken for which (column); mistakes stand out, the commonest most."""
    classes = len(names)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    hits = np.eye(classes, dtype=bool)
    most = max(counts[~hits].max(), 1)
    shade = np.where(hits, 0.25, np.where(counts > 0, 0.55 + 0.45 * counts / most, 0.5))
    axes.imshow(shade, cmap=PROBABILITY, vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(counts)):
        weight = "bold" if i != j and 2 * counts[i, j] > most else "normal"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=8, color=INK, fontweight=weight)
    axes.set(title=title, xlabel="predicted", ylabel="what it is")
    axes.set_xticks(range(classes), names)
    if max(map(len, names)) > 2:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_yticks(range(classes), names)
    axes.hlines(np.arange(1, classes) - 0.5, -0.5, classes - 0.5, color="#dddddd", linewidth=0.6)
    axes.vlines(np.arange(1, classes) - 0.5, -0.5, classes - 0.5, color="#dddddd", linewidth=0.6)
    axes.tick_params(length=0)
    axes.spines[:].set_color("#dddddd")


def tiles(axes: Axes, images: np.ndarray, labels: list[str], columns: int, title: str) -> None:
    """Small images in a grid, each with its label below: grey (N, H, W), dark to light as their values, or in colours
    (N, H, W, 3), each channel 0 to 1.
    """
    step_y = 1.15 + 0.2 * max((label.count("\n") + 1 for label in labels if label), default=0)
    low, high = (images.min(), images.max()) if images.size else (0, 1)
    for i, (image, label) in enumerate(zip(images, labels)):
        left, top = (i % columns) * 1.15, (i // columns) * step_y
        axes.imshow(image, extent=(left, left + 1, top + 1, top), cmap="gray", vmin=low, vmax=high)
        axes.plot(left + np.array([0, 1, 1, 0, 0]), top + np.array([0, 0, 1, 1, 0]), color="#999999", linewidth=0.8)
        axes.text(left + 0.5, top + 1.04, label, ha="center", va="top", fontsize=9 if columns < 4 else 7, color=INK)
    rows = -(-len(images) // columns)
    axes.set(xlim=(-0.05, columns * 1.15 - 0.1), ylim=(max(rows, 1) * step_y - 0.1, -0.05), aspect="equal", title=title)
    axes.set_axis_off()


def pareto(axes: Axes, paths: dict[str, list[tuple[str, float, int]]], title: str) -> None:
    """The way of each model (four at most) through points (stage, latency in us, bytes), both axes logarithmic.

    Filled points are on the model's Pareto frontier: none of its points is at once as quick and as small, and better
    in one of the two. The first and the last point carry their stage's name.
    """
    styles = ((BLUE, "o"), (ORANGE, "^"), (GREEN, "s"), (PINK, "D"))
    for (name, points), (colour, marker) in zip(paths.items(), styles):
        latency, size = (np.array(values, float) for values in list(zip(*points))[1:])
        axes.plot(latency, size, "-", color=colour, linewidth=1, alpha=0.6)
        best = [not np.any((latency <= x) & (size <= y) & ((latency < x) | (size < y))) for x, y in zip(latency, size)]
        axes.plot(latency, size, marker, color=colour, mfc="white", markersize=7, linestyle="none")
        axes.plot(latency[best], size[best], marker, color=colour, markersize=7, linestyle="none", label=name)
        for i, text in ((0, points[0][0]), (-1, points[-1][0])):
            place, side = ((-8, -3), "right") if i else ((0, 8), "center")
            axes.annotate(text, (latency[i], size[i]), place, textcoords="offset points", ha=side, fontsize=8,
                          color=INK)  # fmt: skip
    axes.set(title=title, xlabel="latency of one example [us]", ylabel="bytes on disk", xscale="log", yscale="log")
    axes.margins(x=0.16, y=0.12)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", fontsize=9, frameon=False, title="filled: Pareto", title_fontsize=9)


def factor_waterfall(axes: Axes, log_steps: dict[str, float], title: str) -> None:
    """Bars on a logarithmic scale, each standing where the one before ended: factors that multiply to the whole."""
    reached, least = 0.0, 1.0
    for i, step in enumerate(log_steps.values()):
        low, high = sorted(np.exp([reached, reached + step]))
        least = min(least, low)
        axes.bar(i, high - low, 0.7, bottom=low, color=BLUE if step >= 0 else ORANGE)
        text = f"{np.exp(step):.3g}x"
        axes.annotate(text, (i, high), (0, 3), textcoords="offset points", ha="center", fontsize=9, color=INK)
        axes.plot([i - 0.35, i + 1.35], [np.exp(reached + step)] * 2, color=INK, linewidth=0.8, linestyle=":")
        reached += step
    axes.bar(len(log_steps), np.exp(reached) - 1, 0.7, bottom=1, color=INK)
    axes.annotate(f"{np.exp(reached):.3g}x", (len(log_steps), np.exp(reached)), (0, 3), textcoords="offset points",
                  ha="center", fontsize=9, color=INK)  # fmt: skip
    axes.set(title=title, ylabel="times as fast as the reference", yscale="log")
    axes.set_xticks(range(len(log_steps) + 1), [*log_steps, "all"], rotation=30, ha="right")
    axes.axhline(1, color=INK, linewidth=0.8)
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0.85 * least)
    axes.spines[["top", "right"]].set_visible(False)


def scaling(sweeps: Sequence[Swept]) -> Figure:
    """A row of panels for each sweep, one for each cost that grows: points, and power laws through all and the last."""
    columns = max(len(found.costs()) for found in sweeps)
    figure = Figure(figsize=(4.2 * columns, 3.9 * len(sweeps)), layout="constrained")
    figure.suptitle("how costs grow", fontsize=13, color=INK)
    rows = figure.subplots(len(sweeps), columns, squeeze=False)
    for axes_of, found in zip(rows, sweeps):
        for axes, name in zip(axes_of, found.costs()):
            power_law(axes, found, name)
        for axes in axes_of[len(found.costs()) :]:
            axes.set_axis_off()
    return figure


def power_law(axes: Axes, found: Swept, name: str) -> None:
    """Points (size, cost) on logarithmic axes, and the straight lines that were fitted, each over its own points."""
    sizes, costs = np.array([point.size for point in found.points], float), np.array(found.costs()[name], float)
    axes.plot(sizes, costs, "o", color=BLUE, markersize=6, zorder=3)
    for count, style, colour in ((len(sizes), ":", INK), (LAST, "-", ORANGE)):
        law, x, y = found.fitted(name, count), np.log(sizes[-count:]), np.log(costs[-count:])
        line = np.exp(y.mean() + law.exponent * (x - x.mean()))
        which = "all" if count == len(sizes) else f"last {count}"
        axes.plot(sizes[-count:], line, style, color=colour, linewidth=1.6, label=f"{which}: {law}")
    axes.set(xscale="log", yscale="log", title=f"{name}: {found.sweep.of}", xlabel=found.sweep.axis)
    axes.title.set_fontsize(9)
    ticks = LogLocator(2, numticks=7) if name == "memory" else LogLocator(subs=(1, 2, 5), numticks=8)
    axes.yaxis.set_major_locator(ticks)
    axes.yaxis.set_major_formatter(lambda cost, _: SHOWN.get(name, units.count)(cost))
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes], rotation=45)
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="exponent", fontsize=9, title_fontsize=9, frameon=False)
