"""Compiling kernels before they are needed, on all cores: some here, the others in processes that are told names.

A process compiles on one core; a second one halves the time of a first start (50 s became 27 s). What it compiled is
loaded from the disk cache. Left out: how one kernel is compiled (`machine.py`), where its code is kept (`cache.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter

from kernels import cache, machine, registry

# A helping process first starts Python and imports Numba, which takes as long as two kernels.
WORTH_A_PROCESS = 4
MOST_PROCESSES = 8
SERVE = "from kernels import ahead; ahead.serve()"

Progress = Callable[[str, float], None]


def compile_kernels(names: Iterable[str] | None = None, progress: Progress | None = None) -> float:
    """Compile (or load) the loop and the kernels named, all by default; returns the seconds it took.

    Calls `progress(name, seconds)` after each. Raises KeyError for an unknown name, listing the known ones.
    """
    registry.known()  # imports all kernels
    wanted = list(machine.KERNELS if names is None else names)
    unknown = [name for name in wanted if name not in machine.KERNELS]
    if unknown:
        raise KeyError(f"compile_kernels: unknown kernels {unknown}; known: {', '.join(machine.KERNELS)}")
    start = perf_counter()
    told: set[str] = set()

    def tell(name: str, seconds: float) -> None:
        told.add(name)
        if progress is not None:
            progress(name, seconds)

    waiting = deque(name for name in wanted if not cache.holds(name))
    helpers = [Helper(waiting, tell) for _ in range(min(cores() - 1, MOST_PROCESSES, len(waiting) // WORTH_A_PROCESS))]
    with machine.quiet():
        timed(machine.loop, "execute", tell)
        while waiting:
            name = waiting.popleft()
            timed(machine.KERNELS[name].compile, name, tell)
        for helper in helpers:
            helper.join()
        for name in wanted:  # what is on disk now, and what a helper was given and failed to do
            timed(machine.KERNELS[name].compile, name, tell if name not in told else untold)
    return perf_counter() - start


def is_cached(names: Iterable[str] | None = None) -> bool:
    """Whether `compile_kernels(names)` would find all code on disk."""
    registry.known()
    return all(cache.holds(name) for name in ("execute", *(machine.KERNELS if names is None else names)))


def timed(work: Callable[[], object], name: str, tell: Progress) -> None:
    start = perf_counter()
    work()
    tell(name, perf_counter() - start)


def untold(name: str, seconds: float) -> None:
    pass


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Helper(threading.Thread):
    """Hands names to a process of its own, one at a time, the last first, until none is left or the process fails."""

    def __init__(self, waiting: deque[str], tell: Progress) -> None:
        super().__init__(daemon=True)
        self.waiting, self.tell = waiting, tell
        self.start()

    def run(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
        command, pipe = [sys.executable, "-c", SERVE], subprocess.PIPE
        with subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            while self.waiting:
                try:
                    name = self.waiting.pop()
                    print(name, file=process.stdin, flush=True)
                    answer = process.stdout.readline().split()
                except (IndexError, OSError):  # nothing left; the process ended
                    break
                if not answer:
                    break
                self.tell(name, float(answer[1]))


def serve() -> None:
    """Compile the kernels whose names come in, a line each, and say so."""
    registry.known()
    with machine.quiet():
        for line in sys.stdin:
            timed(machine.KERNELS[line.strip()].compile, line.strip(), lambda *done: print(*done, flush=True))
