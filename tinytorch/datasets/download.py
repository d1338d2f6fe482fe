"""Where a published file is: placed by the user, in the cache, or at its address. Its digest is checked each time.

Left out: what is in it; a data set reads its own files.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

VARIABLE = "TINYTORCH_DATA"
TIMEOUT_S = 30


class DataError(OSError):
    """A data file that is not to be had, or is damaged or another one than meant."""


def fetch(
    name: str,
    file: str,
    url: str,
    sha256: str,
    root: str | os.PathLike | None = None,
    *,
    placed_may_differ: bool = False,
    instead: str = "",
) -> Path:
    """The path of a published file, such as `tinyshakespeare/input.txt`, downloaded if need be.

    It is looked for below `root`, below the folder in the environment variable TINYTORCH_DATA, and in the user's cache.
    A file that the user placed in one of the first two is never replaced: with another digest it is a DataError, unless
    `placed_may_differ`, when the caller looks at what is in it. A download goes to `root`, otherwise to the cache, and
    is there whole or not at all; several processes may do it at once. `instead` says what can be done without the file.
    """
    folders = [Path(folder) for folder in (root, os.environ.get(VARIABLE)) if folder]
    for path in (folder / file for folder in folders):
        if path.is_file():
            if not placed_may_differ and (found := digest_of(path)) != sha256:
                raise DataError(
                    f"{name}: {path} has sha256 {found}, the published file has {sha256}: it is damaged or another "
                    f"one; delete it, or replace it by {url}"
                )
            return path
    target = (cache() if root is None else Path(root)) / file
    if (cache() / file).is_file() and digest_of(cache() / file) == sha256:
        return cache() / file
    try:
        download(url, sha256, target)
    except (OSError, ValueError) as error:
        looked = ", ".join(str(folder) for folder in (*folders, cache()))
        raise DataError(
            f"{name}: there is no {file} in {looked}, and {url} could not be downloaded: {reason(error)}. Download it "
            f"elsewhere and put it at {target}, or set {VARIABLE} to a folder that holds {file}"
            + (f"; {instead}" if instead else "")
        ) from None
    return target


def download(url: str, sha256: str, target: Path) -> None:
    """Fetch a file with a progress bar, check it, and only then let it appear at `target`."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # the bar says enough
    try:
        bar = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT_S)
        pooch.retrieve(url, f"sha256:{sha256}", target.name, target.parent, downloader=bar)
    finally:
        logger.setLevel(level)


def reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "its sha256 is not the published one, so it was damaged on the way or changed there"


def cache() -> Path:
    """The user's cache folder; it need not be there."""
    import pooch

    return Path(pooch.os_cache("tinytorch"))


def digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; see who may read it") from None
