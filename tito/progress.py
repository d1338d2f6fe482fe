"""How far a student is: testing, completing and taking back modules, and mending a record that is broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from leaderboard import utc_now
from mlperf.commands.terminal import phase
from tito import testing
from tito.checks import Module
from tito.course import modules
from tito.templates import written
from tito.testing import Result
from tito.workspace import BrokenRecord, Progress, Workspace

OLD = "old"


class NotStarted(ValueError):
    """A module without files; the text says how to begin."""


class AlreadyThere(ValueError):
    """A file that would be overwritten; the text says what to do."""


def start(module: Module, workspace: Workspace) -> list[str]:
    """Write the files that a student fills in; their paths. Raises AlreadyThere, and then nothing was written."""
    paths = {source: workspace.path(module, source) for source in module.sources}
    for path in paths.values():
        if path.exists():
            raise AlreadyThere(f"{path} is there already and stays as it is; `tito module reset {module.number:02}` "
                               "puts it aside and begins anew")  # fmt: skip
    for source, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(module, source), encoding="utf-8")
    return [str(path) for path in paths.values()]


def test(module: Module, workspace: Workspace, progress: Callable[[], object] = lambda: None) -> Result:
    """The checkpoint of a module on the student's files. Raises NotStarted."""
    files = workspace.files(module)
    if not files:
        raise NotStarted(f"{module.slug} has not been started; `tito module start {module.number:02}` writes the file")
    return testing.tried(module, files, progress)


def reset(module: Module, workspace: Workspace) -> list[str]:
    """Put a student's files aside, forget that they passed, and write fresh ones; where the old ones are."""
    moved = []
    for source in module.sources:
        path = workspace.path(module, source)
        if path.exists():
            aside = path.parent / OLD / f"{path.stem}-{utc_now().replace(':', '')}.py"
            aside.parent.mkdir(exist_ok=True)
            os.replace(path, aside)
            moved.append(str(aside))
    workspace.forget(module)
    start(module, workspace)
    return moved


def rebuilt(workspace: Workspace, progress: Callable[[], object]) -> Progress:
    """A record made anew: every module with files is tested. The broken one is kept beside it."""
    if workspace.record.exists():
        os.replace(workspace.record, workspace.record.with_suffix(".broken.json"))
    workspace.save(Progress())
    for module in modules():
        if workspace.files(module) and test(module, workspace).passed:
            workspace.complete(module)
        progress()
    return workspace.progress()


def read(workspace: Workspace, tell: Callable[[str], object]) -> Progress:
    """The record; a broken one is told of and rebuilt."""
    try:
        return workspace.progress()
    except BrokenRecord as error:
        tell(f"{error}; it is put aside, and the modules are tested again")
    with phase("test modules", len(modules()), "module") as bar:
        return rebuilt(workspace, bar.update)


def active(workspace: Workspace, among: Iterable[Module]) -> dict[str, str]:
    """The files of completed modules that take the place of ours, by name."""
    completed = workspace.progress().completed
    found: dict[str, str] = {}
    for module in among:
        if module.slug in completed:
            found |= workspace.files(module)
    return found
