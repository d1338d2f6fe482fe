"""Proving many files in several processes: `python -m leaderboard.crew` proves those named on its standard input.

They are fresh processes and not forks, so it matters not what threads the caller has. One that dies is missed by
nobody: what it left undone, the caller does.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter

from leaderboard.proof import read, unreadable
from leaderboard.proven import Proven, proven
from leaderboard.store import uncollected

LEAST = 400  # files; fewer are proven before another process has started
MOST = 8  # processes
LINE = TypeAdapter(tuple[int, str, Proven])


def prove_many(paths: Sequence[Path], progress: Callable[[], object]) -> dict[Path, tuple[str, Proven]]:
    """(SHA-256 of the bytes, what they come to) of each file, the hash empty if it cannot be read."""
    done: dict[Path, tuple[str, Proven]] = {}
    crew = min(MOST, cpus()) if len(paths) >= LEAST else 1
    if crew > 1:

        def employ(share: Sequence[Path]) -> None:
            with suppress(OSError, ValueError, LookupError):
                _employ(share, done, progress)

        with ThreadPoolExecutor(crew) as pool:
            list(pool.map(employ, [paths[place::crew] for place in range(crew)]))
    for path in paths:
        if path not in done:
            done[path] = _prove(path)
            progress()
    return done


def _prove(path: Path) -> tuple[str, Proven]:
    try:
        data = read(path)
    except OSError as error:
        return "", Proven(None, [unreadable(error)])
    return sha256(data).hexdigest(), proven(data)


def _employ(share: Sequence[Path], done: dict[Path, tuple[str, Proven]], progress: Callable[[], object]) -> None:
    package = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    worker = subprocess.Popen(
        [sys.executable, "-m", "leaderboard.crew"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )
    with worker:
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps([str(path.absolute()) for path in share]).encode())
        worker.stdin.close()
        for line in worker.stdout:
            place, digest, what = LINE.validate_json(line)
            done[share[place]] = digest, what
            progress()


def cpus() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Prove the files of a JSON list on stdin; a line for each: its place, its SHA-256, what it comes to."""
    for place, path in enumerate(json.load(sys.stdin.buffer)):
        with suppress(ValueError):  # words that are no Unicode: whoever asked proves that one
            os.write(1, LINE.dump_json((place, *_prove(Path(path)))) + b"\n")


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt), uncollected():
        main()
