"""What was proven before, kept in the user's cache folder so that it need not be proven again.

It is keyed by the SHA-256 of a file's bytes, and belongs to exactly this code: it says "these bytes, judged by these
rules, come to this". So every file is still read whole, and neither its name nor its time is believed. A cache that
is damaged, of other code, somebody else's or unwritable is as good as none: everything is proven anew.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pydantic
from pydantic import TypeAdapter

from leaderboard.atomic import remove_stale, write_atomically
from leaderboard.proof import Faults, prove
from leaderboard.standing import Standing
from leaderboard.travelling import open_regular

LARGEST_CACHE = 2**28  # bytes; a row has about 900


class Proven(NamedTuple):
    """What some bytes come to: a row, or None and every (code, reason) against them."""

    row: Standing | None
    faults: Faults


KNOWN = TypeAdapter(dict[str, Proven])


def proven(data: bytes) -> Proven:
    """Prove the bytes of a file, now."""
    submission, faults = prove(data)
    return Proven(None if submission is None else Standing.of(submission), faults)


def recall(directory: Path) -> dict[str, Proven]:
    """What was kept for a directory, by the SHA-256 of the bytes; nothing where the least thing is amiss."""
    try:
        with open_regular(_place(directory)) as file:
            code, digest, body = file.read(LARGEST_CACHE).split(b"\n", 2)
            if not _is_mine(os.fstat(file.fileno())) or code.decode() != code_version():
                return {}
        if digest.decode() != hashlib.sha256(body).hexdigest():
            return {}
        return KNOWN.validate_json(body)
    except (OSError, ValueError):
        return {}


def remember(directory: Path, known: Mapping[str, Proven]) -> None:
    """Keep what was proven, in place of what was kept before; where that cannot be done, it is not."""
    place = _place(directory)
    with suppress(OSError, ValueError):
        body = KNOWN.dump_json(dict(known))
        head = f"{code_version()}\n{hashlib.sha256(body).hexdigest()}\n"
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_stale(place.parent)
        write_atomically(place, head.encode() + body)


@cache
def code_version() -> str:
    """A hash of everything that a proof depends on beside the file: this package, the schema's engine, Python."""
    digest = hashlib.sha256(f"{sys.version} {pydantic.VERSION}".encode())
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"\n{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _place(directory: Path) -> Path:
    name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:24]
    return cache_folder() / f"{name}.proven"


def cache_folder() -> Path:
    """Where this package may keep what can be made again at any time, by the system's custom."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tinytorch" / "leaderboard"


def _is_mine(status: os.stat_result) -> bool:
    """Nobody else can have written it."""
    return os.name == "nt" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)
