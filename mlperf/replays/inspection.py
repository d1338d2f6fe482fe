"""What can be told of a submission without running it: is everything the pinned, the installed, the travelling one?

A replay is worth its time only if it repeats what was measured, so what differs here ends a verification. A file that
does not follow from its own data is refused before that, by the leaderboard's reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from leaderboard import Measured, Submission, travelling
from leaderboard.verification import AS_REQUIRED, Check
from mlperf import environment
from mlperf.contestant import CANDIDATE
from mlperf.entries import context, source
from mlperf.pins import file_reasons
from mlperf.submission import reference_record, task_record
from mlperf.tasks import Task

TOLD = 4  # of what differs, so many are named
HASHES = {"checkpoint_sha256", "code_sha256", "dataset_sha256"}  # told by `file_reasons`, shortened
SOURCE, KEPT = f"{source.FOLDER}/", f"{context.FOLDER}/"  # of an entry: its code, and what it keeps


class Subject(NamedTuple):
    """A submission that is to be verified, the folder of the files that travel with it, and its task."""

    submission: Submission
    folder: Path
    task: Task


def inspect(subject: Subject) -> Iterator[Check]:
    """A check for each code that can be told so, passed or not."""
    submission = subject.submission
    yield from pinned(submission, subject.task)
    yield harness(submission)
    yield from travelled(subject)
    if not (check := replayable(submission)).passed:
        yield check


def outcome(code: str, wrong: Iterable[str], required: str) -> Check:
    """A check that is passed if nothing is wrong."""
    named = list(wrong)
    more = [f"and {len(named) - TOLD} more"] if len(named) > TOLD else []
    return Check(code=code, passed=not named, measured="; ".join(named[:TOLD] + more) or AS_REQUIRED, required=required)


def pinned(measured: Measured, task: Task) -> Iterator[Check]:
    """Task, reference and data are those at hand, in all that the file says of them."""
    wrong: dict[str, list[str]] = {"BENCHMARK_VERSION": [], "REFERENCE_HASH": [], "DATASET_HASH": []}
    for reason in file_reasons(measured, task):
        wrong[reason.code].append(f"{reason.measured} instead of {reason.required}")
    for code, said, here in (
        ("BENCHMARK_VERSION", measured.task, task_record(task)),
        ("REFERENCE_HASH", measured.reference, reference_record(task)),
    ):
        for name in type(here).model_fields.keys() - HASHES:
            if getattr(said, name) != getattr(here, name):
                wrong[code].append(f"{name} {getattr(said, name)!r} instead of {getattr(here, name)!r}")
    for code, differences in wrong.items():
        yield outcome(code, sorted(differences), "task, reference and data of the version that is installed here")


def harness(submission: Submission) -> Check:
    """The files that measured are those that are installed here."""
    said, here = submission.harness.files_sha256, environment.harness().files_sha256
    differing = sorted(name for name in said.keys() | here.keys() if said.get(name) != here.get(name))
    commit = submission.harness.git_commit
    made = f" (it says commit {commit[:12]})" if commit else ""
    return outcome("HARNESS_MODIFIED", differing, f"the files that measure here{made}")


def travelled(subject: Subject) -> Iterator[Check]:
    """The code that executes the candidate is installed here, and its files lie there as the submission states them.

    An entry's source is code, and weights are known by two hashes: both have codes of their own.
    """
    submission, folder = subject.submission, subject.folder
    files, candidate, here = submission.files or {}, submission.candidate, environment.code_sha256()
    faults = travelling.check(files, folder)
    code = [fault for fault in faults if fault.startswith(f"{folder.name}/{SOURCE}")]
    stored = tuple(f"{folder.name}/{path}" for path in (CANDIDATE, KEPT))
    checkpoint = [fault for fault in faults if fault.startswith(stored)]
    others = [fault for fault in faults if fault not in code + checkpoint]
    if candidate.code_sha256 != here:
        code.append(f"kernels and tinytorch {(candidate.code_sha256 or 'unknown')[:12]} instead of {here[:12]}")
    if submission.entry is None and files.get(CANDIDATE) != candidate.checkpoint_sha256:
        checkpoint.append(f"candidate.checkpoint_sha256 {candidate.checkpoint_sha256[:12]}, not that of {CANDIDATE}")
    elif submission.entry is None and not faults:
        size = (folder / CANDIDATE).stat().st_size
        others += [f"bytes_stored {candidate.bytes_stored} instead of {size}"] if size != candidate.bytes_stored else []
    yield outcome("CODE_HASH", code, "the code that is installed here, and the entry's own as it was submitted")
    yield outcome("CHECKPOINT_HASH", checkpoint, "the weights that were measured")
    yield outcome("FILE_HASH", others, "exactly the files that were submitted")


def replayable(submission: Submission) -> Check:
    """All that a replay starts from is there."""
    candidate, missing = submission.candidate, []
    if submission.entry is None:
        missing += [name for name in ("form", "threads") if getattr(candidate, name) is None]
        missing += [] if CANDIDATE in (submission.files or {}) else [CANDIDATE]
    elif submission.entry.main not in (submission.files or {}):
        missing += [submission.entry.main]
    return outcome(
        "NOT_REPLAYABLE", [f"no {name}" for name in missing], "form, threads and weights, as schema 1.2.0 keeps them"
    )
