"""Measuring a submission again: its weights and code, in the workers that `submit` uses, with seeds nobody could know.

What is observed takes the place of what the file says, and the leaderboard's own rules judge that again: quality gate,
audits, threads, clocks. Section 5.4 of the protocol then compares the two (`tolerances.py`).
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from leaderboard import Measured, Quality, Seeds
from mlperf import environment
from mlperf.confinement.limits import ENTRY
from mlperf.confinement.sandbox import locked_up
from mlperf.contestant import CANDIDATE, Making, from_file
from mlperf.entries import building
from mlperf.harness import PRACTICE, RANKED, Effort
from mlperf.process import steps_of
from mlperf.replays import hidden
from mlperf.replays.hidden import Deficit, Hidden
from mlperf.replays.inspection import SOURCE, Subject
from mlperf.sources import places
from mlperf.submission import Conditions, ask_workers, observe, write_samples

# The hidden samples are only asked; one short timing of both arms is what a worker does before that.
ASKED = Effort(workers=1, pairs=PRACTICE.pairs, block_ns=PRACTICE.block_ns, queries=0)


@dataclass(frozen=True)
class Secret:
    """32 bytes from the system's generator: whoever knows them could prepare for what they choose."""

    content: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def sha256(self) -> str:
        """What is told, so that a secret that is shown later can be proved to be this one."""
        return sha256(self.content).hexdigest()

    def seeds(self, data: int | None) -> Seeds:
        """Seeds of a run; `data`, which samples calibrate, belongs to the recipe."""
        order, schedule, audit = (self.number(name) for name in ("order", "schedule", "audit"))
        return Seeds(data=data, order=order, schedule=schedule, audit=audit)

    def number(self, name: str) -> int:
        """A whole number below 2^32 for one use."""
        return int.from_bytes(sha256(self.content + name.encode()).digest()[:4], "little")


class Replayed(NamedTuple):
    """What a replay observed: the submission with new observations in place of its own, and how it did unseen."""

    measured: Measured
    hidden: Hidden
    hidden_quality: Quality
    deficit: Deficit


def effort_of(measured: Measured) -> Effort:
    """As much as was measured before."""
    return PRACTICE if measured.division == "practice" else RANKED


def steps(measured: Measured) -> int:
    """How often `replay` calls `progress()`."""
    effort = effort_of(measured)
    return effort.workers * steps_of(effort) + steps_of(ASKED)


def again(subject: Subject, folder: Path) -> Making:
    """How workers make what was submitted, from a copy of its files in a folder."""
    submission, task, candidate = subject.submission, subject.task, subject.submission.candidate
    files = submission.files or {}
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(subject.folder / path, folder / path)
    if submission.entry is not None:
        main = submission.entry.main.removeprefix(SOURCE)
        return building.built(task, main, folder, submission.threads, files.get(CANDIDATE))
    assert candidate.form is not None and candidate.form != "entry" and candidate.threads is not None
    return from_file(task, folder / CANDIDATE, candidate.form, candidate.threads, submission.threads)


def replay(
    subject: Subject, secret: Secret, unseen: Hidden, percent: int, sandboxed: bool, progress: Callable[[], object]
) -> Replayed:
    """Measure again. `percent` of the reference's quality is what the division asks for, on `unseen` data, too.

    Raises WorkerError, or Refused, where a worker gives no result.
    """
    submission, task = subject.submission, subject.task
    with tempfile.TemporaryDirectory(prefix="mlperf-") as name:
        folder = Path(name)
        how = Conditions(
            effort_of(submission),
            submission.threads,
            secret.seeds(submission.seeds.data),
            environment.load_1m(),
            locked_up([folder], places(task.dataset)) if sandboxed else None,
        )
        making = again(subject, folder)._replace(limits=ENTRY)
        read = submission.audits.test_files_read if submission.audits else None
        observed = observe(making, task, folder, how, read, progress)
        new = write_samples(folder / "hidden.npz", task, unseen.x, unseen.y)
        asking = how._replace(effort=ASKED, seeds=how.seeds.model_copy(update={"audit": None}))
        (asked,) = ask_workers(making, new, asking, progress)
    said = {name: getattr(submission, name) for name in Measured.model_fields}
    ref, opt = np.asarray(asked.ref_told), np.asarray(asked.opt_told)
    quality = task.metric.quality(ref, opt, unseen.y)
    return Replayed(Measured(**said | observed), unseen, quality, hidden.deficit(quality, ref, opt, percent))
