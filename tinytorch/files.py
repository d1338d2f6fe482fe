"""Writing a file so that it is there whole or not at all, finding out early whether one can be, and taking turns."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

MOMENT_S = 1.0  # a temporary file that is younger may have been made and not locked yet


def require_writable(directory: str | os.PathLike) -> None:
    """Find out before long work whether a directory, there or yet to be made, can be written to. OSError if not."""
    path = Path(directory).absolute()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write to {directory}: {existing} is no writable directory; choose another ({error.strerror})"
        ) from None


def write_atomically(path: str | os.PathLike, content: bytes) -> int:
    """Write `content` as `atomic_file` does; return the bytes written."""
    with atomic_file(path) as file:
        file.write(content)
    return len(content)


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write to, beside `path`; at the end of the block it is flushed to disk and renamed into place.

    Whatever goes wrong (full disk, Ctrl-C), nothing half written stays and an older file survives. What a process that
    was killed here left beside `path` is removed by the next that writes there. OSError says what failed.
    """
    target = Path(path)
    _remove_leftovers(target)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(
            f"cannot write {target}: {error.strerror}; choose a directory that exists and is writable"
        ) from error
    try:
        with _locked(os.dup(handle)), os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OSError(
            f"cannot write {target}: {error.strerror}; free some space or choose another directory"
        ) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def alone(directory: str | os.PathLike) -> Iterator[None]:
    """One process at a time is in such a block for a directory, where the system has such locks; others wait.

    Nothing is written, and a process that is killed leaves no lock behind.
    """
    if os.name != "posix":  # where a directory cannot be opened
        yield
        return
    with _locked(os.open(directory, os.O_RDONLY), waits=True):
        yield


@contextmanager
def _locked(handle: int, waits: bool = False) -> Iterator[bool]:
    """Whether this process now holds the lock of an open file, which it keeps in the block and closes afterwards.

    Such locks end with their process. Where a system, or a file system, has none, nobody gets one.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        is_ours = True
    except (ImportError, OSError):
        is_ours = False
    try:
        yield is_ours
    finally:
        os.close(handle)


def _remove_leftovers(target: Path) -> None:
    """Remove temporary files of `atomic_file` that nobody is writing: older than a moment, and not locked."""
    for beside in target.parent.glob(f".{glob.escape(target.name)}.????????"):
        with suppress(OSError), _locked(os.open(beside, os.O_RDWR)) as is_nobodys:
            if is_nobodys and time.time() - beside.stat().st_mtime > MOMENT_S:
                beside.unlink()


def write_together(directory: str | os.PathLike, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files of these names into a directory, made if need be: all of them, or none. Returns their paths.

    They are first written whole beside their place and then moved there; should a move fail, those before are moved
    back. Whatever goes wrong, older files survive and no new file or directory stays. OSError says what failed.
    """
    folder = Path(directory).absolute()
    missing = next((path for path in (*reversed(folder.parents), folder) if not path.exists()), None)
    try:
        with tempfile.TemporaryDirectory(dir=missing.parent if missing else folder, prefix=".writing.") as beside:
            new, old = Path(beside, "new"), Path(beside, "old")
            old.mkdir()
            filled = new / folder.relative_to(missing) if missing else new
            filled.mkdir(parents=True)
            for name, content in contents.items():
                with (filled / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if missing:
                os.rename(new, missing)
            else:
                _move_together(list(contents), new, folder, old)
    except OSError as error:
        raise OSError(
            f"cannot write to {directory}: {error.strerror}; free some space or choose another directory"
        ) from error
    return [Path(directory) / name for name in contents]


def _move_together(names: list[str], new: Path, folder: Path, old: Path) -> None:
    """Move files from `new` to `folder`, what was there to `old`; if that fails, all back again."""
    moved: list[tuple[Path, Path]] = []
    try:
        for name in names:
            for source, target in ((folder / name, old / name), (new / name, folder / name)):
                if source.exists():
                    os.rename(source, target)
                    moved.append((source, target))
    except BaseException:
        for source, target in reversed(moved):
            os.rename(target, source)
        raise
