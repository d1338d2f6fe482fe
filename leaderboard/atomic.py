"""How this package writes: a file is there whole or not at all, and one that was kept survives the power failing.

The one place for it: submissions, ledger, exports and pages are all written through here. Errors are plain `OSError`s
that name the file; whoever calls knows what to advise.
"""

import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STALE_SECONDS = 3600  # a temporary name this old belongs to a writer that was killed


def temporary_beside(target: Path) -> Path:
    """A name for `target` while it is being written: hidden, its own, and known before anything has it."""
    return target.with_name(f".{target.name}-{secrets.token_hex(8)}.tmp")


def write_atomically(target: Path | str, content: bytes, replaces: bool = True) -> None:
    """Write `content`; a reader sees the old file or the whole new one, also after Ctrl-C or on a full disk.

    The name is durable only after `sync_folder` of its folder. Raises FileExistsError if it is there and nothing is to
    be replaced.
    """
    path = Path(target)
    temporary = temporary_beside(path)
    try:
        write_durably(temporary, content)
        if replaces:
            os.replace(temporary, path)
        else:
            _name_anew(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _name_anew(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a memory stick, say: no second names for one file
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)


def write_durably(new: Path, content: bytes) -> None:
    """Make a file that was not there and wait until its content is on the disk. For names that nobody reads yet."""
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system lets folders be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path, shared: bool = False, waits: bool = True) -> Iterator[bool]:
    """Hold a folder's lock in the block and yield True; False where another has it (`waits=False`).

    One process at a time holds it, or many together that ask for it `shared`. It ends with its process, so a kill
    leaves none behind. A file system without such locks gives none and yields False: whoever needs one must refuse.
    """
    if os.name != "posix":  # where a folder cannot be opened
        yield False
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB))
            is_ours = True
        except OSError:
            is_ours = False
        yield is_ours
    finally:
        os.close(handle)


def remove_stale(folder: Path, of: str | None = None) -> None:
    """Sweep up after writers that were killed: what has a temporary name for longer than any writer takes.

    Its age counts from when it came here, which copying with old dates does not change. In a folder that is not this
    package's, only leftovers `of` a file of its own.
    """
    for leftover in folder.glob(".*.tmp" if of is None else f".{glob.escape(of)}-{'?' * 16}.tmp"):
        with suppress(FileNotFoundError):  # another process was quicker
            if is_stale(leftover):
                discard(leftover)


def is_stale(path: Path) -> bool:
    """Has nothing happened to a file or folder for longer than any writer takes?"""
    return time.time() - path.lstat().st_ctime > STALE_SECONDS


def discard(temporary: Path) -> None:
    """Remove a temporary file or folder, as far as it is there."""
    if temporary.is_dir() and not temporary.is_symlink():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)
