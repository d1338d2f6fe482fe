"""The files that travel beside a submission, in `<id>.files/`: weights and an entry's source, which a replay needs.

`Measured.files` states their paths and hashes, so the folder is proved like everything else: it holds exactly these.
It appears whole, before its submission does. Until that is there too, `.unfinished` stands in it, so that the folder of
a writer that was killed can be told from one whose submission somebody moved away: only the first is ever removed.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from leaderboard.atomic import discard, is_stale, sync_folder, temporary_beside, write_durably

SUFFIX = ".files"
UNFINISHED = ".unfinished"
LARGEST_FILE = 64 * 2**20  # bytes
SOURCE = "entry/"
LARGEST_SOURCE = 2**20  # bytes, all files of an entry's source together
LARGEST_SUM = 2**28  # bytes, everything that travels with one submission
CHUNK = 2**20
DEEPEST = 200  # characters of a path, as FilePath has it
TOLD = 20  # faults of one folder


def against(declared: Mapping[str, str], files: Mapping[str, bytes]) -> Iterator[str]:
    """What keeps `files` from travelling: not those that the submission declares, or too large."""
    for path in sorted(declared.keys() | files.keys()):
        if path not in files:
            yield f"{path} is declared in the submission's `files` but was not handed over"
        elif path not in declared:
            yield f"{path} was handed over but is not declared in the submission's `files`"
        elif len(files[path]) > LARGEST_FILE:
            yield f"{path} has {len(files[path])} bytes, at most {LARGEST_FILE} may travel in one file"
        elif (digest := hashlib.sha256(files[path]).hexdigest()) != declared[path]:
            yield f"{path} has the hash {digest[:12]}..., the submission declares {declared[path][:12]}..."
    yield from _too_much({path: len(content) for path, content in files.items()})
    for path in sorted(files):
        if path.rpartition("/")[0] in files:
            yield f"{path.rpartition('/')[0]} is a file and cannot be a folder, too"


def check(declared: Mapping[str, str], folder: Path) -> list[str]:
    """What is wrong with a folder of travelling files; nothing if it holds exactly those declared.

    No link is followed and no pipe waited for. Reads every byte, so listings do not do it. Raises OSError if the folder
    is there and cannot be read.
    """
    if not declared and not os.path.lexists(folder):
        return []
    found = dict(_walk(folder, "")) if not folder.is_symlink() and folder.is_dir() else {}
    if not found and declared:
        return [f"{folder.name}: the folder of its {len(declared)} files is missing: copy it, too"]
    wrong = list(_too_much({path: status.st_size for path, status in found.items()}))
    for path in sorted(declared.keys() | found.keys()):
        if path not in found:
            wrong.append(f"{folder.name}/{path} is missing")
        elif path not in declared:
            wrong.append(f"{folder.name}/{path} does not belong to the submission")
        elif not stat.S_ISREG(found[path].st_mode):
            wrong.append(f"{folder.name}/{path} is no regular file")
        elif found[path].st_size > LARGEST_FILE:
            wrong.append(f"{folder.name}/{path} has {found[path].st_size} bytes, at most {LARGEST_FILE} are read")
        elif (digest := sha256_of(folder / path)) != declared[path]:
            wrong.append(f"{folder.name}/{path} has the hash {digest[:12]}..., declared is {declared[path][:12]}...")
    return wrong if len(wrong) <= TOLD else [*wrong[:TOLD], f"{folder.name}: {len(wrong) - TOLD} more of this kind"]


def _too_much(sizes: Mapping[str, int]) -> Iterator[str]:
    source, everything = sum(size for path, size in sizes.items() if path.startswith(SOURCE)), sum(sizes.values())
    if source > LARGEST_SOURCE:
        yield f"the entry's source has {source} bytes, at most {LARGEST_SOURCE} may travel"
    if everything > LARGEST_SUM:
        yield f"all files together have {everything} bytes, at most {LARGEST_SUM} may travel"


def read(declared: Mapping[str, str], folder: Path) -> dict[str, bytes]:
    """The content of files that `check` found nothing wrong with."""
    contents = {}
    for path in declared:
        with open_regular(folder / path) as file:
            contents[path] = file.read(LARGEST_FILE + 1)
    return contents


def keep(files: Mapping[str, bytes], declared: Mapping[str, str], folder: Path) -> list[str]:
    """Write the files into a folder that appears whole, with `.unfinished` in it; return what is wrong there now.

    A folder that is there already is not touched: it is right if it holds the same. Raises OSError.
    """
    if not os.path.lexists(folder):
        beside = temporary_beside(folder)
        try:
            for path, content in {**files, UNFINISHED: b""}.items():
                (beside / path).parent.mkdir(parents=True, exist_ok=True)
                write_durably(beside / path, content)
            for place, _, _ in os.walk(beside):
                sync_folder(Path(place))
            try:
                os.rename(beside, folder)
            except OSError:
                if not os.path.lexists(folder):  # else another writer of the same was quicker
                    raise
        finally:
            discard(beside)
    return check(declared, folder)


def finish(folder: Path) -> None:
    """The submission of this folder is there."""
    (folder / UNFINISHED).unlink(missing_ok=True)


def tidy(folder: Path, is_abandoned: Callable[[Path], bool] = is_stale) -> None:
    """Finish a folder whose submission is there; remove one whose writer has given up or was killed before it was."""
    marker = folder / UNFINISHED
    with suppress(FileNotFoundError):  # another process was quicker
        if folder.is_symlink() or not marker.exists():
            return
        if folder.with_suffix(".json").exists():
            finish(folder)
        elif is_abandoned(marker):
            doomed = temporary_beside(folder)
            os.rename(folder, doomed)  # never half a folder under its name
            discard(doomed)


def tidy_all(parent: Path) -> None:
    """`tidy` for every folder of travelling files in a folder."""
    for name in os.listdir(parent):
        if name.endswith(SUFFIX):
            tidy(parent / name)


def sha256_of(path: Path) -> str:
    """The hash of a file that may be large."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. A link is not followed, a pipe or device never waited for: OSError."""
    if path.is_symlink():
        raise OSError("a symbolic link, which is not followed: copy the file itself")
    return open(path, "rb", opener=_open_regular)


def _open_regular(name: str, flags: int) -> int:
    handle = os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("not a regular file")
    return handle


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """(relative path, status) of everything below a folder that is not a folder itself; links are not followed."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False) and len(prefix) < DEEPEST:
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")
        elif prefix or entry.name != UNFINISHED:
            yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
