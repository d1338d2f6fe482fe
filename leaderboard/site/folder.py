"""A folder that is built beside its place and takes it whole: whoever looks sees the old site or the new one.

A folder that this program did not build is never touched. What a killed build left is swept by the next.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leaderboard.atomic import discard, is_stale, make_folder, sync_folder, temporary_beside

MARKER = ".leaderboard-site"  # in every folder that may be replaced
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


class NotOurs(OSError):
    """The place is taken by something else; the text says what to do."""


def require_ours(place: Path) -> None:
    """Raise NotOurs unless a site may be put there: nothing, an empty folder, or a site that was built before."""
    if not os.path.lexists(place):
        return
    if place.is_symlink() or not place.is_dir():
        raise NotOurs(f"html: {place} is not a folder; choose another place with --out DIR")
    if not (place / MARKER).is_file() and any(place.iterdir()):
        raise NotOurs(
            f"html: {place} has files that are no site of this leaderboard (there is no {MARKER}) and would be lost; "
            "choose another place with --out DIR, or empty it"
        )


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """A new folder to build in; when the block ends well it takes the place, else the place stays as it was.

    Raises NotOurs before anything is written, and OSError where the disk refuses.
    """
    place = place.absolute()
    require_ours(place)
    make_folder(place.parent)
    _sweep(place)
    new = temporary_beside(place)
    try:
        new.mkdir()
        (new / MARKER).write_text("python -m leaderboard html builds this folder anew and removes what is in it\n")
        yield new
        for folder, _, _ in os.walk(new):
            sync_folder(Path(folder))
        _take(new, place)
        sync_folder(place.parent)
    finally:
        discard(new)


def _take(new: Path, place: Path) -> None:
    """Exchange both in one step where the system can; `new` is then the old folder."""
    require_ours(place)  # building took its time
    if not place.exists():
        os.rename(new, place)
    elif not _exchange(new, place):
        old = temporary_beside(place)
        os.rename(place, old)
        os.rename(new, place)
        discard(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names at once; False where the system or its file system does not know how."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _sweep(place: Path) -> None:
    """Remove what killed builds of this very place left, an hour later, when nobody can be building it."""
    for leftover in place.parent.glob(f".{place.name}-*.tmp"):
        with suppress(OSError):
            if (leftover / MARKER).is_file() and is_stale(leftover):
                discard(leftover)
