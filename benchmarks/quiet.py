"""How much of the machine others use while we measure: somebody else on the second core ruins what needs two.

Left out: what the host of a virtual machine does, beyond what the system counts as steal.
"""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from profiler import samples


class Watch:
    """Measures the CPU time of everybody else between laps; the system counts it in ticks of 10 ms."""

    def __init__(self, processes: Sequence[int]) -> None:
        self.processes = [psutil.Process(), *map(psutil.Process, processes)]
        self.last = self.now()

    def now(self) -> tuple[float, float]:
        """CPU seconds that others have used so far, and the time."""
        times = psutil.cpu_times()
        counted_twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # in user and nice as well
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - counted_twice
        return busy - sum(sum(process.cpu_times()[:2]) for process in self.processes), samples.now_ns() / 1e9

    def lap(self) -> float:
        """Cores that others have kept busy since the last lap, on average: 0.5 is half of one."""
        (used, start), self.last = self.last, self.now()
        return max(0.0, self.last[0] - used) / (self.last[1] - start)
