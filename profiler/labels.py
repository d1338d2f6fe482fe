"""Where labels of dots stand so that none lies on a dot or on another label, nor outside the axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from profiler.palette import INK

DISTANCES = (4, 12, 24, 40, 60)  # points between a dot's rim and the label
DIRECTIONS = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
FAR = 12  # from here on a line leads from the label to its dot


def place(axes: Axes, labels: Sequence[str], dots: Sequence[tuple[float, float]], radii: Sequence[float]) -> list[Bbox]:
    """Label the first dots; dots (x, y) in data, radii in points. A label without any free place is left out.

    Returns the boxes of the labels, in pixels.
    """
    figure = axes.figure
    assert figure is not None
    renderer = FigureCanvasAgg(figure.figure).get_renderer()
    figure.figure.draw_without_rendering()
    pixels = renderer.points_to_pixels(1.0)
    inside = axes.get_window_extent(renderer)
    centres = axes.transData.transform(np.reshape(dots, (-1, 2)))
    taken = [Bbox.from_extents(*(centre - radius * pixels), *(centre + radius * pixels))
             for centre, radius in zip(centres, radii)]  # fmt: skip
    boxes = []
    for label, dot, centre, radius in zip(labels, dots, centres, radii):
        text = axes.annotate(label, dot, (0, 0), textcoords="offset points", fontsize=8.5, color=INK, zorder=4)
        extent = text.get_window_extent(renderer)
        found = free(centre, radius * pixels, extent.width, extent.height, inside, taken, pixels)
        if found is None:
            text.remove()
            continue
        distance, box = found
        text.set_position(tuple((np.array([box.x0, box.y0]) - centre) / pixels))
        if distance >= FAR:
            near = np.clip(centre, [box.x0, box.y0], [box.x1, box.y1])
            ends = axes.transData.inverted().transform([centre, near])
            axes.plot(*ends.T, color=INK, linewidth=0.6, zorder=2.5)
        taken.append(box)
        boxes.append(box)
    return boxes


def free(
    centre: np.ndarray, radius: float, width: float, height: float, inside: Bbox, taken: Sequence[Bbox], pixels: float
) -> tuple[float, Bbox] | None:
    """The nearest place where a label overlaps nothing: its distance in points, and its box."""
    for distance in DISTANCES:
        away = radius + distance * pixels
        for right, up in DIRECTIONS:
            away_each = away if not (right and up) else 0.7 * away
            x0 = centre[0] + right * away_each - width * (1 - right) / 2
            y0 = centre[1] + up * away_each - height * (1 - up) / 2
            box = Bbox.from_bounds(x0, y0, width, height)
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if within and not any(box.overlaps(other) for other in taken):
                return distance, box
    return None
