"""Quantities as people read them: three significant figures and a fitting unit."""

from __future__ import annotations

LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns"))


def duration(ns: float) -> str:
    """A time with three significant figures; nothing is 0 s."""
    if not ns:
        return "0 s"
    scale, unit = next(((scale, unit) for scale, unit in UNITS if ns >= scale), UNITS[-1])
    return f"{figures(ns / scale)} {unit}"


def figures(value: float) -> str:
    """Three significant figures, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def count(value: float) -> str:
    """A number of things: exact below ten thousand, then three significant figures and k, M, G or T."""
    if abs(value) < 10_000:
        return f"{value:,.0f}"
    scale, unit = next((scale, unit) for scale, unit in LARGE if value >= scale)
    return f"{figures(value / scale)} {unit}"


def memory(nbytes: float) -> str:
    """Bytes: exact below ten thousand, then three significant figures and KiB, MiB or GiB."""
    if abs(nbytes) < 10_000:
        return f"{nbytes:,.0f} B"
    power, unit = next((power, unit) for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")) if nbytes >= 1 << power)
    return f"{figures(nbytes / (1 << power))} {unit}"
