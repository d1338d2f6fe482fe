"""Rows without submissions, for tests of what becomes of thousands or of hostile ones: an honest row, changed."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from hypothesis import strategies as st

from leaderboard.standing import Standing
from leaderboard.view import View, view_of
from tests.leaderboard.honest import entry


@cache
def honest_row() -> Standing:
    return Standing.of(entry("Ada", 4.0, 0.01))


def row(number: int = 0, name: str = "Ada", ratio: float = 4.0, width: float = 0.01, **changes: Any) -> Standing:
    """A valid row with this interval; `number` makes its id its own."""
    content = {
        "submission_id": f"{number:012x}", "submitter": name, "submitter_id": name.lower()[:20] or "nobody",
        "ratio": ratio, "ratio_lo": ratio * (1 - width), "ratio_hi": ratio * (1 + width), "score": ratio * (1 - width),
        "query_ns": 1e6 / ratio, "query_ns_lo": 1e6 / ratio / (1 + width), "query_ns_hi": 1e6 / ratio / (1 - width),
    }  # fmt: skip
    return honest_row()._replace(**(content | changes))


def viewed(rows: Iterable[Standing], **options: Any) -> View:
    return view_of(rows, {}, **options)


@st.composite
def fields(draw: st.DrawFn, most: int = 12) -> list[Standing]:
    """Several people's rows on few boards, with intervals that meet and with equal figures."""
    shapes = st.tuples(
        st.sampled_from(["Ada", "Bob", "Cyd", "Dan"]),
        st.sampled_from([0.5, 3.0, 3.05, 3.2, 9.0]),
        st.sampled_from([0.0, 0.02, 0.2]),
        st.sampled_from(["cnn", "mlp"]),
        st.sampled_from([(100, 354), (100, 356), (99, 353)]),
        st.sampled_from([1000, 2000]),
        st.booleans(),
        st.integers(1, 3),
    )
    return [
        row(
            number, name, ratio, width, model=model, division="open", tier=tier, correct=correct,
            quality=correct / 360, bytes=size, created_utc=f"2025-03-0{day}T12:00:00Z", **({} if valid else INVALID),
        )
        for number, (name, ratio, width, model, (tier, correct), size, valid, day) in enumerate(
            draw(st.lists(shapes, max_size=most))
        )
    ]  # fmt: skip


INVALID: dict[str, Any] = {"score": None, "status": "INVALID", "reasons": (("NOT_STEADY", "invalid"),)}
