"""Latency against quality of all submissions for one model, with size as area and the frontier marked."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leaderboard.schema import Submission
from leaderboard.site.svg import css, drawing, markup, quiet
from leaderboard.site.times import duration, log_times
from leaderboard.text import inert

NAME_WIDTH = 18
LABELLED = 12  # points whose submitter is written beside them
SIZES: tuple[tuple[float, float, str], ...] = ((1e3, 1, "B"), (1e6, 1e3, "kB"), (math.inf, 1e6, "MB"))
LARGEST = 700  # points squared, the area of the largest model


class Point(NamedTuple):
    """A submission as it is drawn. `href` is None where it has no page."""

    submission: Submission
    href: str | None
    on_frontier: bool


def label_of(submission: Submission) -> str:
    """What a point says when asked."""
    quality = submission.quality
    right = f"{quality.opt_correct} of {quality.n}" if quality.opt_correct is not None else f"{quality.value:.4g}"
    return (
        f"{inert(submission.submitter.display_name, NAME_WIDTH)}, {submission.division}: "
        f"{duration(submission.derived.latency_us_p90 or 0)}, {right}, {submission.candidate.bytes_stored:,} bytes"
    )


def plot(points: Sequence[Point], name: str, told: str) -> Markup:
    """The points, which all have a latency; `name` makes the ids of this drawing its own."""
    first = points[0].submission
    counted = first.quality.opt_correct is not None
    x = np.array([point.submission.derived.latency_us_p90 for point in points], float)
    y = np.array([_height(point.submission) for point in points], float)
    size = np.array([point.submission.candidate.bytes_stored for point in points], float)
    area = LARGEST * size / size.max()
    with drawing(name, 6.6, 4.2) as figure:
        axes = figure.subplots()
        log_times(axes, x.min() / 1.35, x.max() * 1.5)
        margin = max((y.max() - y.min()) * 0.14, 0.02 * abs(y.max()) if y.max() == y.min() else 0) or 1.0
        axes.set_ylim(y.min() - margin, y.max() + margin)
        if not first.task.higher_is_better:
            axes.invert_yaxis()
        links: dict[str, str] = {}
        for index in np.argsort(-size, kind="stable"):  # small ones above large ones
            point = points[index]
            is_open, best = point.submission.division == "open", point.on_frontier
            dots = axes.scatter(
                x[index], y[index], s=max(area[index], 14), marker="^" if is_open else "o", alpha=0.85 if best else 0.4,
                facecolor=css("series-2" if is_open else "series-1"), edgecolor=css("ink" if best else "page"),
                linewidth=1.4 if best else 0.6,
            )
            if point.href:
                dots.set_urls([point.href])
                links[point.href] = label_of(point.submission)
        _staircase(axes, x, y, first.task.higher_is_better)
        front = sorted((i for i, point in enumerate(points) if point.on_frontier), key=lambda i: x[i])
        axes.set_xlabel("90th percentile of latency, one query (further left is quicker)")
        better = "" if first.task.higher_is_better else ", lower is better"
        axes.set_ylabel("correct answers, %" if counted else f"{inert(first.task.metric, 24)}{better}")
        _legend(figure, points, float(size.max()))
        quiet(axes)
        _names(figure, axes, front[:LABELLED], points, np.sqrt(area) / 2)
        return markup(figure, name, told, links)


def _staircase(axes: Axes, x: np.ndarray, y: np.ndarray, higher_is_better: bool) -> None:
    """What is reached in quality for each latency: a line below which nobody needs to be."""
    corners, best = [], -math.inf
    for index in np.lexsort((-y if higher_is_better else y, x)):
        height = y[index] if higher_is_better else -y[index]
        if height > best:
            corners.append(index)
            best = height
    right = axes.get_xlim()[1]
    axes.step([*x[corners], right], [*y[corners], y[corners[-1]]], where="post", color=css("muted"), linewidth=1,
              linestyle=(0, (4, 3)), zorder=0.5)  # fmt: skip


def _names(figure: Figure, axes: Axes, front: Sequence[int], points: Sequence[Point], radii: np.ndarray) -> None:
    """The submitters on the frontier, each beside its mark where it covers no mark and no other name, else nowhere."""
    figure.draw_without_rendering()  # settles where everything is
    scale = 72 / figure.dpi
    places = [(one.derived.latency_us_p90 or 0.0, _height(one)) for one, *_ in points]
    spots = axes.transData.transform(places) * scale
    (left, low), (right, high) = axes.get_window_extent().get_points() * scale
    taken: list[tuple[float, float, float, float]] = [
        (spot[0] - radius, spot[1] - radius, spot[0] + radius, spot[1] + radius) for spot, radius in zip(spots, radii)
    ]
    for index in front:
        name = inert(points[index].submission.submitter.display_name, NAME_WIDTH)
        wide, away = 6.5 * len(name), radii[index] + 4
        for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            middle = spots[index] + np.array([across * (away + wide / 2), up * (away + 6 if across == 0 else 12)])
            box = (middle[0] - wide / 2, middle[1] - 6, middle[0] + wide / 2, middle[1] + 6)
            inside = left < box[0] and box[2] < right and low < box[1] and box[3] < high
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                axes.annotate(name, places[index], middle - spots[index], textcoords="offset points", fontsize=10,
                              ha="center", va="center")  # fmt: skip
                break


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _height(submission: Submission) -> float:
    """Where a submission stands on the upright axis: percent where answers are counted."""
    quality = submission.quality
    return 100 * quality.value if quality.opt_correct is not None else quality.value


def _legend(figure: Figure, points: Sequence[Point], largest: float) -> None:
    """Marks of divisions, and areas of the largest model, a quarter and a sixteenth of it."""
    shown = sorted({point.submission.division for point in points})
    marks = {"open": ("^", "series-2")}
    handles = []
    for division in shown:
        marker, colour = marks.get(division, ("o", "series-1"))
        handles.append(Line2D([], [], linestyle="", marker=marker, color=css(colour), markersize=8, label=division))
    handles.append(Line2D([], [], linestyle=(0, (4, 3)), marker="o", markerfacecolor="none", markeredgewidth=1.4,
                          markeredgecolor=css("ink"), color=css("muted"), markersize=8, label="frontier"))  # fmt: skip
    for share in (1, 1 / 4, 1 / 16):
        handles.append(Line2D([], [], linestyle="", marker="o", markerfacecolor="none", markeredgecolor=css("muted"),
                              markersize=math.sqrt(LARGEST * share), label=size_text(largest * share)))  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handletextpad=0.7, handlelength=1.6,
                  columnspacing=1.2, borderpad=0.9)  # fmt: skip


def size_text(size: float) -> str:
    """Bytes in three figures and less."""
    factor, unit = next((factor, unit) for limit, factor, unit in SIZES if size < limit)
    return f"{size / factor:.3g} {unit}"
