"""What pages show of submissions, as text with the number that sorts it: no template computes anything.

Names of files are made here, of ids, slugs and hashes alone: no foreign text becomes part of a path.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel

from leaderboard.ranking import Board, Entry, Group
from leaderboard.schema import Measured, Submission
from leaderboard.site.times import duration
from leaderboard.store import path_of
from leaderboard.tables import fixed, inert, ratio_decimals, significant
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
    status: str
    trust: str


class Table(NamedTuple):
    """A board. `more` is the page with all `total` rows, where `rows` are only the first."""

    slug: str
    group: Group
    title: str
    version: str
    rows: tuple[Row, ...]
    total: int
    more: str | None


def board_slug(group: Group) -> str:
    """A file name for a board; the benchmark's version is foreign text and only its hash gets in."""
    version = hashlib.sha256(group.benchmark_version.encode(errors="replace")).hexdigest()[:8]
    tier = "" if group.division != "open" else f"-{group.tier or 'below'}"
    return f"{group.model}-{group.division}-{group.thread_policy}{tier}-{version}"


def page_of(submission: Submission) -> str:
    """The page of a submission, from the site's root."""
    return f"submissions/{submission.submission_id}.html"


def board_title(group: Group) -> str:
    """What is compared, in words."""
    threads = "one thread" if group.thread_policy == "t1" else "several threads"
    tier = "" if group.division != "open" else f", quality ≥ {group.tier} %" if group.tier else ", below all tiers"
    return f"{group.model}, {group.division}, {threads}{tier}"


def status_of(submission: Submission) -> str:
    """valid, invalid, or practice, which is invalid for that reason alone."""
    invalid = [reason.code for reason in submission.validity.reasons if reason.severity == "invalid"]
    if not invalid:
        return "valid"
    return "practice" if submission.division == "practice" else "invalid"


def trust_of(submission: Submission, records: Records) -> str:
    """verified, refuted where no replay agrees, or claimed: nobody has replayed it."""
    results = [record.result for record in records.get(submission.submission_id, ())]
    return "claimed" if not results else "verified" if "PASS" in results else "refuted"


def ratio_text(submission: Submission, value: float) -> str:
    """A ratio in digits no finer than the interval."""
    return fixed(value, ratio_decimals(submission.derived))


def share_text(submission: Submission) -> str:
    """Percent where answers are counted, else the metric."""
    quality = submission.quality
    return quality_text(submission) if quality.opt_correct is None else f"{100 * quality.value:.4g} %"


def quality_text(submission: Submission) -> str:
    """"354/360" where answers are counted, else the metric."""
    quality = submission.quality
    if quality.opt_correct is None:
        return fixed(quality.value, significant(quality.value, 5))
    return f"{quality.opt_correct:,}/{quality.n:,}"


def row_of(entry: Entry, records: Records, has_page: bool) -> Row:
    """A line of a board."""
    one, derived = entry.submission, entry.submission.derived
    place = "–" if entry.rank is None else f"{entry.rank}{'=' if entry.tied else ''}"
    low, high = ratio_text(one, derived.ratio_lo), ratio_text(one, derived.ratio_hi)
    p90, quality = derived.latency_us_p90, one.quality
    return Row(
        submission=one,
        place=Cell(place, entry.rank),
        href=page_of(one) if has_page else None,
        score=Cell("–" if derived.score is None else f"{low}×", derived.score),
        ratio=f"{ratio_text(one, derived.ratio)}×",
        interval=f"{low} to {high}",
        most=f"≤ {high}",
        latency=Cell("–" if p90 is None else duration(p90), p90),
        quality=Cell(share_text(one), quality.value if one.task.higher_is_better else -quality.value),
        counted="" if quality.opt_correct is None else quality_text(one),
        size=Cell(f"{one.candidate.bytes_stored:,}", one.candidate.bytes_stored),
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
        more=f"boards/{slug}.html" if len(entries) < len(board.entries) else None,
    )


