"""A file from the first of its addresses that has it, by its digest: there whole or not at all.

Left out: how the bytes come (`transfer`), and whether the file is here already (`download`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from tinytorch.datasets.transfer import Unfinished, transfer
from tinytorch.files import alone


def download(urls: Sequence[str], size: int, digest: str, target: Path) -> None:
    """Bring a file of `size` bytes and this digest, "sha256:..." or "md5:...", to `target`.

    OSError says of each address why not. Processes that want files of one folder take turns, and one that waited finds
    what the others brought.
    """
    import requests

    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    with alone(target.parent):
        for url in urls:
            begun = part_of(target).exists()
            try:
                try:
                    return retrieve(url, size, digest, target)
                except ValueError:
                    if not begun:
                        raise
                    return retrieve(url, size, digest, target)  # its beginning may be what was wrong, and is gone
            except (requests.RequestException, Unfinished, ValueError) as error:
                failures.append(f"{url}: {reason(error)}")
    raise OSError(None, "; ".join(failures))


def retrieve(url: str, size: int, digest: str, target: Path) -> None:
    """Bring the file from one address, check its digest, and only then let it appear at `target`.

    ValueError if the digest is another one; nothing of the file is kept then.
    """
    import pooch

    def downloader(url: str, output_file: str, _: object) -> None:
        transfer(url, part_of(target), size)
        os.replace(part_of(target), output_file)

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # the bar says enough
    try:
        pooch.retrieve(url, digest, target.name, target.parent, downloader=downloader)
    finally:
        logger.setLevel(level)


def part_of(target: Path) -> Path:
    """Where the beginning of a file waits for its rest."""
    return target.with_name(f"{target.name}.part")


def reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    if isinstance(error, Unfinished):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "its digest is not the published one, so it was damaged on the way or changed there"
