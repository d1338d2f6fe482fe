"""What may differ between a submission and its replay, and by how much: section 5.4 of the protocol.

Labels and quality come from the same weights and the same code, so they hardly may. Times are another run's: they are
compared only on a machine of the same kind, and only a claim that was too high is a fault; too low harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leaderboard import Derived, Env, Measured, Quality, Reason, Submission
from leaderboard.derive import derive
from leaderboard.verification import Check
from mlperf.metrics import sha256_of, unpacked
from mlperf.replays.hidden import SIGMAS
from mlperf.replays.replay import Replayed
from mlperf.tasks import Task

LABELS_SHARE = 0.001  # of the answers may be others: nearly as likely, and rounded differently by another processor
LOSS_SHARE = 0.001  # the same for a mean loss
RATIO_SHARE, SHORT_RATIO_SHARE, SHORT_QUERY_US = 0.10, 0.20, 200

# What tells of a machine that did something else beside is no fault of the submission; what it may have caused is no
# proof of one.
DISTURBANCES = {"NOISY", "NOT_STEADY", "BLOCK_TOO_SHORT"}
TIMED = {
    "RATIO_MISMATCH", "SEED_SENSITIVE", "CACHING_SUSPECTED", "WEIGHTS_IGNORED", "REFERENCE_OUT_OF_BAND",
    "CLOCK_INCONSISTENT", "BACKGROUND_WORK", "THREAD_POLICY",
}  # fmt: skip


def undecided(checks: Sequence[Check]) -> bool:
    """Whether all that was failed are times, taken on a machine that was disturbed."""
    codes = {check.code for check in checks if check.passed is False}
    return bool(codes) and codes <= TIMED and any(check.code in DISTURBANCES for check in checks)


def compare(submission: Submission, replayed: Replayed, further: Sequence[Reason], task: Task) -> Iterator[Check]:
    """A check for each comparison, then what the leaderboard's rules find in the replay itself."""
    yield labels(submission.quality, replayed.measured.quality, task)
    yield unseen(replayed)
    yield ratio(submission, replayed.measured)
    for reason in further:
        if reason.severity == "invalid":
            passed = None if reason.code in DISTURBANCES | {"PRACTICE_ONLY"} else False
            yield Check(code=reason.code, passed=passed, measured=reason.measured, required=reason.required)


def labels(said: Quality, found: Quality, task: Task) -> Check:
    """LABELS_MISMATCH where more answers are others than rounding explains; all the same earns the word "exact"."""
    if found.labels is None or found.labels_sha256 is None:
        required = f"within {LOSS_SHARE:.1%} of {said.value!r}"
        passed = abs(found.value - said.value) <= LOSS_SHARE * abs(said.value)
        return Check(code="LABELS_MISMATCH", passed=passed, measured=found.value, required=required)
    allowed = max(1, int(LABELS_SHARE * found.n))
    required = f"<= {allowed} of {found.n} answers differ from the submission's"
    if said.labels_sha256 == found.labels_sha256:
        return Check(code="LABELS_MISMATCH", passed=True, measured="0, exact", required=required)
    truth = task.data.y_test
    now = unpacked(found.labels, truth)
    try:
        before = unpacked(said.labels or "", truth)
        if sha256_of(before) != said.labels_sha256:
            raise ValueError("labels are not those of labels_sha256")
    except ValueError as error:
        return Check(code="LABELS_MISMATCH", passed=False, measured=f"cannot be compared: {error}", required=required)
    differing = int((now != before).reshape(len(now), -1).any(1).sum())
    return Check(code="LABELS_MISMATCH", passed=differing <= allowed, measured=differing, required=required)


def unseen(replayed: Replayed) -> Check:
    """HIDDEN_QUALITY where the gate is missed on hidden data by more than luck explains."""
    quality, (below, by_luck) = replayed.hidden_quality, replayed.deficit
    luck = SIGMAS * by_luck
    if quality.opt_correct is not None:
        found = f"{quality.opt_correct} of {quality.n}, the reference {quality.ref_correct}"
        limit = f">= {quality.opt_correct + below - luck:.1f} right"
    else:
        found = f"{quality.value:.4f}, the reference {quality.ref_value:.4f}"
        limit = f"<= {quality.value - below + luck:.4f}"
    return Check(
        code="HIDDEN_QUALITY",
        passed=not replayed.deficit.is_proof,
        measured=f"{found} ({replayed.hidden.source})",
        required=f"{limit}: the gate, less {luck:.3g} for luck ({SIGMAS} standard deviations of the difference)",
    )


def ratio(submission: Submission, measured: Measured) -> Check:
    """RATIO_MISMATCH where the submission claims to be quicker than it is on a machine of the same kind."""
    said, found = submission.derived, derive(measured, True)
    short = found.latency_us_p50 is not None and found.latency_us_p50 < SHORT_QUERY_US
    share = SHORT_RATIO_SHARE if short else RATIO_SHARE
    overlap = said.ratio_lo <= found.ratio_hi and found.ratio_lo <= said.ratio_hi
    passed = overlap or said.ratio <= found.ratio * (1 + share)
    if not same_machine(submission.env, measured.env):
        return Check(
            code="RATIO_MISMATCH", passed=None, measured=interval(found),
            required=f"reported only: {interval(said)} was measured on another kind of machine",
        )  # fmt: skip
    required = f"{interval(said)} is at most {share:.0%} more, or the intervals overlap"
    return Check(code="RATIO_MISMATCH", passed=passed, measured=interval(found), required=required)


def interval(derived: Derived) -> str:
    """A ratio with its bounds."""
    return f"{derived.ratio:.4g} ({derived.ratio_lo:.4g} to {derived.ratio_hi:.4g})"


def same_machine(one: Env, other: Env) -> bool:
    """Of the same kind, as far as it can be told: times may be compared, and the same code rounds the same."""
    kind = ("cpu_model", "cpu_flags_sha256", "physical_cores", "affinity_n", "cgroup_quota")
    return all(getattr(one, name) == getattr(other, name) for name in kind)
