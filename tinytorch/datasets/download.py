"""Where a published file is: placed by the user, in the cache, or at one of its addresses.

Its digest is taken each time: 0.15 s for the largest, CIFAR-10, and no record of sizes and times could be as sure.
Left out: what is in it; a data set reads its own files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tinytorch.datasets.mirrors import download, part_of, reason

VARIABLE = "TINYTORCH_DATA"


class DataError(OSError):
    """A data file that is not to be had, or is damaged or another one than meant."""


class Published(NamedTuple):
    """A file as its publisher gives it out: where it lies below a data folder, and where in the world."""

    file: str
    urls: tuple[str, ...]  # the publisher's own, or what is left of it, then a mirror
    size: int  # bytes
    digest: str  # "sha256:..." or "md5:..."
    others: tuple[str, ...] = ()  # where else, and in what other form, a user may have it


class Found(NamedTuple):
    """A file that is here, its digest, and whether that is the published one."""

    path: Path
    digest: str
    published: bool


def told(found: Sequence[Found]) -> str:
    """What was found, for a report: which files are not the published ones, and what their digests are."""
    others = [f"{here.path.name}, {here.digest}, not the published file" for here in found if not here.published]
    count = len(found) - len(others)
    same = f"{count} files as published" if len(found) > 1 else f"{found[0].path.name} as published"
    return "; ".join([*others, same] if count else others)


def fetch(
    name: str,
    files: Sequence[Published],
    root: str | os.PathLike | None = None,
    *,
    placed_may_differ: bool = False,
    instead: str = "",
) -> list[Found]:
    """The published files of a data set, downloaded if need be.

    Each is looked for below `root`, below the folder in the environment variable TINYTORCH_DATA, and in the user's
    cache. A file that the user placed in one of the first two is never replaced: with another digest it is a DataError,
    unless `placed_may_differ`, when the caller looks at what is in it. A download goes to `root`, otherwise to the
    cache, and is there whole or not at all; several processes may do it at once, and one that was interrupted goes on
    where it ended. `instead` says what can be done without the data.
    """
    found = {file: find(file, root) for file in files}
    for file, here in found.items():
        if here and not here.published and not placed_may_differ:
            raise DataError(
                f"{name}: {here.path} has {here.digest}, the published file has {file.digest}: it is damaged or "
                f"another one; delete it, or replace it by {file.urls[0]}"
            )
    missing = [file for file, here in found.items() if here is None]
    folder = cache() if root is None else Path(root)
    for i, file in enumerate(missing):
        target = folder / file.file
        try:
            download(file.urls, file.size, file.digest, target)
        except OSError as error:
            raise DataError(not_to_be_had(name, missing[i:], root, target, error, instead)) from None
        found[file] = Found(target, file.digest, True)
    return [here for here in found.values() if here]


def not_to_be_had(
    name: str, missing: Sequence[Published], root: str | os.PathLike | None, target: Path, error: OSError, instead: str
) -> str:
    names, it = ", no ".join(file.file for file in missing), "it" if len(missing) == 1 else "them"
    part = part_of(target)
    return (
        f"{name}: there is no {names} in {', '.join(map(str, (*placed_folders(root), cache())))}; "
        f"{target.name} could not be downloaded: {reason(error)}. "
        + (f"What came is kept in {part}, and the next attempt continues it. " if part.is_file() else "")
        + f"Run `python -m tinytorch.datasets get {name}` with a network, or put {it} into {target.parent}, or set "
        f"{VARIABLE} to a folder that holds {it}" + (f"; {instead}" if instead else "")
    )


# -- what is here ------------------------------------------------------------------------------------------------------


def find(file: Published, root: str | os.PathLike | None = None) -> Found | None:
    """A file that the user placed, or the published one in the cache; None where there is neither."""
    for folder in placed_folders(root):
        for place in (file.file, *file.others):
            if (path := folder / place).exists():
                digest = digest_of(path, algorithm(file))
                return Found(path, digest, digest == file.digest)
    path = cache() / file.file
    if path.is_file() and digest_of(path, algorithm(file)) == file.digest:
        return Found(path, file.digest, True)
    return None


def placed_folders(root: str | os.PathLike | None) -> list[Path]:
    return [Path(folder) for folder in (root, os.environ.get(VARIABLE)) if folder]


def cache() -> Path:
    """The user's cache folder; it need not be there."""
    import pooch

    return Path(pooch.os_cache("tinytorch"))


def algorithm(file: Published) -> str:
    return file.digest.partition(":")[0]


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """`algorithm` and the digest of a file; of a folder, the digest over the names and digests of the files in it."""
    try:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file())
            return digest_over((f"{p.name} {digest_of(p, algorithm)}" for p in inside), algorithm)
        with path.open("rb") as file:
            return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; see who may read it") from None


def digest_over(lines: Iterable[str], algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, chr(10).join(lines).encode()).hexdigest()}"
