"""What ranking and tables read of a submission, and no more: ten thousand of them are at hand at once.

Everything that shows or compares submissions reads these rows; `Standing.of` is the one place that makes them, and the
cache keeps them (`proven.py`), so that a listing computes nothing twice. Whatever takes submissions also takes rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, Self, TypeVar

from leaderboard.derive import query_ns
from leaderboard.gates.quality import has_badge, quality_tier
from leaderboard.schema import Division, Submission, ThreadPolicy


class Standing(NamedTuple):
    """Figures as in the submission; `reasons` are (code, severity), `tier` in percent of the reference's quality.

    `query_ns` is the candidate's time per query in the timed blocks, `query_ns_lo` and `query_ns_hi` those of the
    quickest and the slowest worker. `spread` is how far an arm's blocks differ, as a share of their median.
    """

    submission_id: str
    content_sha256: str
    submitter_id: str
    submitter: str
    created_utc: str
    benchmark_version: str
    model: str
    division: Division
    thread_policy: ThreadPolicy
    threads: int
    cpu_model: str | None
    status: str
    reasons: tuple[tuple[str, str], ...]
    score: float | None
    ratio: float
    ratio_lo: float
    ratio_hi: float
    query_ns: float
    query_ns_lo: float
    query_ns_hi: float
    reference_query_ns: float
    spread: float
    latency_us_p50: float | None
    latency_us_p90: float | None
    reference_latency_us_p50: float | None
    reference_latency_us_p90: float | None
    ttft_ms_p50: float | None
    tokens_per_s: float | None
    quality: float
    reference_quality: float
    quality_rel: float | None
    higher_is_better: bool
    correct: int | None
    samples: int
    tier: int | None
    has_badge: bool
    bytes: int
    reference_bytes: int
    size_ratio: float

    @classmethod
    def of(cls, submission: Submission) -> Self:
        """The row of a submission."""
        derived, quality = submission.derived, submission.quality
        per_worker = [median(worker.opt_block_ns) / worker.inner_opt for worker in submission.raw.workers]
        return cls(
            submission_id=submission.submission_id,
            content_sha256=submission.integrity.content_sha256,
            submitter_id=submission.submitter.id,
            submitter=submission.submitter.display_name,
            created_utc=submission.created_utc,
            benchmark_version=submission.benchmark_version,
            model=submission.model,
            division=submission.division,
            thread_policy=submission.thread_policy,
            threads=submission.threads,
            cpu_model=submission.env.cpu_model,
            status=submission.validity.status,
            reasons=tuple((reason.code, reason.severity) for reason in submission.validity.reasons),
            score=derived.score,
            ratio=derived.ratio,
            ratio_lo=derived.ratio_lo,
            ratio_hi=derived.ratio_hi,
            query_ns=median(per_worker),
            query_ns_lo=min(per_worker),
            query_ns_hi=max(per_worker),
            reference_query_ns=query_ns(submission, "ref"),
            spread=_spread(submission),
            latency_us_p50=derived.latency_us_p50,
            latency_us_p90=derived.latency_us_p90,
            reference_latency_us_p50=derived.reference_latency_us_p50,
            reference_latency_us_p90=derived.reference_latency_us_p90,
            ttft_ms_p50=derived.ttft_ms_p50,
            tokens_per_s=derived.tokens_per_s,
            quality=quality.value,
            reference_quality=quality.ref_value,
            quality_rel=derived.quality_rel,
            higher_is_better=submission.task.higher_is_better,
            correct=quality.opt_correct,
            samples=quality.n,
            tier=quality_tier(submission),
            has_badge=has_badge(submission),
            bytes=submission.candidate.bytes_stored,
            reference_bytes=submission.reference.bytes,
            size_ratio=derived.size_ratio,
        )

    @property
    def invalid(self) -> tuple[str, ...]:
        """The codes that make it INVALID."""
        return tuple(code for code, severity in self.reasons if severity == "invalid")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The codes of its warnings."""
        return tuple(code for code, severity in self.reasons if severity == "warning")


One = TypeVar("One", bound=Submission | Standing)


def standing_of(one: Submission | Standing) -> Standing:
    """The row of whatever is at hand."""
    return one if isinstance(one, Standing) else Standing.of(one)


def _spread(submission: Submission) -> float:
    """(slowest - quickest) / median of an arm's blocks: of both arms the lesser, of the workers the middle one."""
    workers = submission.raw.workers
    arms: Sequence[Sequence[Sequence[int]]] = (
        [worker.ref_block_ns for worker in workers],
        [worker.opt_block_ns for worker in workers],
    )
    return min(median((max(times) - min(times)) / median(times) for times in arm) for arm in arms)
