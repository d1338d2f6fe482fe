"""Where labels of dots stand so that none lies on a dot or on another label, nor outside the axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from profiler.palette import INK

DISTANCES = (4, 12, 24, 40, 60)  # points between a dot's rim and the label
DIRECTIONS = ((1, 0), (1, 1), (1, -1), (-1, 0), (-1, 1), (-1, -1), (0, 1), (0, -1))
FAR = 12  # from here on a line leads from the label to its dot


def place(
    axes: Axes, labels: Mapping[int, str], dots: Sequence[tuple[float, float]], radii: Sequence[float]
) -> dict[int, Bbox]:
    """Label the dots of these numbers; dots (x, y) in data, radii in points. A label without a free place is left out.

    Call it when nothing else is added that would move the axes. Returns the boxes of the labels, in pixels.
    """
    figure = axes.figure
    assert figure is not None
    renderer = FigureCanvasAgg(figure.figure).get_renderer()
    figure.figure.draw_without_rendering()
    pixels = renderer.points_to_pixels(1.0)
    centres = axes.transData.transform(np.reshape(dots, (-1, 2)))
    rims = np.array(radii)[:, None] * pixels
    taken = [Bbox(ends) for ends in np.stack([centres - rims, centres + rims], 1)]
    inside, lines, boxes = axes.get_window_extent(renderer), list[Path](), dict[int, Bbox]()
    for number, label in labels.items():
        centre = centres[number]
        text = axes.annotate(label, dots[number], (0, 0), textcoords="offset points", fontsize=8.5, color=INK, zorder=4)
        extent = text.get_window_extent(renderer)
        for distance, box in candidates(centre, radii[number], extent.width, extent.height, pixels):
            line = Path([centre, np.clip(centre, box.min, box.max)])
            led = distance >= FAR
            if (
                contains(inside, box)
                and not any(box.overlaps(other) for other in taken)
                and not any(other.intersects_bbox(box, filled=False) for other in lines)
                and not (led and any(line.intersects_bbox(other, filled=False) for other in boxes.values()))
            ):
                text.set_position(tuple((box.min - centre) / pixels))
                taken.append(box)
                boxes[number] = box
                if led:
                    lines.append(line)
                    ends = axes.transData.inverted().transform(line.vertices)
                    axes.plot(*ends.T, color=INK, linewidth=0.6, zorder=2.5)
                break
        else:
            text.remove()
    return boxes


def candidates(
    centre: np.ndarray, radius: float, width: float, height: float, pixels: float
) -> Iterator[tuple[float, Bbox]]:
    """Places around a dot, the nearest first: the distance in points, and the label's box in pixels."""
    for distance in DISTANCES:
        for right, up in DIRECTIONS:
            away = (radius + distance) * pixels * (0.7 if right and up else 1.0)
            x0 = centre[0] + right * away - width * (1 - right) / 2
            y0 = centre[1] + up * away - height * (1 - up) / 2
            yield distance, Bbox.from_bounds(x0, y0, width, height)


def contains(outer: Bbox, inner: Bbox) -> bool:
    return bool(np.all(outer.min <= inner.min) and np.all(inner.max <= outer.max))