class StageRow(NamedTuple):
    """A stage of the waterfall: the model after it against the reference. `widths` are shares of the longest bar."""

    name: str
    note: str
    ratio: str
    quality: str
    size: str
    ratio_width: float
    size_width: float


def stages_of(one: Submission) -> tuple[StageRow, ...]:
    """The pipeline, stage by stage, and the measured whole as its last row."""
    measured = [*one.derived.stage_ratios, one.derived.ratio]
    longest = max(ratio for ratio in measured if ratio is not None)
    largest = max(one.reference.bytes, *(stage.bytes or 0 for stage in one.pipeline), one.candidate.bytes_stored)
    rows = [StageRow("reference", "float32, eager", "1×", _quality(one.quality.ref_correct, one.quality.ref_value),
                     f"{one.reference.bytes:,}", 1 / longest, one.reference.bytes / largest)]  # fmt: skip
    for stage, ratio in zip(one.pipeline, one.derived.stage_ratios):
        note = "switched off" if not stage.enabled else "speed imitated, not measured" if stage.emulated else ""
        rows.append(
            StageRow(
                name=inert(stage.stage),
                note=note,
                ratio="–" if ratio is None else f"{fixed(ratio, significant(ratio))}×",
                quality=_quality(stage.correct, stage.value),
                size="–" if stage.bytes is None else f"{stage.bytes:,}",
                ratio_width=(ratio or 0) / longest,
                size_width=(stage.bytes or 0) / largest,
            )
        )
    rows.append(StageRow("as submitted", "five processes", f"{ratio_text(one, one.derived.ratio)}×", quality_text(one),
                         f"{one.candidate.bytes_stored:,}", one.derived.ratio / longest,
                         one.candidate.bytes_stored / largest))  # fmt: skip
    return tuple(rows)


def _quality(correct: int | None, value: float | None) -> str:
    return f"{correct:,}" if correct is not None else "–" if value is None else fixed(value, significant(value, 5))


def facts_of(part: BaseModel) -> list[tuple[str, str]]:
    """(name, value) of everything that is known in a part of a submission, nested parts with a dot."""
    found = []
    for name, value in part:
        if isinstance(value, BaseModel):
            found += [(f"{name}.{inner}", shown) for inner, shown in facts_of(value)]
        elif isinstance(value, Mapping):
            found += [(f"{name}.{inert(str(key), 40)}", _fact(inner)) for key, inner in value.items()]
        elif value is not None and value != ():
            found.append((name, _fact(value)))
    return found


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return f"{value[:16]}…"
    if isinstance(value, tuple):
        return ", ".join(inert(str(item), 40) for item in value)
    return inert(str(value), 200)


def recipe_of(measured: Measured) -> str:
    """The pipeline's settings as a recipe file that `submit --recipe` reads; ASCII alone, so what is copied is seen."""
    stages = {stage.stage: {**stage.config, "enabled": stage.enabled} for stage in measured.pipeline}
    return json.dumps(stages, indent=2, sort_keys=True)


class Commands(NamedTuple):
    """How to replay: verifying the file as it is, and making it again."""

    verify: str
    submit: str
    recipe: str | None


def commands_of(one: Submission, directory: str = "leaderboard/submissions") -> Commands:
    """The exact commands; they hold slugs, ids, numbers and checked paths alone, so that pasting them is harmless."""
    place = f"{directory}/{path_of(one).as_posix()}"
    submit = f"python -m mlperf submit --model {one.model}"
    submit += " --fast" if one.division == "practice" else f" --division {one.division}"
    submit += f" --threads {one.threads}" if one.threads > 1 else ""
    if one.entry is not None:
        source = f"{place.removesuffix('.json')}.files/{one.entry.main}"
        return Commands(f"python -m mlperf verify {place}", f"{submit} --entry {source}", None)
    return Commands(f"python -m mlperf verify {place}", f"{submit} --recipe recipe.json", recipe_of(one))
