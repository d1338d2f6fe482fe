"""What a person sees of a run: the profile, the waterfall, the verdict; and the last line, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from leaderboard import Quality, Submission
from leaderboard.gates.quality import has_badge
from leaderboard.intervals import quality_interval
from leaderboard.verification import AS_REQUIRED, Check
from mlperf import sources
from mlperf.costs import LayerCost
from mlperf.metrics import Score
from mlperf.pipeline import Outcome, Row
from mlperf.tasks import TASKS
from mlperf.tuning import Trial


def tasks_table() -> str:
    """The tasks one can submit to."""
    rows = []
    for task in TASKS.values():
        parameters = sum(p.size for p in task.build().parameters())
        tests, shape = "no data", "-"
        if sources.here(task.dataset):
            tests, shape = str(len(task.data.y_test)), "x".join(map(str, task.data.x_test.shape[1:]))
        size = f"{task.checkpoint.stat().st_size:,}" if task.checkpoint.is_file() else "missing"
        rows.append((task.name, task.dataset, tests, shape, f"{parameters:,}", size, task.metric.name,
                     task.metric.bound(task.floor), task.weights_sha256[:12]))  # fmt: skip
    headers = ("model", "data", "test", "input", "parameters", "bytes", "metric", "floor", "weights sha256")
    right = "right"
    align = ("left", "left", right, right, right, right, "left", right, "left")
    return tabulate(rows, headers, colalign=align, disable_numparse=True)


def trials_table(trials: Sequence[Trial], best: Trial | None) -> str:
    """A line for each setting tried: mean size, and in each validation part how much quality is gained or lost."""
    rows = []
    for trial in trials:
        change = " ".join(map(gained, trial.quality))
        verdict = "chosen" if trial is best else "passes" if trial.passes else "fails"
        settings = ", ".join(f"{name} {value}" for name, value in trial.settings.items())
        rows.append((settings, f"{trial.mean_bytes:,.0f}", change, verdict))
    align = ("left", "right", "right", "left")
    return tabulate(rows, ("prune", "bytes", "quality", "gate"), colalign=align, disable_numparse=True)


def gained(quality: Quality) -> str:
    """Right answers more or fewer than the reference's, or the change of the loss."""
    if quality.opt_correct is None or quality.ref_correct is None:
        return f"{quality.value / quality.ref_value - 1:+.2%}"
    return f"{quality.opt_correct - quality.ref_correct:+d}"


def profile_table(layers: Sequence[LayerCost]) -> str:
    """Where the reference spends a query."""
    total = sum(layer.time_ns for layer in layers)
    rows = [
        (layer.name, layer.kind, f"{layer.flops:,}", f"{layer.weight_bytes:,}", f"{layer.moved_bytes:,}",
         f"{layer.time_ns / 1000:.1f}", f"{layer.time_ns / total:.0%}")
        for layer in layers
    ]  # fmt: skip
    headers = ("layer", "kind", "FLOPs", "weight bytes", "moved bytes", "us", "time")
    return tabulate(rows, headers, colalign=("left", "left", *["right"] * 5), disable_numparse=True)


def waterfall(rows: Sequence[Row], reference: tuple[Score, int, int]) -> str:
    """One line per stage; `step` compares it with the one before. `reference` is (quality, bytes, FLOPs)."""
    score, size, flops = reference
    table: list[tuple[str, ...]] = [
        ("reference", "1.00x", "", str(score), f"{size:,}", f"{flops:,}", "NumPy, op by op")
    ]
    before = 0.0
    for row in rows:
        if row.outcome is None:
            table.append((row.stage, "-", "", "-", "-", "-", row.note))
            continue
        log_ratio = row.outcome.log_ratio
        marks = [mark for mark, true in (("emulated", row.emulated), ("retrained", row.retrained)) if true]
        note = f"{row.note} ({', '.join(marks)})" if marks else row.note
        table.append((row.stage, *cells(row.outcome, log_ratio, log_ratio - before), note))
        before = log_ratio
    quality = "loss" if score.correct is None else "correct"
    headers = ("stage", "ratio", "step", quality, "bytes", "FLOPs", "what it did")
    return tabulate(table, headers, colalign=("left", *["right"] * 5, "left"), disable_numparse=True)


