"""Which machine this is: the model of its CPU and the sizes of its caches, as the system tells them, never guessed."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPU_INFO, CPU_FOLDER = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def read(path: Path) -> str | None:
    """A system file's text, None where there is none to read."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def cpu_info() -> dict[str, str]:
    """The first processor's entry in /proc/cpuinfo."""
    lines = (read(CPU_INFO) or "").split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def cpu_model() -> str | None:
    """The CPU's name, None where the system does not tell it."""
    return cpu_info().get("model name") or platform.processor() or None


def caches(threads: int = 1) -> tuple[tuple[str, int], ...]:
    """("L1", bytes), ("L2", bytes), ... for data, the nearest first; () where the system does not tell.

    The bytes are those that `threads` threads on different cores have together: what each core has for itself counts
    once for each, what several share once for these.
    """
    found: dict[str, int] = {}
    for folder in sorted((CPU_FOLDER / "cpu0/cache").glob("index*")):
        level, kind, size = (read(folder / name) for name in ("level", "type", "size"))
        if level and size and kind in ("Data", "Unified"):
            instances = max(1, (os.cpu_count() or 1) // count(read(folder / "shared_cpu_list") or "0"))
            found[f"L{level}"] = nbytes(size) * min(threads, instances)
    return tuple(sorted(found.items()))


def nbytes(size: str) -> int:
    """`32K` is 32,768."""
    return int(size[:-1]) * UNITS[size[-1]] if size[-1] in UNITS else int(size)


def count(cpus: str) -> int:
    """How many CPUs a list such as `0-3,8` names."""
    ranges = (part.partition("-") for part in cpus.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
