"""What a replay found, signed: `verifications/<submission id>.<verifier>.json` below the directory of submissions.

A submission claims; a verification is somebody else's word on it, which is worth as much as the key that signed it. So
a record is believed only if its key is the one that lies beside it as `<verifier>.pub`: whoever runs a leaderboard puts
the keys of those there whom they trust (the first record that is written here brings its own), and copied records bring
none. Making records is `mlperf verify`'s work; the history of all of them is kept in `ledger.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from leaderboard import proof, signing
from leaderboard.atomic import make_folder, write_atomically
from leaderboard.fields import Code, Integer, LongText, Part, Positive, Sha256, Slug, SubmissionId, Utc
from leaderboard.ledger import Line, check, enter
from leaderboard.measured import Env
from leaderboard.signing import PublicKey, Signature, public_key, public_pem, signed_by
from leaderboard.store import VERIFICATIONS, Problem, StoreError, default_directory
from leaderboard.verdict import canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LEDGER = "ledger.jsonl"
AS_REQUIRED = "as required"  # what a check found that has no more to tell
NAME = re.compile(r"(?P<id>[0-9a-f]{12})\.(?P<verifier>[a-z0-9][a-z0-9_-]{0,63})\.json")


class Check(Part):
    """One comparison of the replay with the submission; `passed` is None where it is reported and not judged."""

    code: Code
    passed: bool | None
    measured: Integer | float | LongText
    required: LongText


class Replay(Part):
    """What one verification found. Figures are those of the replay; they are None where it did not get that far."""

    verification_version: Literal["1.0.0"] = "1.0.0"
    submission_id: SubmissionId
    content_sha256: Sha256
    verifier: Slug
    created_utc: Utc
    machine: Env
    secret_seed_sha256: Sha256  # of the 32 bytes that no submitter could know
    sandboxed: bool  # whether foreign code was locked up while it ran
    checks: tuple[Check, ...] = Field(min_length=1)
    quality: float | None = None
    ref_quality: float | None = None
    ratio: float | None = None
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    bytes: Positive | None = None  # what the candidate takes on disk
    result: Literal["PASS", "FAIL"]

    @property
    def failed(self) -> tuple[str, ...]:
        """The codes of all checks that were not passed."""
        return tuple(check.code for check in self.checks if check.passed is False)

    @model_validator(mode="after")
    def _follows_from_its_checks(self) -> Self:
        if (self.result == "FAIL") != bool(self.failed):
            raise ValueError(f"result is {self.result}, but the failed checks are {', '.join(self.failed) or 'none'}")
        if not self.content_sha256.startswith(self.submission_id):
            raise ValueError(f"submission_id {self.submission_id} is not cut from content_sha256 {self.content_sha256}")
        return self


class Verification(Replay):
    """A replay that somebody stands for: `signature` is over the canonical JSON of everything else."""

    public_key: PublicKey
    signature: Signature

    @property
    def is_genuine(self) -> bool:
        """Whether nothing was changed since it was signed. Who signed is another question: compare `public_key`."""
        return signed_by(self.public_key, self.signature, self.message)

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))

    @property
    def file_name(self) -> str:
        return f"{self.submission_id}.{self.verifier}.json"


class Verified(NamedTuple):
    """The believed records of each submission, ordered by verifier, and what is not believed and why."""

    records: dict[str, tuple[Verification, ...]]
    problems: tuple[Problem, ...]


def sign(replay: Replay, key: Ed25519PrivateKey) -> Verification:
    """A replay with its verifier's signature."""
    content = replay.model_dump() | {"public_key": signing.text_of(key.public_key())}
    unsigned = Verification(**content, signature="0" * 128)
    return unsigned.model_copy(update={"signature": key.sign(unsigned.message).hex()})


def write(record: Verification, directory: Path | str | None = None) -> Path:
    """Keep a record and enter it into the ledger; an older one of this submission by this verifier is replaced.

    The first record of a verifier also leaves their public key, which later ones must be signed with. Raises StoreError
    where it cannot be kept, or the key is another; the ledger is then as it was.
    """
    folder = (default_directory() if directory is None else Path(directory)) / VERIFICATIONS
    content, known = canonical(record.model_dump(mode="json")) + b"\n", folder / f"{record.verifier}.pub"
    try:
        make_folder(folder)
        if not known.exists():
            write_atomically(known, public_pem(record.public_key))
        if public_key(known) != record.public_key:
            raise StoreError(
                f"verification: {known} is another key than the one that signed; sign with that verifier's key, or "
                "choose another name with --verifier NAME"
            )
    except signing.KeyProblem as error:
        raise StoreError(f"verification: {error}") from None
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"verification: cannot write to {folder}: {error.strerror}; make room there") from error
    enter(folder / LEDGER, Line.about(record.submission_id, record.verifier, record.result, content), content)
    return folder / record.file_name


def read(path: Path) -> Verification:
    """A record as it lies in a file, its signature proved. ValueError says what is wrong with it."""
    try:
        record = Verification.model_validate_json(proof.read(path), strict=True)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except ValidationError as error:
        raise ValueError(proof.first_error(error)) from None
    if not record.is_genuine:
        raise ValueError("the signature does not fit: it was changed after it was signed")
    return record


def load_all(directory: Path | str | None = None) -> Verified:
    """All records below a directory of submissions that are believed, by submission id; and every problem, by path.

    Problems are records that do not prove themselves, and what the ledger says against those that are there. Raises
    nothing: a directory without verifications has none.
    """
    folder = (default_directory() if directory is None else Path(directory)) / VERIFICATIONS
    found, problems = [], []
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix == ".json") if folder.is_dir() else []
        problems += [Problem(f"{VERIFICATIONS}/{LEDGER}", fault.code, fault.text) for fault in check(folder / LEDGER)]
    except OSError as error:
        return Verified({}, (Problem(VERIFICATIONS, "UNREADABLE", error.strerror or str(error)),))
    for name in names:
        try:
            found.append(_believed(folder, name))
        except ValueError as error:
            problems.append(Problem(f"{VERIFICATIONS}/{name}", "VERIFICATION", str(error)))
    return Verified(_by_submission(found), tuple(sorted(problems)))


def _believed(folder: Path, name: str) -> Verification:
    """The record of this name, if it is what its name says and signed by the key of its verifier."""
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError("a record is called <submission id>.<verifier>.json")
    record = read(folder / name)
    if record.file_name != name:
        raise ValueError(f"it is about {record.submission_id} by {record.verifier}, which its name does not say")
    known = folder / f"{record.verifier}.pub"
    try:
        trusted = public_key(known)
    except signing.KeyProblem as error:
        raise ValueError(f"signed by a key that is not known here; if you trust it, put it there: {error}") from None
    if trusted != record.public_key:
        raise ValueError(f"signed by {record.public_key[:12]}..., but {known.name} is {trusted[:12]}...")
    return record


def _by_submission(records: Iterable[Verification]) -> dict[str, tuple[Verification, ...]]:
    grouped: dict[str, list[Verification]] = {}
    for record in records:
        grouped.setdefault(record.submission_id, []).append(record)
    return {key: tuple(sorted(grouped[key], key=lambda record: record.verifier)) for key in sorted(grouped)}
