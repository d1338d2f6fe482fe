"""Drawings as text within a page: matplotlib's SVG whose colours and letters are those of the page around it.

Colours are names of CSS variables, so one drawing serves light and dark. The same figure gives the same bytes: no date,
ids that depend on the drawing's name alone. Ids are made unique within a page by that name.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# CSS variables of style.css. matplotlib gets a colour that stands for each and is replaced in what it wrote.
VARIABLES = ("ink", "muted", "line", "page", "ref", "opt", "good", *(f"series-{i}" for i in range(1, 9)))
SERIES = tuple(f"series-{i}" for i in range(1, 9))
MARKERS = "os^Dv<>P"  # series are told apart in grey, too

Margins = tuple[float, float, float, float]

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay letters
    "font.family": "sans-serif",
    "font.size": 11,
    "text.parse_math": False,  # a name with $ in it is a name
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.minor.bottom": False,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "path.simplify": False,
}


def css(variable: str) -> str:
    """The colour that stands for a CSS variable until `markup` replaces it."""
    return f"#fe{VARIABLES.index(variable):04x}"


@contextmanager
def drawing(name: str, width: float, height: float, margins: Margins | None = None) -> Iterator[Figure]:
    """A figure of so many inches to draw on, in the page's style; `markup` turns it into text within the block.

    With `margins` in inches (left, bottom, right, top) it need not be laid out, which takes half of the time.
    """
    colours: dict[Any, Any] = {
        "text.color": css("ink"),
        "axes.edgecolor": css("muted"),
        "axes.labelcolor": css("muted"),
        "axes.titlecolor": css("ink"),
        "xtick.color": css("muted"),
        "ytick.color": css("muted"),
        "grid.color": css("line"),
        "axes.facecolor": "none",
        "figure.facecolor": "none",
    }
    with matplotlib.rc_context({**STYLE, **colours, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's fonts have it, or show that they do not
        figure = Figure(figsize=(width, height), layout=None if margins else "constrained")
        if margins:
            left, bottom, right, top = margins
            figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
        FigureCanvasSVG(figure)
        yield figure


def markup(figure: Figure, name: str, told: str, links: dict[str, str] | None = None) -> Markup:
    """The figure as an `<svg>` element called `told` by screen readers. `links`: text for each address in it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
    used = set(re.findall(r'(?:url\(|href=")#([\w-]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{name}-", text)
    text = re.sub(r"#fe([0-9a-f]{4})\b", lambda found: f"var(--{VARIABLES[int(found[1], 16)]})", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    text = re.sub(r" *\n *", "\n", text).replace("\n\"", '"')
    titles = {address: escape(title) for address, title in (links or {}).items()}
    text = re.sub(
        r'<a xlink:href="([^"]*)"[^>]*>',
        lambda found: f'<a href="{found[1]}" aria-label="{titles[found[1]]}"><title>{titles[found[1]]}</title>',
        text,
    ).replace("xlink:href=", "href=")
    width, height = (72 * inches for inches in figure.get_size_inches())
    role = "group" if links else "img"  # links within an image could not be reached
    opening = f'<svg class="plot" role="{role}" aria-label="{escape(told)}" viewBox="0 0 {width:g} {height:g}" '
    opening += f'style="max-width: {width * 4 / 3:.0f}px">'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1))


def quiet(axes: Axes, grid: str = "both") -> None:
    """Only what helps reading: no ticks, the grid along one axis or both."""
    axes.tick_params(length=0)
    axes.grid(False)
    axes.grid(True, axis=grid)  # type: ignore[arg-type]
