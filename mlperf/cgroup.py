"""How many CPUs a container lets its processes use: the quota of control groups, of version 2 and of version 1.

A group's quota holds for all groups within it, so the smallest on the way up is the one that counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from profiler.machine import read

MOUNTED = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")


def cpu_quota() -> float | None:
    """CPUs that this process may keep busy; None where there is no limit, or no control groups to ask."""
    return min(_quotas(), default=None)


def is_told() -> bool:
    """Does the system say in which groups this process is, or have none?"""
    return read(MINE) is not None or not sys.platform.startswith("linux")


def _quotas() -> Iterator[float]:
    for line in (read(MINE) or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for mount in (MOUNTED, MOUNTED / "unified"):  # alone, or beside version 1
                yield from (quota for folder in _upwards(mount, path) if (quota := _version_2(folder)))
        elif "cpu" in controllers.split(","):
            for mount in (MOUNTED / controllers, MOUNTED / "cpu"):
                yield from (quota for folder in _upwards(mount, path) if (quota := _version_1(folder)))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The folders of a group and of all those it is in. Within a container they may all be shown as the mount."""
    here = PurePosixPath(path.lstrip("/"))
    for group in (here, *here.parents):
        yield mount / group


def _version_2(folder: Path) -> float | None:
    quota, _, period = (read(folder / "cpu.max") or "max").partition(" ")
    return _cpus(quota, period or "100000")


def _version_1(folder: Path) -> float | None:
    return _cpus(read(folder / "cpu.cfs_quota_us") or "", read(folder / "cpu.cfs_period_us") or "")


def _cpus(quota: str, period: str) -> float | None:
    """Microseconds of CPU in each period of so many; None for "max", -1 and whatever is no number."""
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):
        return None
    return int(quota) / int(period)
