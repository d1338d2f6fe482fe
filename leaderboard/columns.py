"""The columns of a board: what each says of an entry, in digits no finer than what is known."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from leaderboard.ranking import By, Entry, latency_interval
from leaderboard.standing import Standing
from leaderboard.text import NAME_WIDTH, fixed, inert, ratio_decimals, significant, three, within
from leaderboard.view import View

BADGE = "99.9"  # percent of the reference's quality: MLPerf's second target


class Column(NamedTuple):
    """`always`: on narrow tables too. `by`: there also where this ranks. `generates`: only where tokens are written."""

    name: str
    align: Literal["left", "right"]
    cell: Callable[[Entry, View], str]
    always: bool = False
    by: By | None = None
    generates: bool = False


def place_of(rank: int | None, tied: bool) -> str:
    """Such as 1, 1= where it is shared, - where there is none."""
    return "-" if rank is None else f"{rank}{'=' if tied else ''}"


def score_text(row: Standing) -> str:
    return "-" if row.score is None else fixed(row.score, ratio_decimals(row))


def quality_text(row: Standing) -> str:
    """Such as 354/360 where answers are counted, else the metric in five figures."""
    if row.correct is None:
        return fixed(row.quality, significant(row.quality, 5))
    return f"{row.correct:,}/{row.samples:,}"


def latency_text(row: Standing, value: float | None) -> str:
    """A latency, in the digits that the spread over processes allows."""
    if value is None or row.latency_us_p90 is None:
        return three(value)
    low, high = latency_interval(row)
    return within(value, value * low / row.latency_us_p90, value * high / row.latency_us_p90)


def throughput(row: Standing) -> tuple[float, float, float]:
    """Queries per second in the timed blocks: the middle worker's, the slowest and the quickest."""
    return 1e9 / row.query_ns, 1e9 / row.query_ns_hi, 1e9 / row.query_ns_lo


def verified_text(row: Standing, view: View) -> str:
    """The ratio of a replay beside the claimed one; "refuted", or "-" where there was none."""
    trust = view.trust(row)
    if trust.ratio is None:
        return {"claimed": "-", "verified": "yes", "refuted": "refuted"}[trust.word]
    if trust.ratio_lo is None or trust.ratio_hi is None:
        return three(trust.ratio)
    return within(trust.ratio, trust.ratio_lo, trust.ratio_hi)


def notes(entry: Entry, view: View) -> str:
    """The badge, what is unusual, and why it has no rank."""
    row = entry.standing
    parts = [BADGE] if row.has_badge else []
    parts += view.flags(row)
    if row.invalid:
        parts.append("INVALID " + ", ".join(row.invalid))
    if entry.behind:
        parts.append(f"behind {entry.behind}")
    return " ".join(parts)


COLUMNS = (
    Column("rank", "right", lambda entry, _: place_of(entry.rank, entry.tied), always=True),
    Column("submitter", "left", lambda entry, _: inert(entry.standing.submitter, NAME_WIDTH), always=True),
    Column("score", "right", lambda entry, _: score_text(entry.standing), always=True),
    Column("ratio", "right", lambda e, _: fixed(e.standing.ratio, ratio_decimals(e.standing)), always=True),
    Column("at most", "right", lambda e, _: fixed(e.standing.ratio_hi, ratio_decimals(e.standing))),
    Column("verified", "right", lambda entry, view: verified_text(entry.standing, view), always=True),
    Column("p50 us", "right", lambda entry, _: latency_text(entry.standing, entry.standing.latency_us_p50)),
    Column("p90 us", "right", lambda e, _: latency_text(e.standing, e.standing.latency_us_p90), always=True),
    Column("queries/s", "right", lambda entry, _: within(*throughput(entry.standing)), by="throughput"),
    Column("first ms", "right", lambda entry, _: three(entry.standing.ttft_ms_p50), generates=True),
    Column("tokens/s", "right", lambda entry, _: three(entry.standing.tokens_per_s), generates=True),
    Column("quality", "right", lambda entry, _: quality_text(entry.standing), always=True),
    Column("of reference", "right", lambda entry, _: relative_text(entry.standing), by="accuracy"),
    Column("bytes", "right", lambda entry, _: f"{entry.standing.bytes:,}", always=True),
    Column("smaller", "right", lambda entry, _: three(entry.standing.size_ratio, "x"), by="size"),
    Column("tries", "right", lambda entry, _: f"{entry.attempts:,}", always=True),
    Column("date", "left", lambda entry, _: entry.standing.created_utc[:10]),
    Column("id", "left", lambda entry, _: entry.standing.submission_id),
    Column("notes", "left", notes, always=True),
    Column("warnings", "left", lambda entry, _: ", ".join(entry.standing.warnings)),
)


def relative_text(row: Standing) -> str:
    """Quality in percent of the reference's, in the five figures of the rules."""
    return "-" if row.quality_rel is None else f"{100 * row.quality_rel:.5g}%"


def columns_of(entries: tuple[Entry, ...], by: By, is_wide: bool, further: tuple[str, ...] = ()) -> list[Column]:
    """The columns of a table; `further` are shown although it is narrow."""
    generates = any(entry.standing.ttft_ms_p50 is not None for entry in entries)
    return [
        column
        for column in COLUMNS
        if (is_wide or column.always or column.by == by or column.name in further)
        and (generates or not column.generates)
    ]
