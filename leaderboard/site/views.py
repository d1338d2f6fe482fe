"""What pages show of submissions, as text with the number that sorts it: no template computes anything.

Names of files are made here, of ids, slugs and hashes alone: no foreign text becomes part of a path.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leaderboard.columns import place_of, quality_text
from leaderboard.events import Event, Place
from leaderboard.ranking import Board, Entry, Group
from leaderboard.schema import Submission
from leaderboard.site.times import duration
from leaderboard.standing import Standing
from leaderboard.text import fixed, inert, ratio_decimals, significant
from leaderboard.trust import trust_in
from leaderboard.verification import Verification

Records = Mapping[str, Sequence[Verification]]  # by submission id

SHOWN = 20  # rows of a board on the first page, once there are more submissions than fit there
VERSION_WIDTH = 12


class Cell(NamedTuple):
    """What is read and what sorts; `value` is None where there is nothing to sort by."""

    text: str
    value: float | int | str | None = None


class Row(NamedTuple):
    """A submission on a board."""

    submission: Submission
    place: Cell
    href: str | None
    score: Cell
    ratio: str
    interval: str
    most: str
    latency: Cell
    quality: Cell
    counted: str
    size: Cell
    attempts: int
    status: str
    trust: str


class EventRow(NamedTuple):
    """A submitter's place in an event. `parts` are the submissions that count, with their pages."""

    place: Cell
    name: str
    score: Cell
    trust: str
    attempts: int
    parts: tuple[tuple[str, str, str | None], ...]  # model, score, page


class EventTable(NamedTuple):
    """An event; `formula` says what is multiplied."""

    slug: str
    name: str
    league: str
    formula: str
    rows: tuple[EventRow, ...]


class Table(NamedTuple):
    """A board on which `placed` submitters have a place. `more` is the page with all its rows, if `rows` are fewer."""

    slug: str
    group: Group
    title: str
    version: str
    rows: tuple[Row, ...]
    total: int
    placed: int
    more: str | None


def board_slug(group: Group) -> str:
    """A file name for a board; the benchmark's version is foreign text and only its hash gets in."""
    version = hashlib.sha256(group.benchmark_version.encode(errors="replace")).hexdigest()[:8]
    tier = "" if group.division != "open" else f"-{group.tier or 'below'}"
    return f"{group.model}-{group.division}-{group.thread_policy}{tier}-{version}"


def page_of(submission: Submission) -> str:
    """The page of a submission, from the site's root."""
    return f"submissions/{submission.submission_id}.html"


def event_of(event: Event, records: Records, pages: set[str]) -> EventTable:
    """An event with all its places."""
    weights = [f"{model} {weight:.0%}".replace("%", " %") for model, weight in event.weights.items()]
    return EventTable(
        slug=f"{event.name.lower().replace(' ', '-')}-{event.division}-{event.thread_policy}",
        name=event.name,
        league=f"{event.division}, {threads_of(event.thread_policy)}",
        formula=", ".join(weights) if len(weights) > 1 else next(iter(event.weights)),
        rows=tuple(_event_row(place, records, pages) for place in event.places),
    )


def _event_row(place: Place, records: Records, pages: set[str]) -> EventRow:
    decimals = min(significant(place.score), significant((place.most - place.score) / 2 or 1e-9, 1))
    trusts = {trust_of(one, records) for one in place.counted}
    return EventRow(
        place=Cell(place_of(place.rank, place.tied), place.rank),
        name=place.submitter,
        score=Cell(f"{fixed(place.score, decimals)}×", place.score),
        trust=trusts.pop() if len(trusts) == 1 else "refuted" if "refuted" in trusts else "claimed",
        attempts=place.attempts,
        parts=tuple(
            (
                one.model,
                f"{ratio_text(one, one.derived.ratio_lo)}×",
                page_of(one) if one.submission_id in pages else None,
            )
            for one in place.counted
        ),
    )


def threads_of(policy: str) -> str:
    """The thread policy in words."""
    return "one thread" if policy == "t1" else "several threads"


def board_title(group: Group) -> str:
    """What is compared, in words."""
    tier = "" if group.division != "open" else f", quality ≥ {group.tier} %" if group.tier else ", below all tiers"
    return f"{group.model}, {group.division}, {threads_of(group.thread_policy)}{tier}"


def status_of(submission: Submission) -> str:
    """valid, invalid, or practice, which is never ranked whatever else is said about it."""
    invalid = [reason.code for reason in submission.validity.reasons if reason.severity == "invalid"]
    if not invalid:
        return "valid"
    return "practice" if submission.division == "practice" else "invalid"


def trust_of(submission: Submission, records: Records) -> str:
    """verified, refuted where no replay agrees, or claimed: nobody has replayed it."""
    return trust_in(records.get(submission.submission_id, ())).word


def ratio_text(submission: Submission, value: float) -> str:
    """A ratio in digits no finer than the interval."""
    return fixed(value, ratio_decimals(submission.derived))


def share_text(row: Standing) -> str:
    """Percent where answers are counted, else the metric."""
    return quality_text(row) if row.correct is None else f"{100 * row.quality:.4g} %"


def row_of(entry: Entry, records: Records, has_page: bool) -> Row:
    """A line of a board."""
    one, derived = entry.submission, entry.submission.derived
    low, high = ratio_text(one, derived.ratio_lo), ratio_text(one, derived.ratio_hi)
    p90, quality = derived.latency_us_p90, one.quality
    return Row(
        submission=one,
        place=Cell(place_of(entry.rank, entry.tied), entry.rank),
        href=page_of(one) if has_page else None,
        score=Cell("–" if derived.score is None else f"{low}×", derived.score),
        ratio=f"{ratio_text(one, derived.ratio)}×",
        interval=f"{low} to {high}",
        most=f"≤ {high}",
        latency=Cell("–" if p90 is None else duration(p90), p90),
        quality=Cell(share_text(entry.standing), quality.value if one.task.higher_is_better else -quality.value),
        counted="" if quality.opt_correct is None else quality_text(entry.standing),
        size=Cell(f"{one.candidate.bytes_stored:,}", one.candidate.bytes_stored),
        attempts=entry.attempts,
        status=status_of(one),
        trust=trust_of(one, records),
    )


def table_of(board: Board, records: Records, pages: set[str], most: int | None) -> Table:
    """A board with its first `most` rows, or all."""
    slug, entries = board_slug(board.group), board.entries[:most]
    return Table(
        slug=slug,
        group=board.group,
        title=board_title(board.group),
        version=inert(board.group.benchmark_version, VERSION_WIDTH),
        rows=tuple(row_of(entry, records, entry.submission.submission_id in pages) for entry in entries),
        total=len(board.entries),
        placed=sum(entry.rank is not None for entry in board.entries),
        more=f"boards/{slug}.html" if len(entries) < len(board.entries) else None,
    )
