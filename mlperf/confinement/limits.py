"""What a worker that runs foreign code may use, and who watches over it.

Some limits the system keeps (`rlimits`), set by `keeper.py` before the worker begins: the size of a file, open files,
no core dumps, and the memory a single process may ask for. That one counts what can be written (RLIMIT_DATA) and not
all addresses (RLIMIT_AS): compiled code, BLAS and threads reserve gigabytes that they never touch. The rest a
`Watchdog` counts from outside, over all processes below the worker: time, memory in use, processes (the system's own
limit counts a whole user's and does not bind root), output and the private folder.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from mlperf.confinement import tree
from profiler.samples import stopwatch

MB = 1 << 20
INTERVAL = 0.05  # seconds between two looks
FOLDER_EVERY = 5  # looks between two at the folder, which take longer
MEMORY_SLACK = 512 * MB  # what a process may ask for beyond what all may use: reserved, mostly never touched
OPEN_FILES = 512


@dataclass(frozen=True)
class Limits:
    """The most that a worker and all it starts may use together; None is no limit. `file_bytes` is for each file.

    `memory_bytes` is memory in use, `folder_bytes` all files in its private folder and deleted ones that it holds open,
    `output_bytes` its reports and, as many again, what it prints; `processes` counts the worker too.
    """

    seconds: float
    memory_bytes: int | None = None
    file_bytes: int | None = None
    folder_bytes: int | None = None
    output_bytes: int | None = None
    reports: int | None = None
    processes: int | None = None

    @property
    def rlimits(self) -> dict[str, int]:
        """What the system keeps for each process, by the names of the module `resource`."""
        found = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": OPEN_FILES}
        if self.file_bytes is not None:
            found["RLIMIT_FSIZE"] = self.file_bytes
        if self.memory_bytes is not None:
            found["RLIMIT_DATA"] = self.memory_bytes + MEMORY_SLACK
        return found


OURS = Limits(seconds=3600)  # workers that run no foreign code: only so that nothing waits for ever
ENTRY = Limits(
    seconds=600, memory_bytes=2048 * MB, file_bytes=256 * MB, folder_bytes=512 * MB, output_bytes=64 * MB,
    reports=100_000, processes=64,
)  # fmt: skip


class Reached(NamedTuple):
    """A limit that was reached: its name, what is allowed and what was used, in its own unit."""

    limit: str
    allowed: float
    used: float


class Watchdog:
    """Looks at a worker's processes until told to stop, and kills them all when they reach a limit.

    `root` is the process below which all of them are, `helpers` how many of those are ours; `printed` is the file that
    takes what they print.
    """

    def __init__(self, root: int, limits: Limits, printed: IO[bytes], folder: Path | None, helpers: int) -> None:
        self.reached: Reached | None = None
        self.root, self.limits, self.printed, self.folder, self.helpers = root, limits, printed, folder, helpers
        self.seen: dict[int, str | None] = {}
        self._age = stopwatch()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._age.start()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.reached is None and not self._only_time:  # what it did since the last look counts too
            self.reached = self._look(also_folder=True)
        self.end()

    @property
    def _only_time(self) -> bool:
        return self.limits == Limits(self.limits.seconds)

    def end(self) -> None:
        """Kill all that is below the root, and what was seen there and has got away."""
        tree.end_below(self.root)
        tree.kill([pid for pid, born in self.seen.items() if born is not None and tree.born(pid) == born])

    def _watch(self) -> None:
        looks = 0
        while not self._stop.wait(
            max(INTERVAL, self.limits.seconds - self._age.seconds) if self._only_time else INTERVAL
        ):
            looks += 1
            self.reached = self._look(looks % FOLDER_EVERY == 0)
            if self.reached is not None:
                self.end()
                tree.kill([self.root])
                return

    def _look(self, also_folder: bool) -> Reached | None:
        """The first limit that is reached now."""
        below = tree.descendants(self.root)
        self.seen |= {pid: tree.born(pid) for pid in below if pid not in self.seen}
        allowed, of = self.limits, [self.root, *below]
        if self._age.seconds >= allowed.seconds:
            return Reached("seconds", allowed.seconds, self._age.seconds)
        if allowed.processes is not None and len(of) - self.helpers > allowed.processes:
            return Reached("processes", allowed.processes, len(of) - self.helpers)
        if allowed.memory_bytes is not None and tree.resident_bytes(of) > allowed.memory_bytes:
            used = tree.proportional_bytes(of)
            if used > allowed.memory_bytes:
                return Reached("memory_bytes", allowed.memory_bytes, used)
        if allowed.output_bytes is not None:
            used = os.fstat(self.printed.fileno()).st_size
            if used > allowed.output_bytes:
                return Reached("output_bytes", allowed.output_bytes, used)
        if also_folder and allowed.folder_bytes is not None and self.folder is not None:
            used = folder_bytes(self.folder) + tree.deleted_bytes(of, os.fstat(self.printed.fileno()))
            if used > allowed.folder_bytes:
                return Reached("folder_bytes", allowed.folder_bytes, used)
        return None


def folder_bytes(folder: Path) -> int:
    """What a folder takes on the disk, hidden corners too; no link is followed."""
    total, reached = 0, [str(folder)]
    while reached:
        try:
            with os.scandir(reached.pop()) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        reached.append(entry.path)
        except OSError:  # gone since, or closed to us
            continue
    return total
