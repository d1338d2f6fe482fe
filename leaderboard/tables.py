"""What is seen: tables, and the same as JSON. Digits end where the interval does; foreign text is made inert."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

from leaderboard.ranking import Board, By, Entry, boards
from leaderboard.schema import Derived, Submission
from leaderboard.store import Problem

COLUMNS = {
    "rank": "right",
    "submitter": "left",
    "score": "right",
    "ratio": "right",
    "at most": "right",
    "p50 us": "right",
    "p90 us": "right",
    "first ms": "right",
    "tokens/s": "right",
    "quality": "right",
    "bytes": "right",
    "smaller": "right",
    "date": "left",
    "id": "left",
    "remarks": "left",
}
GENERATION_COLUMNS = ("first ms", "tokens/s")  # shown on boards where answers are written token by token
NAME_WIDTH = 24
REASON_WIDTH = 160


def inert(text: str, width: int | None = None) -> str:
    """Foreign text that cannot command a terminal, cut to `width`.

    Control, format (right-to-left override, zero width) and unassigned characters and line separators are spelt out;
    of the marks piled onto one letter two remain.
    """
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


def _three(value: float | None, unit: str = "") -> str:
    return "-" if value is None else fixed(value, significant(value)) + unit


def ratio_decimals(derived: Derived) -> int:
    """Three significant figures, and none finer than half the interval."""
    decimals = significant(derived.ratio)
    half_width = (derived.ratio_hi - derived.ratio_lo) / 2
    return min(decimals, significant(half_width, 1)) if half_width else decimals


def _quality(submission: Submission) -> str:
    quality = submission.quality
    if quality.opt_correct is None:
        return fixed(quality.value, significant(quality.value, 5))
    return f"{quality.opt_correct}/{quality.n} {100 * quality.value:.5g}%"


def remarks(submission: Submission) -> str:
    """Every reason's code; those that make the submission INVALID come first, warnings in brackets."""
    reasons = submission.validity.reasons
    invalid = [reason.code for reason in reasons if reason.severity == "invalid"]
    warnings = [reason.code for reason in reasons if reason.severity == "warning"]
    parts = ["INVALID " + ", ".join(invalid)] if invalid else []
    return " ".join([*parts, f"({', '.join(warnings)})"] if warnings else parts)


def _cells(entry: Entry) -> tuple[str, ...]:
    submission, derived = entry.submission, entry.submission.derived
    decimals = ratio_decimals(derived)
    place = "-" if entry.rank is None else f"{entry.rank}="
    return (
        place if entry.tied else place.rstrip("="),
        inert(submission.submitter.display_name, NAME_WIDTH),
        "-" if derived.score is None else fixed(derived.score, decimals),
        fixed(derived.ratio, decimals),
        fixed(derived.ratio_hi, decimals),
        _three(derived.latency_us_p50),
        _three(derived.latency_us_p90),
        _three(derived.ttft_ms_p50),
        _three(derived.tokens_per_s),
        _quality(submission),
        f"{submission.candidate.bytes_stored:,}",
        _three(derived.size_ratio, "x"),
        submission.created_utc[:10],
        submission.submission_id,
        remarks(submission),
    )


def _table(entries: Sequence[Entry]) -> str:
    """Numbers are text to tabulate already, so that a name like `1e5` stays a name."""
    generates = any(entry.submission.generation for entry in entries)
    shown = [name for name in COLUMNS if generates or name not in GENERATION_COLUMNS]
    rows = [dict(zip(COLUMNS, _cells(entry))) for entry in entries]
    return tabulate(
        [[row[name] for name in shown] for row in rows],
        headers=shown,
        colalign=[COLUMNS[name] for name in shown],
        disable_numparse=True,
    )


def title(board: Board) -> str:
    """What is ranked, by what."""
    group = board.group
    tier = "" if group.division != "open" else f", quality >= {group.tier} %" if group.tier else ", below all tiers"
    version = inert(group.benchmark_version, 12)
    return f"{group.model}, {group.division} division, {group.thread_policy}{tier}, by {board.by} (benchmark {version})"


def text(shown: Iterable[Board]) -> str:
    """All boards as text."""
    return "\n\n".join(f"{title(board)}\n\n{_table(board.entries)}" for board in shown)


def row(submission: Submission, among: Iterable[Submission] = (), by: By = "score") -> str:
    """The leaderboard's row of one submission, with its rank among those it is comparable with."""
    field = {one.submission_id: one for one in (*among, submission)}
    for board in boards(field.values(), by):
        mine = [entry for entry in board.entries if entry.submission.submission_id == submission.submission_id]
        if mine:
            return f"{title(board)}\n\n{_table(mine)}"
    raise AssertionError("a submission is on exactly one board")


def problems_text(problems: Sequence[Problem], title: str = "Not on the board") -> str:
    """The files that are not on the board (or not elsewhere, as `title` says), each with its reason."""
    rows = [(inert(path, REASON_WIDTH), code, inert(reason, REASON_WIDTH)) for path, code, reason in problems]
    table = tabulate(rows, headers=("file", "code", "reason"), disable_numparse=True)
    return f"{title} ({len(rows)}):\n\n{table}"


def document(shown: Iterable[Board], problems: Sequence[Problem]) -> dict[str, Any]:
    """The same as JSON values, unrounded."""
    return {
        "boards": [
            {**board.group._asdict(), "by": board.by, "entries": [_entry_document(entry) for entry in board.entries]}
            for board in shown
        ],
        "problems": [problem._asdict() for problem in problems],
    }


def _entry_document(entry: Entry) -> dict[str, Any]:
    submission = entry.submission
    return {
        "rank": entry.rank,
        "tied": entry.tied,
        "submission_id": submission.submission_id,
        "submitter": submission.submitter.display_name,
        "created_utc": submission.created_utc,
        "status": submission.validity.status,
        "reasons": [reason.code for reason in submission.validity.reasons],
        "threads": submission.threads,
        "cpu_model": submission.env.cpu_model,
        "quality": submission.quality.value,
        "reference_quality": submission.quality.ref_value,
        "bytes": submission.candidate.bytes_stored,
        "reference_bytes": submission.reference.bytes,
        **submission.derived.model_dump(mode="json"),
    }
