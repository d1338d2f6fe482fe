"""Files in the place of modules: a student's file is imported under the name of the module of ours that it replaces.

Whatever imports that module from then on runs on the student's code; nothing else changes. It is done in a process of
its own, first of all. What has been imported before stays with those who hold it, such as the clock of a worker.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType


class Replacing(MetaPathFinder):
    """Finds some modules in other files than their own: by dotted name, the path of a file."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def replace(files: Mapping[str, str]) -> None:
    """From now on these modules are read from these files; their packages are imported anew."""
    packages = {name.partition(".")[0] for name in files}
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    sys.meta_path.insert(0, Replacing(files))


def replaced() -> dict[str, str]:
    """The files that took the place of modules in this process, by the modules' names."""
    found: dict[str, str] = {}
    for finder in sys.meta_path:
        if isinstance(finder, Replacing):
            found |= finder.files
    return found
