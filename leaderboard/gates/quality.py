"""Is the optimised model still good? Quality is a gate, exact where answers are counted, and buys no speed."""

from fractions import Fraction

from leaderboard.bands import BADGE_PERCENT, GATE_PERCENT, QUALITY_TIERS
from leaderboard.measured import Quality
from leaderboard.rules import Finding
from leaderboard.schema import Measured


def keeps(quality: Quality, percent: int | Fraction, higher_is_better: bool) -> bool:
    """Is the candidate's quality at least `percent` of the reference's? Integer counts are compared as integers."""
    if quality.ref_correct is not None and quality.opt_correct is not None:
        return 100 * quality.opt_correct >= percent * quality.ref_correct
    if higher_is_better:
        return 100 * quality.value >= percent * quality.ref_value
    return 100 * quality.value <= (200 - percent) * quality.ref_value


def reaches(measured: Measured, percent: int | Fraction) -> bool:
    """`keeps` for a submission."""
    return keeps(measured.quality, percent, measured.task.higher_is_better)


def quality_tier(measured: Measured) -> int | None:
    """The highest of QUALITY_TIERS that is reached, in percent; None below all of them."""
    return next((percent for percent in QUALITY_TIERS if reaches(measured, percent)), None)


def has_badge(measured: Measured) -> bool:
    """Is the quality 99.9 % of the reference's, MLPerf's second target?"""
    return reaches(measured, BADGE_PERCENT)


def quality_gate(measured: Measured) -> Finding | None:
    """Quality must reach 99 % of the reference's own on the full test set (95 % in the open division)."""
    percent, quality = GATE_PERCENT[measured.division], measured.quality
    if reaches(measured, percent):
        return None
    hint = "quantize or prune less, or calibrate better: quality is a gate and buys no speed"
    if quality.ref_correct is not None and quality.opt_correct is not None:
        least = -(-percent * quality.ref_correct // 100)
        return Finding(quality.opt_correct, f">= {least} correct ({percent} % of {quality.ref_correct})", hint)
    limit = f">= {percent} %" if measured.task.higher_is_better else f"<= {200 - percent} %"
    return Finding(quality.value, f"{limit} of the reference's {quality.ref_value!r}", hint)


def quality_floor(measured: Measured) -> Finding | None:
    """Quality must also reach the task's absolute floor, so that a bad reference cannot hollow out the task."""
    value, floor = measured.quality.value, measured.task.quality_floor
    higher = measured.task.higher_is_better
    if (value >= floor) if higher else (value <= floor):
        return None
    required = f"{'>=' if higher else '<='} {floor!r} ({measured.task.metric})"
    return Finding(value, required, "the task's floor holds whatever the reference does: restore the pinned weights")


def output_length(measured: Measured) -> Finding | None:
    """Every answer has exactly the tokens the task asks for: stopping early saves time, going on hides a bad answer."""
    asked, generation = measured.task.output_tokens, measured.generation
    if asked is None and generation is None:
        return None
    required, hint = f"{asked} tokens in every answer", "let the harness count the tokens: it asks for as many"
    if asked is None or generation is None:
        found = "no answers timed token by token" if generation is None else "answers in tokens that no task asked for"
        return Finding(found, required, hint)
    wrong = [tokens for tokens in generation.tokens if tokens != asked]
    return Finding(wrong[0], required, hint) if wrong else None


def greedy_agreement(measured: Measured) -> Finding | None:
    """A cache of keys and values changes no answer: without it, in float32 both, the same tokens come out."""
    agreement = 1.0 if measured.generation is None else measured.generation.greedy_agreement
    if agreement == 1:
        return None
    hint = "the cache holds other keys and values than a run over the whole text computes: compare their logits"
    return Finding(agreement, "1.0 of the tokens as without a cache", hint)


def test_set_incomplete(measured: Measured) -> Finding | None:
    """Quality is measured on the whole test set, neither less nor more."""
    asked, size = measured.quality.n, measured.task.n_test
    return None if asked == size else Finding(asked, f"{size} test samples", "run the accuracy pass over all samples")