def entry_waterfall(submission: Submission, reference: tuple[Score, int, int]) -> str:
    """Two lines: the reference, and what an entry made of it."""
    score, size, flops = reference
    quality, candidate = submission.quality, submission.candidate
    own = Score(quality.value, quality.n, quality.opt_correct)
    computed = "-" if candidate.flops is None else f"{candidate.flops:,}"
    table = [
        ("reference", "1.00x", str(score), f"{size:,}", f"{flops:,}"),
        ("entry", times(submission.derived.ratio), str(own), f"{candidate.bytes_stored:,}", computed),
    ]
    headers = ("stage", "ratio", "loss" if score.correct is None else "correct", "bytes", "FLOPs")
    return tabulate(table, headers, colalign=("left", *["right"] * 4), disable_numparse=True)


def cells(outcome: Outcome, log_ratio: float, log_step: float) -> tuple[str, ...]:
    """A measured stage; a step below 1 made it slower and is marked."""
    factor = times(math.exp(log_step))
    step = f"{factor} slower" if float(factor[:-1]) < 1 else factor
    return times(math.exp(log_ratio)), step, str(outcome.score), f"{outcome.bytes:,}", f"{outcome.flops:,}"


def times(ratio: float) -> str:
    """A factor with three significant figures."""
    return f"{ratio:#.3g}x".replace(".x", "x")


def quality_line(submission: Submission) -> str:
    """The candidate's quality with its 95 % interval, beside the reference's; who alone was right; the badge."""
    quality, badge = submission.quality, ", badge 99.9 %" if has_badge(submission) else ""
    known = quality_interval(quality)
    if known is None:
        return f"{submission.task.metric} {quality.value:.5g}, the reference {quality.ref_value:.5g}{badge}"
    low, high = (f"{100 * bound:.1f}" for bound in known)
    own = f"{quality.opt_correct}/{quality.n} ({100 * quality.value:.1f} %, 95 % interval {low} to {high})"
    alone = f"; {quality.opt_only} right that the reference has wrong, {quality.ref_only} wrong that it has right"
    differ = alone if quality.opt_only or quality.ref_only else ""
    return f"{submission.task.metric} {own}, the reference {quality.ref_correct}/{quality.n}{differ}{badge}"


def verdict(submission: Submission) -> str:
    """Status and quality, then all reasons, those that make it INVALID first."""
    validity = submission.validity
    lines: list[str] = [validity.status, f"  {quality_line(submission)}"]
    for reason in sorted(validity.reasons, key=lambda reason: reason.severity):
        mark = "INVALID" if reason.severity == "invalid" else "warning"
        lines.append(f"  {mark} {reason.code}: {shown(reason.measured)}, required {reason.required}; {reason.hint}")
    if validity.reasons:
        lines.append(f"  python -m mlperf explain {validity.reasons[0].code} says why there is such a rule")
    return "\n".join(lines)


def checks_table(checks: Sequence[Check]) -> str:
    """What a verification compared, a line each; what failed comes first, what simply is as required shares one."""
    marks = {False: "FAILED", None: "told", True: "passed"}
    telling = [check for check in checks if not check.passed or check.measured != AS_REQUIRED]
    plain = [check.code for check in checks if check not in telling]
    rows = [
        (mark, check.code, shown(check.measured), check.required)
        for passed, mark in marks.items()
        for check in telling
        if check.passed is passed
    ]
    table = tabulate(rows, ("", "check", "found", "required"), disable_numparse=True, maxcolwidths=[None, None, 50, 60])
    failed = [check.code for check in checks if check.passed is False]
    explained = [f"python -m mlperf explain {failed[0]}"] if failed else []
    return "\n".join([table, f"passed  {', '.join(plain)}" if plain else "", *explained])


def shown(measured: float | str) -> str:
    return f"{measured:.4g}" if isinstance(measured, float) else str(measured)


def last_line(submission: Submission, path: Path | None) -> str:
    """One compact JSON object with what a program wants to know."""
    derived = submission.derived
    content: dict[str, Any] = {
        "submission": None if path is None else str(path),
        "id": submission.submission_id,
        "model": submission.model,
        "division": submission.division,
        "status": submission.validity.status,
        "reasons": [reason.code for reason in submission.validity.reasons if reason.severity == "invalid"],
        "ratio": derived.ratio,
        "ratio_lo": derived.ratio_lo,
        "latency_us_p50": derived.latency_us_p50,
        "latency_us_p90": derived.latency_us_p90,
        "quality": submission.quality.value,
        "reference_quality": submission.quality.ref_value,
        "quality_interval": quality_interval(submission.quality),
        "badge": has_badge(submission),
        "bytes": submission.candidate.bytes_stored,
        "reference_bytes": submission.reference.bytes,
        "retrained": submission.candidate.retrained,
    }
    if submission.generation is not None:
        content |= {"ttft_ms_p50": derived.ttft_ms_p50, "tokens_per_s": derived.tokens_per_s}
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
