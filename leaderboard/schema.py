"""A submission as a file: who entered what (`Measured`), and what follows from it (`Submission`).

The judged half (`derived`, `validity`, `integrity`) is never trusted on reading: `verdict.py` makes it anew from the
measured half and compares. What was observed is described in `measured.py`, what each version added in
`migrations.py`.
"""

from datetime import UTC, datetime
from typing import Literal, Self, get_args

from pydantic import Field, JsonValue, field_validator

from leaderboard.fields import (
    Code,
    Count,
    FilePath,
    Integer,
    LongText,
    Part,
    Positive,
    Sha256,
    Slug,
    SubmissionId,
    Text,
    Utc,
    added,
    slug,
)
from leaderboard.measured import Audits, Blocks, Env, Generation, Quality, Raw, Seeds

SchemaVersion = Literal["1.0.0", "1.1.0", "1.2.0"]
READABLE: tuple[SchemaVersion, ...] = get_args(SchemaVersion)
SCHEMA_VERSION: SchemaVersion = "1.2.0"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

Division = Literal["closed", "open", "practice"]
ThreadPolicy = Literal["t1", "tN"]
Form = Literal["eager", "prepared", "plan", "entry"]
Severity = Literal["invalid", "warning"]


class Submitter(Part):
    """`id` names the folder; the other two are free text and are made inert wherever they are shown."""

    id: Slug
    display_name: Text
    team: Text | None = None

    @classmethod
    def named(cls, name: str, team: str | None = None) -> Self:
        """A submitter from any name of up to 200 characters; what is not Unicode in it becomes a question mark."""
        readable = name.encode(errors="replace").decode()
        return cls(id=slug(readable), display_name=readable, team=team)


class Task(Part):
    """What had to be solved. The gate relative to the reference is a rule; the absolute floor belongs to the task.

    `output_tokens` is the length of every answer, where answers are written token by token.
    """

    dataset: Text
    dataset_sha256: Sha256 | None = None
    n_test: Positive
    metric: Text
    higher_is_better: bool = True
    quality_floor: float
    split_seed: Integer | None = None
    output_tokens: Positive | None = added()


class Reference(Part):
    """The pinned yard-stick. `bytes` is its size on disk, `flops` the work of one query."""

    id: Text
    checkpoint_sha256: Sha256
    code_sha256: Sha256 | None = None
    n_params: Count
    bytes: Positive
    flops: Count | None = None


class Candidate(Part):
    """The optimised model. `bytes_stored` is what a copy of it takes on disk, every dtype at its real width.

    `code_sha256` covers this project's sources that execute it. `form` and `threads` are what it is rebuilt with beside
    its weights; "entry" means that a student's own code does that.
    """

    checkpoint_sha256: Sha256
    code_sha256: Sha256 | None = None
    nonzero_params: Count | None = None
    bytes_stored: Positive
    flops: Count | None = None
    weight_dtypes: tuple[Text, ...] = ()
    retrained: bool
    pruned: bool
    form: Form | None = added()
    threads: Positive | None = added()


class EntrySource(Part):
    """A student's own code: `main` is the file that has `optimize`; all its files are among `files`."""

    main: FilePath


class Stage(Part):
    """One stage of the pipeline as configured, and the model as it was after it; a stage not measured has nulls.

    `blocks` times the model after this stage against the reference; its ratio is in `derived.stage_ratios`. Quality is
    `correct` where answers are counted, else `value`, the task's metric.
    """

    stage: Slug
    enabled: bool
    emulated: bool = False  # the arithmetic of the target format was imitated, so its speed was not measured
    config: dict[Text, JsonValue] = Field(default_factory=dict)
    calibration_ids_sha256: Sha256 | None = None
    calibration_n: Count | None = None
    seed: Integer | None = None
    blocks: Blocks | None = None
    correct: Count | None = None
    value: float | None = added()
    bytes: Positive | None = None
    flops: Count | None = None


class Harness(Part):
    """The code that measured."""

    version: Text
    git_commit: Text | None = None
    dirty: bool | None = None
    files_sha256: dict[Text, Sha256] = Field(default_factory=dict)


class Measured(Part):
    """A submission before it is judged: everything that a run observed or was told."""

    schema_version: SchemaVersion = SCHEMA_VERSION
    benchmark_version: Text  # hash of the task definition: only equal ones are ranked together
    created_utc: Utc
    submitter: Submitter
    notes: LongText = ""
    division: Division
    thread_policy: ThreadPolicy
    threads: Positive
    model: Slug
    task: Task
    reference: Reference
    candidate: Candidate
    pipeline: tuple[Stage, ...]
    harness: Harness
    seeds: Seeds
    env: Env
    raw: Raw
    quality: Quality
    generation: Generation | None = added()
    audits: Audits | None = None
    entry: EntrySource | None = added()
    files: dict[FilePath, Sha256] | None = added()  # what travels in `<id>.files/` beside the submission

    @field_validator("created_utc")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        datetime.strptime(value, TIME_FORMAT)
        return value


class Derived(Part):
    """Figures that follow from the measured half; see `derive.py` for each."""

    worker_medians: tuple[float, ...]
    ratio: float
    ratio_lo: float
    ratio_hi: float
    latency_us_p50: float | None
    latency_us_p90: float | None
    reference_latency_us_p50: float | None
    reference_latency_us_p90: float | None
    quality_rel: float | None
    size_ratio: float
    stage_ratios: tuple[float | None, ...]
    score: float | None
    ttft_ms_p50: float | None = added()
    tokens_per_s: float | None = added()


class Reason(Part):
    """Why a submission is invalid, or what a reader should know (severity "warning")."""

    code: Code
    severity: Severity
    measured: Integer | float | LongText
    required: LongText
    hint: LongText


class Validity(Part):
    """VALID, or INVALID with every reason, not only the first. Warnings stand among the reasons and change nothing."""

    status: Literal["VALID", "INVALID"]
    reasons: tuple[Reason, ...]


class Integrity(Part):
    """Detects accident and casual editing; it proves nothing about who measured what."""

    canonicalisation: Literal["json-sorted-compact-utf8"] = "json-sorted-compact-utf8"
    content_sha256: Sha256


class Submission(Measured):
    """One immutable entry of the leaderboard, made by `verdict.finalise`."""

    schema_version: SchemaVersion  # a file says it
    submission_id: SubmissionId
    derived: Derived
    validity: Validity
    integrity: Integrity


def utc_now() -> str:
    """This second, in the form of `created_utc`."""
    return datetime.now(UTC).strftime(TIME_FORMAT)
