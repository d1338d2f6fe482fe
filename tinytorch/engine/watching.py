"""Watching compiled programs: while somebody does, plans and captured steps run with a clock read between their steps.

When nobody watches, nothing of this is in the way: small plans, of whose microsecond one more look-up would show, have
a quick way that is closed while somebody watches. Left out: ops called one by one (`dispatch.watch`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol
from weakref import WeakSet

import numpy as np

from tinytorch.engine.notes import Lowered, Note


class Ran(NamedTuple):
    """What a watcher is told about one run of a program.

    `notes`, one for each step, are the same object every time. `marks_ns` (steps + 1) int64, on the clock of
    `time.perf_counter_ns`: before the first step and after each. `mark_ns`: what a mark costs, which each step's time
    contains. `threads`: the most that it might use.
    """

    notes: tuple[Note, ...]
    marks_ns: np.ndarray
    mark_ns: float
    threads: int

    @property
    def spans_ns(self) -> tuple[np.ndarray, np.ndarray]:
        """When each step began and ended, int64, the cost of the mark taken off its end."""
        begins = self.marks_ns[:-1]
        return begins, np.maximum(begins, self.marks_ns[1:] - round(self.mark_ns))


class Quick(Protocol):
    """What has a way to run that cannot be watched."""

    def open_quick_way(self, is_open: bool) -> None: ...


Watcher = Callable[[Ran], None]
watchers: list[Watcher] = []
_quick: WeakSet[Quick] = WeakSet()
_lock = threading.Lock()


@contextmanager
def watch_plans(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of every run of a plan or captured step inside the block, in any thread, after it has run."""
    with _lock:
        watchers.append(watcher)
        for plan in list(_quick):
            plan.open_quick_way(False)
    try:
        yield
    finally:
        with _lock:
            watchers.remove(watcher)
            for plan in list(_quick):
                plan.open_quick_way(not watchers)


def add_quick(plan: Quick) -> None:
    """From now on open and close the quick way of this plan."""
    with _lock:
        _quick.add(plan)
        plan.open_quick_way(not watchers)


def run_watched(lowered: Lowered, rows: int, count: int, width: int, threads: int) -> None:
    """As `loop.execute` does, and tell the watchers."""
    from kernels import machine

    timed = machine.timed_loop()
    marks = np.empty(count + 1, np.int64)
    timed.execute(rows, count, width, threads, marks.ctypes.data)
    ran = Ran(lowered.notes, timed.in_ns(marks), timed.mark_ns(), threads)
    for watcher in tuple(watchers):
        watcher(ran)
