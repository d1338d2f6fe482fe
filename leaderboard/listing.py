"""Reading a directory for a listing: the verdicts of `store.load_all`, quickly, and a row for each submission.

Every file is read and hashed; what its bytes come to is looked up or proven, in several processes if there is much.
"""

import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from leaderboard.crew import prove_many
from leaderboard.proof import read
from leaderboard.proven import Proven, recall, remember
from leaderboard.standing import Standing
from leaderboard.store import Problem, assemble, default_directory, found_in, uncollected

LEAST = 100  # files; fewer are proven in no time and leave no trace in the cache


class Listing(NamedTuple):
    """Rows ordered by id, problems ordered by path."""

    rows: tuple[Standing, ...]
    problems: tuple[Problem, ...]


def list_all(directory: Path | str | None = None) -> Listing:
    """What a directory holds. Raises StoreError only if the directory itself cannot be read."""
    root = default_directory() if directory is None else Path(directory)
    paths = sorted(found_in(root))
    uses_cache = len(paths) >= LEAST
    with uncollected():
        known = recall(root) if uses_cache else {}
        digests = {path: _digest(path) for path in paths}
        proved = {path: known[digest] for path, digest in digests.items() if digest in known}
        for path, (digest, what) in _prove([path for path in paths if path not in proved]).items():
            digests[path], proved[path] = digest, what
        present = {digest: proved[path] for path, digest in digests.items() if digest}
        if uses_cache and present.keys() != known.keys():
            remember(root, present)
        return Listing(*assemble(root, ((path, *proved[path]) for path in paths)))


def _digest(path: Path) -> str:
    """The SHA-256 of a file's bytes; empty if it cannot be read, which whoever proves it reports."""
    try:
        return sha256(read(path)).hexdigest()
    except OSError:
        return ""


def _prove(paths: list[Path]) -> dict[Path, tuple[str, Proven]]:
    with tqdm(total=len(paths), desc="prove", unit="file", file=sys.stderr, delay=1, leave=False) as bar:
        return prove_many(paths, bar.update)
