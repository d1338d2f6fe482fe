"""The source of a student's entry: read once as bytes, hashed, carried along, and unpacked where it runs.

An entry is one Python file, or a folder in which one file at the top has `optimize`. What is imported is what was
hashed: workers unpack these bytes into a folder of their own, whatever has become of the student's meanwhile.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from leaderboard.fields import FilePath

FOLDER = "entry"  # where an entry's files travel beside its submission
LARGEST = 2**20  # bytes in all
MOST_FILES = 100
FUNCTION = "optimize"
IGNORED = ("__pycache__",)
OURS = ("kernels", "tinytorch", "profiler", "mlperf", "leaderboard", "milestones", "benchmarks")

_safe = TypeAdapter(FilePath)


class EntryError(ValueError):
    """An entry that cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class Source:
    """An entry's files by relative path, and which of them has `optimize`."""

    files: Mapping[str, bytes]
    main: str

    @property
    def travelling(self) -> dict[str, bytes]:
        """The files under the names that they have beside a submission."""
        return {f"{FOLDER}/{path}": content for path, content in self.files.items()}

    @property
    def bytes(self) -> int:
        return sum(map(len, self.files.values()))

    @property
    def sha256(self) -> str:
        """One digest over all names and contents."""
        digest = hashlib.sha256()
        for path in sorted(self.files):
            digest.update(f"{path} {len(self.files[path])} ".encode() + self.files[path])
        return digest.hexdigest()


def read(path: Path | str) -> Source:
    """The entry in a file or folder. Raises EntryError."""
    path = Path(path)
    try:
        found = dict(_files(path))
        if not found:
            raise EntryError(f"entry {path}: there is no file in it; `python -m mlperf new {path}.py` writes one")
        if len(found) > MOST_FILES:
            raise EntryError(f"entry {path}: {len(found)} files, at most {MOST_FILES} travel; leave out the unused")
        contents: dict[str, bytes] = {}
        for name, file in found.items():
            if (module := name.partition("/")[0].removesuffix(".py")) in taken():
                raise EntryError(f"entry {path}: {name} would hide the module {module}; give it another name")
            contents[name] = _content(path, name, file, LARGEST - sum(map(len, contents.values())))
    except OSError as error:
        raise EntryError(f"entry {path}: cannot be read: {error.strerror or error}") from None
    return Source(contents, _main(path, contents))


def taken() -> set[str]:
    """Modules that an entry's own would hide."""
    return {*sys.stdlib_module_names, *OURS, "numba", "numpy", "safetensors", "scipy", "sklearn", "tqdm"}


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of everything in an entry that may travel."""
    if not path.is_dir():
        yield path.name, path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in IGNORED and not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                file = Path(folder, name)
                yield file.relative_to(path).as_posix(), file
        for name in folders:
            if Path(folder, name).is_symlink():
                raise EntryError(f"entry {path}: {name} is a link; copy what it points to")


def _content(entry: Path, name: str, file: Path, room: int) -> bytes:
    try:
        _safe.validate_python(name)
    except ValidationError:
        raise EntryError(
            f"entry {entry}: {ascii(name)[1:-1]} cannot travel: letters, digits, dots, dashes and underscores can"
        ) from None
    if file.is_symlink():
        raise EntryError(f"entry {entry}: {name} is a link; copy what it points to")
    if not stat.S_ISREG(file.stat().st_mode):
        raise EntryError(f"entry {entry}: {name} is no regular file")
    content = file.read_bytes() if file.stat().st_size <= room else b""
    if file.stat().st_size > room:
        raise EntryError(
            f"entry {entry}: more than {LARGEST:,} bytes of source with {name}; weights belong into `context.once`, "
            "which keeps them apart"
        )
    return content


def _main(path: Path, contents: Mapping[str, bytes]) -> str:
    """The one file at the top that defines `optimize`."""
    found = []
    for name, content in contents.items():
        if "/" in name or not name.endswith(".py"):
            continue
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError) as error:
            raise EntryError(f"entry {path}: {name} is no Python: {error}") from None
        if any(isinstance(node, ast.FunctionDef) and node.name == FUNCTION for node in tree.body):
            found.append(name)
    if len(found) == 1:
        return found[0]
    what = f"{', '.join(found)} all define" if found else "no file at its top defines"
    raise EntryError(
        f"entry {path}: {what} `{FUNCTION}`; one function `def {FUNCTION}(model, calibration, context)` is needed"
    )


def unpack(source: Source, folder: Path) -> None:
    """Write an entry's files into a folder, which is made."""
    for name, content in source.files.items():
        file = folder / PurePosixPath(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def load(folder: Path | str, main: str) -> Callable[..., Any]:
    """Import an unpacked entry and return its `optimize`. Raises what its code raises."""
    folder = Path(folder)
    sys.path.insert(0, str(folder))  # so that its files find each other
    name = Path(main).stem
    spec = importlib.util.spec_from_file_location(name, folder / main)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return getattr(module, FUNCTION)
