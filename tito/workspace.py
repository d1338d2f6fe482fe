"""A student's folder: `modules/` with a file for each module begun, and `progress.json`, which says how far they are.

The record is written atomically. One that is broken is told of and made anew from the files, each tested again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from leaderboard import utc_now
from tinytorch.files import write_atomically
from tito.checks import Module

RECORD, FOLDER = "progress.json", "modules"
VARIABLE = "TITO_WORKSPACE"


class BrokenRecord(ValueError):
    """A record of progress that cannot be read; the text says what is wrong and what to do."""


class Completed(BaseModel):
    """One module that passed its checkpoint: when, and with which files (sha256 by name)."""

    model_config = ConfigDict(extra="forbid")

    completed_utc: str
    files: dict[str, str]


class Reached(BaseModel):
    """How the last run of a milestone's script ended, and which modules were the student's then."""

    model_config = ConfigDict(extra="forbid")

    ran_utc: str
    met: bool
    verdict: str
    seconds: float | None
    mine: tuple[str, ...] = ()


class Progress(BaseModel):
    """What a student has completed, by slug, and the milestones reached, by script: the best of what was run."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    completed: dict[str, Completed] = {}
    milestones: dict[str, Reached] = {}


class Workspace:
    """The folder of one student."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def here(cls) -> Workspace:
        """That of TITO_WORKSPACE, else `my_tinytorch/` in the current folder."""
        return cls(Path(os.environ.get(VARIABLE) or "my_tinytorch"))

    @property
    def record(self) -> Path:
        return self.root / RECORD

    def path(self, module: Module, source: str) -> Path:
        """Where the student's file is that replaces a source."""
        return self.root / FOLDER / module.file_of(source)

    def files(self, module: Module) -> dict[str, str]:
        """The student's files by the names of what they replace; empty unless all are there."""
        found = {source: self.path(module, source) for source in module.sources}
        return {name: str(path.resolve()) for name, path in found.items()} if all_there(found) else {}

    def digests(self, module: Module) -> dict[str, str]:
        """sha256 of the student's files, by file name."""
        paths = [self.path(module, source) for source in module.sources]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}

    def progress(self) -> Progress:
        """What is recorded; nothing where there is no record. Raises BrokenRecord."""
        try:
            text = self.record.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Progress()
        except (OSError, UnicodeDecodeError) as error:
            raise BrokenRecord(f"{self.record} cannot be read ({error})") from None
        try:
            return Progress.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise BrokenRecord(f"{self.record} is broken: {where}: {first['msg']}") from None

    def save(self, progress: Progress) -> None:
        """Write the record, whole or not at all."""
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self.record, progress.model_dump_json(indent=2).encode() + b"\n")

    def complete(self, module: Module) -> None:
        """Record that a module passed with its files as they are."""
        progress = self.progress()
        progress.completed[module.slug] = Completed(completed_utc=utc_now(), files=self.digests(module))
        self.save(progress)

    def reach(self, script: str, reached: Reached) -> None:
        """Record how a milestone's script ended, unless it did better before: met, and on more modules of one's own."""
        progress = self.progress()
        before = progress.milestones.get(script)
        if before is None or (before.met, len(before.mine)) <= (reached.met, len(reached.mine)):
            progress.milestones[script] = reached
            self.save(progress)

    def forget(self, module: Module) -> bool:
        """Take a module back; whether it was recorded."""
        progress = self.progress()
        known = progress.completed.pop(module.slug, None) is not None
        if known:
            self.save(progress)
        return known

    def state(self, module: Module, progress: Progress) -> str:
        """"completed", "changed" since then, "started" or "" ."""
        done = progress.completed.get(module.slug)
        if done is not None:
            return "completed" if done.files == self.digests(module) else "changed"
        return "started" if self.files(module) else ""


def all_there(paths: Mapping[str, Path]) -> bool:
    return bool(paths) and all(path.is_file() for path in paths.values())
