"""What others use of the machine, with clocks that only the test advances."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import pytest

from benchmarks import quiet
from profiler import samples


class Times(NamedTuple):
    user: float
    system: float
    idle: float
    iowait: float
    steal: float
    guest: float


@pytest.fixture
def clocks(monkeypatch):
    """Machine and process clocks in seconds, as an object to set."""
    now = SimpleNamespace(wall=100.0, machine=Times(50, 5, 140, 4, 1, 0), process={None: 3.0, 7: 2.0})

    class Process:
        def __init__(self, pid=None):
            self.pid = pid

        def cpu_times(self):
            return (now.process[self.pid], 0.5, 0.0, 0.0)

    monkeypatch.setattr(samples, "now_ns", lambda: int(now.wall * 1e9))
    monkeypatch.setattr(quiet, "psutil", SimpleNamespace(Process=Process, cpu_times=lambda: now.machine))
    return now


def test_what_we_use_is_not_counted(clocks):
    watch = quiet.Watch([7])
    clocks.wall, clocks.machine = 102.0, Times(52, 5, 142, 4, 1, 0)
    clocks.process = {None: 3.5, 7: 3.5}
    assert watch.lap() == 0


def test_what_others_use_is_counted_and_steal_too_but_waiting_is_not(clocks):
    watch = quiet.Watch([7])
    clocks.wall, clocks.machine = 102.0, Times(52, 5.5, 141, 9, 1.5, 0)
    clocks.process = {None: 3.0, 7: 4.0}
    assert watch.lap() == pytest.approx(0.5)  # (2 + 0.5 + 0.5 - 2) s in 2 s
    clocks.wall = 103.0
    assert watch.lap() == 0


def test_a_guest_is_not_counted_twice(clocks):
    watch = quiet.Watch([])
    clocks.wall, clocks.machine = 101.0, Times(51, 5, 140, 4, 1, 1)  # user holds the guest's second
    assert watch.lap() == 1


def test_the_real_clocks_can_be_read():
    assert quiet.Watch([]).lap() >= 0
