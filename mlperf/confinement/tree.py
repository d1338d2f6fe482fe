"""The processes below one: who they are, what memory they hold, and how all of them are ended.

For `keeper.py`, which starts before anything is installed, the standard library alone; psutil where there is no /proc.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import sleep

PROC = Path("/proc")
SWEEPS = 400  # how often what is left is killed before it is given up, 5 ms apart
LISTED = os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")


def children(pid: int) -> list[int]:
    """Processes whose parent this one is; zombies too. Empty if it has none or is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents first."""
    if not LISTED:
        import psutil

        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return []
    found, reached = [], [pid]
    while reached:
        below = children(reached.pop())
        found += below
        reached += below
    return found


def born(pid: int) -> str | None:
    """When a process began, in the system's own unit: with its number that names it for ever. None if it has ended."""
    if not LISTED:
        import psutil

        with suppress(psutil.Error):
            return str(psutil.Process(pid).create_time())
        return None
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory of processes together: all pages that each has, so that a shared one counts for each."""
    return sum(map(_resident, pids))


def proportional_bytes(pids: Iterable[int]) -> int:
    """Memory of processes together, a shared page counted once. Slower: the system adds up each mapping."""
    return sum(map(_proportional, pids))


def _resident(pid: int) -> int:
    if not LISTED:
        import psutil

        with suppress(psutil.Error):
            return psutil.Process(pid).memory_info().rss
        return 0
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # not ours to look into, or no such file here
        return _resident(pid)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def deleted_bytes(pids: Iterable[int], known: os.stat_result) -> int:
    """What files take that processes hold open and that no folder names any more, but for one that is `known`: files
    deleted since, and those that never were in a folder but only in memory. Only where there is /proc.
    """
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        with suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    file = os.stat(f"/proc/{pid}/fd/{number}")
                    if stat.S_ISREG(file.st_mode) and not file.st_nlink:
                        found[file.st_dev, file.st_ino] = file.st_blocks * 512
    found.pop((known.st_dev, known.st_ino), None)
    return sum(found.values())


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to each; nothing happens to one that is gone."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def end_below(pid: int) -> None:
    """Kill all processes below this one, again and again until none is left that could start another."""
    for _ in range(SWEEPS):
        left = [below for below in descendants(pid) if born(below) is not None]
        if not left:
            return
        kill(left)
        sleep(0.005)
