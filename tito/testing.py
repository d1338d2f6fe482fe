"""A module's checkpoint against a student's files, in a process of its own with limits: it may not end by itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mlperf import process
from mlperf.confinement.hearing import WorkerError
from mlperf.confinement.limits import MB, Limits
from mlperf.confinement.sandbox import Sandbox
from tito.checks import Failure, Module, last_line
from tito.course import find
from tito.replacing import replace

LIMITS = Limits(
    seconds=120, memory_bytes=4096 * MB, file_bytes=64 * MB, folder_bytes=512 * MB, output_bytes=4 * MB, reports=1000,
    processes=32,
)  # fmt: skip


IMPORTS = "the file can be imported"


class Result(NamedTuple):
    """What a checkpoint found: every check with its failure, if it has one; `ended` is why it came to no end."""

    module: Module
    checks: tuple[tuple[str, str, Failure | None], ...]  # part, what must hold, the smallest case that failed
    ended: str = ""

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(failure for _, _, failure in self.checks if failure is not None)

    @property
    def passed(self) -> bool:
        return not self.ended and bool(self.checks) and not self.failures


def tried(
    module: Module,
    files: Mapping[str, str],
    progress: Callable[[], object] = lambda: None,
    sandbox: Sandbox | None = None,
) -> Result:
    """The checkpoint of a module on files in the place of ours, by name; `progress()` is called after each check."""

    def hear(event: dict[str, Any]) -> None:
        if event["event"] == "checked":
            progress()

    job, name = {"module": module.slug, "files": dict(files)}, f"module {module.slug}"
    try:
        found = process.run("tito.testing:child", job, hear, name=name, limits=LIMITS, sandbox=sandbox)
    except WorkerError as error:
        return Result(module, (), str(error))
    try:
        checks = tuple(
            (str(part), str(says), None if failure is None else Failure(*failure))
            for part, says, failure in found["checks"]
        )
    except (KeyError, TypeError, ValueError):
        checks = ()
    asked = [(check.part, check.says) for check in module.checks]
    if [row[:2] for row in checks] != asked and [row[:2] for row in checks if row[2]] != [("", IMPORTS)]:
        return Result(module, (), "the checkpoint's process reported something else than its results")
    return Result(module, checks)


def child(job: dict[str, Any], report: Callable[[str], None], wait: Callable[[], None]) -> dict[str, Any]:
    """What the process does; see `tried`."""
    replace(job["files"])
    module = find(job["module"])
    try:
        for source in module.sources:
            importlib.import_module(source)
    except BaseException as error:  # a student's file may do anything while it is imported
        said = f"{type(error).__name__}: {error}"
        failure = Failure("", IMPORTS, f"import {source}", "no error", said, last_line(error))
        return {"checks": [("", IMPORTS, failure)]}
    checks = []
    for check, failed in module.run():
        checks.append((check.part, check.says, failed))
        report("checked")
    return {"checks": checks}
