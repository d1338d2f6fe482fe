"""Writing a file so that it is either there whole or not there at all, and finding out early whether one can be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
    """Write to a temporary file beside `path`, flush it to disk, rename it into place; return the bytes written.

    Whatever goes wrong (full disk, Ctrl-C), nothing half written stays and an older file survives. OSError says what
    failed.
    """
    target = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(
            f"cannot write {target}: {error.strerror}; choose a directory that exists and is writable"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        os.unlink(temporary)
        raise OSError(
            f"cannot write {target}: {error.strerror}; free some space or choose another directory"
        ) from error
    except BaseException:
        os.unlink(temporary)
        raise
    return len(content)
