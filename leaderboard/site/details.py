"""What the page of one submission shows: its stages, the facts of its parts, and how to replay it."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from leaderboard.columns import quality_text
from leaderboard.ranking import Entry
from leaderboard.schema import Measured, Submission
from leaderboard.site import times
from leaderboard.site.views import Records, Table, ratio_text, row_of
from leaderboard.standing import Standing
from leaderboard.store import path_of
from leaderboard.text import fixed, inert, significant


def values_of(entry: Entry, table: Table, records: Records) -> dict[str, Any]:
    """Everything that `submission.html` names, beside what all pages share."""
    one = entry.submission
    parts = {
        "Machine and software": one.env,
        "The optimised model": one.candidate,
        "Audits: the same run once more, changed": one.audits,
        "Harness": one.harness,
        "Seeds": one.seeds,
    }
    return {
        "one": one,
        "entry": entry,
        "table": table,
        "row": row_of(entry, records, has_page=True),
        "stages": stages_of(one),
        "queries": times.queries(one),
        "ratios": times.ratios(one),
        "facts": {name: facts_of(part) for name, part in parts.items() if part is not None},
        "commands": commands_of(one),
        "records": records.get(one.submission_id, ()),
    }


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
    rows.append(
        StageRow(
            name="as submitted",
            note=f"{len(one.raw.workers)} processes",
            ratio=f"{ratio_text(one, one.derived.ratio)}×",
            quality=quality_text(Standing.of(one)),
            size=f"{one.candidate.bytes_stored:,}",
            ratio_width=one.derived.ratio / longest,
            size_width=one.candidate.bytes_stored / largest,
        )
    )
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
