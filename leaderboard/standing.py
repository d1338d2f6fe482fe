"""What a listing needs of a submission, and no more: ten thousand of them are at hand at once.

Its parts have the names that they have in a submission, so whatever ranks or shows one ranks or shows the other.
"""

from typing import Any, Self, TypeVar

from leaderboard.fields import Part, Positive, Sha256, Slug, SubmissionId, Text, Utc
from leaderboard.measured import Quality
from leaderboard.schema import (
    Candidate,
    Derived,
    Division,
    Reference,
    Submission,
    Submitter,
    Task,
    ThreadPolicy,
    Validity,
)


class Machine(Part):
    """What a listing says of the machine."""

    cpu_model: Text | None


class Standing(Part):
    """A submission without what was only measured. `env` is in short, `quality` without the single answers."""

    submission_id: SubmissionId
    content_sha256: Sha256
    benchmark_version: Text
    created_utc: Utc
    submitter: Submitter
    division: Division
    thread_policy: ThreadPolicy
    threads: Positive
    model: Slug
    task: Task
    reference: Reference
    candidate: Candidate
    quality: Quality
    env: Machine
    generation: bool  # are answers written token by token?
    derived: Derived
    validity: Validity

    @classmethod
    def of(cls, submission: Submission) -> Self:
        own: dict[str, Any] = {
            "content_sha256": submission.integrity.content_sha256,
            "quality": submission.quality.model_copy(update={"labels": None}),
            "env": Machine(cpu_model=submission.env.cpu_model),
            "generation": submission.generation is not None,
        }
        shared = {name: getattr(submission, name) for name in cls.model_fields if name not in own}
        return cls.model_construct(None, **shared, **own)


Listed = TypeVar("Listed", Submission, Standing)
