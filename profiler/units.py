"""Quantities as people read them: three significant figures and a fitting unit."""

from __future__ import annotations

UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns"))


def duration(ns: float) -> str:
    """A time with three significant figures."""
    scale, unit = next(((scale, unit) for scale, unit in UNITS if ns >= scale), UNITS[-1])
    return f"{figures(ns / scale)} {unit}"


def figures(value: float) -> str:
    """Three significant figures, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
