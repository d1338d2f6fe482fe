"""The true peak of allocated memory in a window of time, with the resident set of the process beside it.

`tracemalloc` sees what Python, NumPy and Numba allocate and slows allocation down, so a window is not to be timed.
Left out: which op or layer held the memory.
"""

from __future__ import annotations

import tracemalloc

import psutil

_open: list[peak_memory] = []  # windows may lie inside each other; Python keeps only one peak, so they share it


class peak_memory:
    """Measures the block it surrounds; read the figures after it.

    >>> with peak_memory() as memory:
    ...     work()
    >>> memory.peak_bytes, memory.resident_bytes

    `peak_bytes`: the most that was allocated at one moment beyond what was there when the block began.
    `resident_bytes`: physical memory of the whole process at the end of the block, interpreter and libraries included.
    """

    peak_bytes: int = 0
    resident_bytes: int = 0

    def __enter__(self) -> peak_memory:
        self.started_tracing = not tracemalloc.is_tracing()
        if self.started_tracing:
            tracemalloc.start(1)
        settle_peaks()
        self.before_bytes = tracemalloc.get_traced_memory()[0]
        _open.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        settle_peaks()
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
