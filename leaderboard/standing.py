"""What a listing needs of a submission, and no more: ten thousand of them are at hand at once."""

from typing import Any, NamedTuple, Self

from leaderboard.schema import Submission


class Standing(NamedTuple):
    """Figures as in the submission; `reasons` are (code, severity)."""

    submission_id: str
    content_sha256: str
    submitter_id: str
    submitter: str
    created_utc: str
    benchmark_version: str
    model: str
    division: str
    thread_policy: str
    threads: int
    status: str
    reasons: tuple[tuple[str, str], ...]
    derived: dict[str, Any]

    @classmethod
    def of(cls, submission: Submission) -> Self:
        return cls(
            submission.submission_id,
            submission.integrity.content_sha256,
            submission.submitter.id,
            submission.submitter.display_name,
            submission.created_utc,
            submission.benchmark_version,
            submission.model,
            submission.division,
            submission.thread_policy,
            submission.threads,
            submission.validity.status,
            tuple((reason.code, reason.severity) for reason in submission.validity.reasons),
            submission.derived.model_dump(mode="json"),
        )
