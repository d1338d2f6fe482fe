"""Tables of text: columns as wide as what is in them, also where a letter takes two places or none."""

import unicodedata
from collections.abc import Collection, Sequence

GAP = "  "


def width_of(text: str) -> int:
    """How many places a terminal needs: two for East Asian letters, none for marks above others."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(char) in "WF" else unicodedata.category(char) not in ("Mn", "Me")
        for char in text
    )


def shortened(text: str, width: int) -> str:
    """Text that is inert already, cut to so many places."""
    if width_of(text) <= width:
        return text
    while width_of(text) >= width:
        text = text[:-1]
    return text + "…"


def grid(
    rows: Sequence[Sequence[str]], headers: Sequence[str], left: Collection[str] = (), most: int | None = None
) -> str:
    """A table; the columns named in `left` stand to the left. No line ends in spaces.

    With `most` lines are no longer than that: where they would be, the last column is cut.
    """
    widths = [max(map(width_of, column)) for column in zip(headers, *rows)]
    if most is not None:
        widths[-1] = max(min(widths[-1], most - sum(width + len(GAP) for width in widths[:-1])), len(headers[-1]))

    def line(cells: Sequence[str]) -> str:
        cells = [*cells[:-1], shortened(cells[-1], widths[-1])]
        padded = (
            cell + " " * (width - width_of(cell)) if name in left else " " * (width - width_of(cell)) + cell
            for cell, width, name in zip(cells, widths, headers)
        )
        return GAP.join(padded).rstrip()

    return "\n".join([line(headers), GAP.join("-" * width for width in widths), *map(line, rows)])
