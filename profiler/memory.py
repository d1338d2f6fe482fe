"""The true peak of allocated memory in a window of time, with the resident set of the process beside it.

What is counted is what `tracemalloc` sees. Measured with arrays of 8 MB: every array of NumPy, in full when it is asked
for, whether its pages are touched or not; the scratch of kernels; what compiled code allocates for itself (Numba's
runtime takes it from Python's allocator). Not seen, and only part of the resident set: OpenBLAS's buffers (4 MB
from the first large product on), work space inside SciPy's C code, stacks of threads, compiled code.

Tracing makes every allocation slower, so a window is not to be timed. Left out: which op held the memory
(`timeline.py`), and what it was for (`holdings.py`).
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import psutil

PROCESS = Path("/proc/self")  # Linux: the kernel keeps a highest resident set, which can be started anew

_open: list[peak_memory] = []  # windows may lie inside each other; Python keeps only one peak, so they share it


class peak_memory:
    """Measures the block it surrounds; read the figures after it.

    >>> with peak_memory() as memory:
    ...     work()
    >>> memory.peak_bytes, memory.peak_resident_bytes, memory.resident_bytes

    `peak_bytes`: the most that was allocated at one moment beyond what was there when the block began.
    `resident_bytes`: physical memory of the whole process at the end of the block, interpreter and libraries included.
    `peak_resident_bytes`: the most of it at one moment of the block; None where the system cannot tell (not Linux). It
    may exceed what was live by all that the C library keeps after it was freed.
    """

    peak_bytes: int = 0
    resident_bytes: int = 0
    peak_resident_bytes: int | None = None

    def __enter__(self) -> peak_memory:
        self.started_tracing = not tracemalloc.is_tracing()
        if self.started_tracing:
            tracemalloc.start(1)
        settle_peaks()
        self.peak_resident_bytes = 0 if settle_resident_peaks() else None
        self.before_bytes = tracemalloc.get_traced_memory()[0]
        _open.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        settle_peaks()
        settle_resident_peaks()
        _open.remove(self)
        self.resident_bytes = psutil.Process().memory_info().rss
        if self.started_tracing:
            tracemalloc.stop()


def settle_peaks() -> None:
    """Give every open window the peak seen up to now, and start a new peak."""
    peak_bytes = tracemalloc.get_traced_memory()[1]
    for window in _open:
        window.peak_bytes = max(window.peak_bytes, peak_bytes - window.before_bytes)
    tracemalloc.reset_peak()


def settle_resident_peaks() -> bool:
    """The same for the resident set; whether Linux tells it and lets it start anew (proc(5), clear_refs)."""
    try:
        if _open:
            status = (PROCESS / "status").read_text().splitlines()
            peak_bytes = 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
            for window in _open:
                if window.peak_resident_bytes is not None:
                    window.peak_resident_bytes = max(window.peak_resident_bytes, peak_bytes)
        (PROCESS / "clear_refs").write_text("5")
    except (OSError, StopIteration):
        return False
    return True
