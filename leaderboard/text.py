"""Numbers and foreign text as they are shown everywhere: digits end where the interval does, names command nothing."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

NAME_WIDTH = 24

One = TypeVar("One")


class Interval(Protocol):
    """Whatever has a ratio with its bounds."""

    @property
    def ratio(self) -> float: ...

    @property
    def ratio_lo(self) -> float: ...

    @property
    def ratio_hi(self) -> float: ...


def inert(text: str, width: int | None = None) -> str:
    """Foreign text that cannot command a terminal, cut to `width`.

    Control, format (right-to-left override, zero width) and unassigned characters and line separators are spelt out;
    of the marks piled onto one letter two remain.
    """
    if text.isascii() and text.isprintable() and (width is None or len(text) <= width):
        return text
    shown, marks = [], 0
    for char in text if width is None else text[: width + 1]:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category[0] == "C" or category in ("Zl", "Zp"):
            shown.append(ascii(char)[1:-1])
        elif marks <= 2:
            shown.append(" " if category == "Zs" else char)
    whole = "".join(shown)
    return whole if width is None or len(whole) <= width else whole[: width - 1] + "…"


def significant(value: float, figures: int = 3) -> int:
    """Decimals (negative: zeros before the point) that show `value` with so many significant figures."""
    exponent = int(f"{value:.{figures - 1}e}".partition("e")[2])  # after rounding: 9.996 counts as 10.0
    return figures - 1 - exponent


def fixed(value: float, decimals: int) -> str:
    """A number rounded to decimals that may be negative."""
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def three(value: float | None, unit: str = "") -> str:
    """Three significant figures; "-" where there is none."""
    return "-" if value is None else fixed(value, significant(value)) + unit


def decimals_within(value: float, low: float, high: float) -> int:
    """Three significant figures, and none finer than half the interval."""
    decimals, half_width = significant(value), (high - low) / 2
    return min(decimals, significant(half_width, 1)) if half_width else decimals


def ratio_decimals(derived: Interval) -> int:
    """The decimals that a ratio and its bounds are shown with."""
    return decimals_within(derived.ratio, derived.ratio_lo, derived.ratio_hi)


def within(value: float, low: float, high: float) -> str:
    """A number in the digits that its interval allows."""
    return fixed(value, decimals_within(value, low, high))


def counted(count: int, noun: str) -> str:
    """A number with its noun, "1 attempt" or "2 attempts"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[One], most: int, spelt: Callable[[One], str] = str) -> str:
    """The first of several, and how many more."""
    more = len(names) - most
    return ", ".join(map(spelt, names[:most])) + (f" and {more:,} more" if more > 0 else "")
