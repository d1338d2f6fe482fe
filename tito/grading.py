"""All students' folders at once: every module that has files, each in a process of its own with limits.

A student's folder is a workspace: files in `modules/`, or right in it. One that is broken is a row of the table like
any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from mlperf.confinement.sandbox import Sandbox
from tito import testing
from tito.checks import Module
from tito.course import modules
from tito.workspace import FOLDER

OURS = Path(__file__).parent  # the checks themselves, which the sandbox of entries does not show


class Task(NamedTuple):
    """One module of one student, by the files that take the place of ours."""

    student: str
    module: Module
    files: dict[str, str]


class Row(NamedTuple):
    """What came of it. `first` is the smallest case that failed, or why there was no result."""

    student: str
    module: str
    passed: bool
    checks_passed: int
    checks: int
    first: str

    def document(self) -> dict[str, Any]:
        return self._asdict()


def students(folder: Path) -> list[Path]:
    """The students' folders, by name. ValueError where there are none."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise ValueError(f"{folder} has no folders in it; give the folder that holds one for each student")
    return found


def tasks(folders: Sequence[Path]) -> Iterator[Task]:
    """Everything that has been written. What a student's folder points to outside of itself is not looked at."""
    for folder in folders:
        root = folder / FOLDER if (folder / FOLDER).is_dir() else folder
        for module in modules():
            paths = {source: root / module.file_of(source) for source in module.sources}
            if all(is_plain(path, folder) for path in paths.values()):
                yield Task(folder.name, module, {source: str(path.resolve()) for source, path in paths.items()})


def is_plain(path: Path, folder: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def graded(task: Task, sandboxed: bool) -> Row:
    """One module of one student; whatever happens is a row."""
    try:
        sandbox = Sandbox([OURS, *map(Path, task.files.values())]) if sandboxed else None
        result = testing.tried(task.module, task.files, sandbox=sandbox)
    except OSError as error:
        return Row(task.student, task.module.slug, False, 0, 0, f"it could not be run: {error}"[:500])
    failures = result.failures
    first = f"{failures[0].part}: {failures[0].code}: {failures[0].got}" if failures else result.ended
    passed = len(result.checks) - len(failures)
    return Row(task.student, task.module.slug, result.passed, passed, len(task.module.checks), first[:500])


def grade(
    found: Sequence[Task], jobs: int | None, sandboxed: bool, progress: Callable[[], object] = lambda: None
) -> list[Row]:
    """A row for each task, in their order; `jobs` run at a time."""
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        running = {pool.submit(graded, task, sandboxed): i for i, task in enumerate(found)}
        rows: dict[int, Row] = {}
        try:
            for future in as_completed(running):
                rows[running[future]] = future.result()
                progress()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [rows[i] for i in range(len(found))]
