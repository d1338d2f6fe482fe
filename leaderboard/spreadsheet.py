"""All boards as one CSV table, a line for each submission, without events. Numbers are unrounded and stay numbers.

A spreadsheet takes a text that begins with =, +, -, @, a tab or a carriage return for a formula and runs it; such a
text gets an apostrophe in front, which shows it as text.
"""

import csv
import io
import unicodedata

from leaderboard.columns import throughput
from leaderboard.ranking import Board, Entry
from leaderboard.text import inert
from leaderboard.view import View

FORMULA = tuple("=+-@\t\r\n")
TEXT_WIDTH = 200  # characters, as many as a submission may have

Value = str | int | float | bool | None


def harmless(text: str) -> str:
    """Foreign text as a cell: without control characters, and no formula, in whatever width its sign is written."""
    plain = unicodedata.normalize("NFKC", text[: TEXT_WIDTH + 1]).lstrip(" ")
    return ("'" if text.startswith(FORMULA) or plain.startswith(FORMULA) else "") + inert(text, TEXT_WIDTH)


def values_of(board: Board, entry: Entry, view: View) -> dict[str, Value]:
    """The line of a submission; None is an empty cell."""
    row, trust = entry.standing, view.trust(entry.standing)
    values: dict[str, Value] = {
        "model": row.model,
        "division": row.division,
        "thread_policy": row.thread_policy,
        "benchmark_version": row.benchmark_version,
        "tier": board.group.tier,
        "rank": entry.rank,
        "tied": entry.tied,
        "submitter": row.submitter,
        "submitter_id": row.submitter_id,
        "score": row.score,
        "ratio": row.ratio,
        "ratio_lo": row.ratio_lo,
        "ratio_hi": row.ratio_hi,
        "verification": trust.word,
        "verified_ratio": trust.ratio,
        "latency_us_p50": row.latency_us_p50,
        "latency_us_p90": row.latency_us_p90,
        "queries_per_s": throughput(row)[0],
        "ttft_ms_p50": row.ttft_ms_p50,
        "tokens_per_s": row.tokens_per_s,
        "quality": row.quality,
        "correct": row.correct,
        "samples": row.samples,
        "reference_quality": row.reference_quality,
        "has_badge": row.has_badge,
        "bytes": row.bytes,
        "reference_bytes": row.reference_bytes,
        "size_ratio": row.size_ratio,
        "attempts": entry.attempts,
        "behind": entry.behind,
        "status": row.status,
        "reasons": " ".join(row.invalid),
        "warnings": " ".join(row.warnings),
        "flags": " ".join(view.flags(row)),
        "threads": row.threads,
        "cpu_model": row.cpu_model,
        "created_utc": row.created_utc,
        "submission_id": row.submission_id,
    }
    return {name: harmless(value) if isinstance(value, str) else value for name, value in values.items()}


def to_csv(view: View) -> str:
    """The table, by RFC 4180 but with plain line ends. Without submissions there is not even a header."""
    lines = [values_of(board, entry, view) for board in view.boards for entry in board.entries]
    file = io.StringIO()
    if lines:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return file.getvalue()
