"""Is this the pinned yard-stick? What no rule of the leaderboard can find, as it knows neither data nor weights.

Asked of the machine before it measures (`pin_reasons`), and of a file before it is compared (`file_reasons`).
"""

from __future__ import annotations

from collections.abc import Iterator

from leaderboard import Measured, Reason
from mlperf import tasks
from mlperf.tasks import Task
from tinytorch import weights


def pin_reasons(task: Task) -> Iterator[Reason]:
    """The reference and the data must be the pinned ones, or nobody is compared with the same yard-stick.

    Where copies of the data may differ, one that is not published is no fault, but it is said.
    """
    hint = "restore the file from the repository; after a reviewed change: python -m mlperf.tasks prints the new pins"
    pins = [
        ("REFERENCE_HASH", "weights", weights.sha256(task.checkpoint), task.weights_sha256),
        ("REFERENCE_HASH", "code", tasks.reference_code_sha256(), tasks.REFERENCE_CODE_SHA256),
        ("DATASET_HASH", "data", task.data_sha256, task.dataset_sha256 or task.data_sha256),
    ]
    if task.copy:
        yield Reason(
            code="DATA_COPY",
            severity="warning",
            measured=task.copy,
            required="the published files",
            hint=f"ranked among those on the very same copy; python -m tinytorch.datasets get {task.dataset} fetches "
            "the published one",
        )
    for code, what, found, pinned in pins:
        if found != pinned:
            yield _reason(code, what, found, pinned, hint)


def file_reasons(measured: Measured, task: Task) -> Iterator[Reason]:
    """What a file was measured with must be what is installed here, or its figures cannot be compared with new ones.

    All of it is said, not only that the versions differ. Of data whose copies may differ, the file names its own.
    """
    hint = "measure again with the version that is installed here, or look at it with the one it was made with"
    said, here = measured.benchmark_version, task.version
    if said != here:
        yield _reason("BENCHMARK_VERSION", "task and rules", said, here, hint)
    reference = measured.reference
    pins = [
        ("REFERENCE_HASH", "weights", reference.checkpoint_sha256, task.weights_sha256),
        ("REFERENCE_HASH", "code", reference.code_sha256, tasks.REFERENCE_CODE_SHA256),
        ("DATASET_HASH", "data", measured.task.dataset_sha256, task.data_sha256),
    ]
    for code, what, found, pinned in pins:
        if found != pinned:
            yield _reason(code, what, found, pinned, hint)


def _reason(code: str, what: str, found: str | None, pinned: str, hint: str) -> Reason:
    return Reason(
        code=code,
        severity="invalid",
        measured=f"{what} {'unknown' if found is None else found[:12]}",
        required=f"{what} {pinned[:12]}",
        hint=hint,
    )
