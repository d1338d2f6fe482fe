"""One submission verified, in two halves: what needs no clock may be done for several at once, what is timed may not.

`prepare` reads and inspects the file and makes its candidate again; `verified` measures what passed that, and collects
all checks into the record's unsigned half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from leaderboard import Blas, Env, Submission, judge, travelling, utc_now
from leaderboard.bands import GATE_PERCENT
from leaderboard.derive import derive
from leaderboard.proof import prove_file
from leaderboard.verification import Check, Replay
from mlperf import environment
from mlperf.confinement.hearing import Refused, WorkerError
from mlperf.recipe import RecipeError
from mlperf.replays import hidden, tolerances
from mlperf.replays.inspection import Subject, inspect
from mlperf.replays.remaking import remade
from mlperf.replays.replay import Replayed, Secret, replay
from mlperf.tasks import UnknownTask, find

TRIES = 3  # on a machine that is disturbed


@dataclass(frozen=True)
class Options:
    """How to verify. `hidden` is a file of withheld data, for the task that they belong to."""

    verifier: str
    retrain: bool = True
    sandbox: bool = True
    hidden: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A file so far: the submission in it, if it proves itself, and the checks that were made."""

    path: Path
    submission: Submission | None
    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        return any(check.passed is False for check in self.checks)


def machine() -> Env:
    """This machine, before any worker told of its threads."""
    unknown = {"blas": Blas().model_dump(), "numba_threads": None, "numba_threading_layer": None}
    return environment.capture(unknown, 1, environment.load_1m())


def subject_of(path: Path, submission: Submission) -> Subject:
    """A submission with what belongs to it. Raises UnknownTask."""
    return Subject(submission, path.with_suffix(travelling.SUFFIX), find(submission.model))


def prepare(path: Path, options: Options) -> Prepared:
    """Read a file, inspect it, and make its candidate again; each step only if the one before was passed.

    Raises DataError where data are missing here: that is no fault of the submission.
    """
    submission, faults = prove_file(path)
    if submission is None:
        required = "a submission that follows from its own data"
        return Prepared(
            path, None, tuple(Check(code=code, passed=False, measured=why, required=required) for code, why in faults)
        )
    try:
        subject = subject_of(path, submission)
        if options.hidden is not None:
            hidden.withheld(subject.task, options.hidden)  # found out before anything takes long
        checks = list(inspect(subject))
        if not any(check.passed is False for check in checks):
            checks += made_again(subject, options) if options.retrain else [left_out()]
    except (UnknownTask, RecipeError) as error:
        checks = [Check(code="NOT_REPLAYABLE", passed=False, measured=str(error), required="a task and recipe of here")]
    return Prepared(path, submission, tuple(checks))


def made_again(subject: Subject, options: Options) -> list[Check]:
    """What comes of making the candidate again, by the threads of the submission."""
    from kernels.threads import set_num_threads

    threads = subject.submission.threads
    set_num_threads(threads, blas=threads)
    return list(remade(subject, tolerances.same_machine(subject.submission.env, machine()), options.sandbox))


def left_out() -> Check:
    """That the candidate was not made again is part of the record."""
    return Check(
        code="RETRAINING_MISMATCH", passed=None, measured="not made again (--no-retrain)",
        required="the weights that its recipe makes",
    )  # fmt: skip


def verified(prepared: Prepared, secret: Secret, options: Options, progress: Callable[[], object]) -> Replay | None:
    """Measure what was prepared, and say what was found.

    None where the machine was too disturbed to tell, also when it was tried again. ValueError for a file that is no
    submission.
    """
    submission, checks, found = prepared.submission, list(prepared.checks), None
    if submission is None:
        raise ValueError(f"verify: {prepared.path} is no submission, so there is nothing to say of it")
    if not prepared.failed:
        subject = subject_of(prepared.path, submission)
        for _ in range(TRIES):
            found, further = measured(subject, secret, options, progress)
            if not tolerances.undecided(further):
                break
        else:
            return None
        checks += further
    derived = derive(found.measured, True) if found else None
    return Replay(
        submission_id=submission.submission_id,
        content_sha256=submission.integrity.content_sha256,
        verifier=options.verifier,
        created_utc=utc_now(),
        machine=found.measured.env if found else machine(),
        secret_seed_sha256=secret.sha256,
        sandboxed=options.sandbox,
        checks=tuple(checks),
        quality=found.measured.quality.value if found else None,
        ref_quality=found.measured.quality.ref_value if found else None,
        ratio=derived.ratio if derived else None,
        ratio_lo=derived.ratio_lo if derived else None,
        ratio_hi=derived.ratio_hi if derived else None,
        bytes=submission.candidate.bytes_stored if found else None,
        result="FAIL" if any(check.passed is False for check in checks) else "PASS",
    )


def measured(
    subject: Subject, secret: Secret, options: Options, progress: Callable[[], object]
) -> tuple[Replayed | None, list[Check]]:
    """A replay and what it is compared with; no replay where a worker gave no result, which is a check that failed."""
    submission, task = subject.submission, subject.task
    unseen = hidden.drawn(task, secret.content) if options.hidden is None else hidden.withheld(task, options.hidden)
    try:
        found = replay(subject, secret, unseen, GATE_PERCENT[submission.division], options.sandbox, progress)
    except (Refused, WorkerError) as error:
        code = error.code if isinstance(error, Refused) else "NOT_REPLAYABLE"
        return None, [Check(code=code, passed=False, measured=str(error)[-4000:], required="a run to its end")]
    return found, list(tolerances.compare(submission, found, judge(found.measured).reasons, task))
