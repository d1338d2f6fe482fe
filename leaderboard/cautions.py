"""Warnings: what a reader should know about a submission that stays valid. One function per code, as in `gates`.

Those about the machine need no submission, so `python -m mlperf doctor` says the same before a run.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Protocol

from leaderboard.derive import worker_medians
from leaderboard.measured import Env
from leaderboard.rules import Finding, Rule
from leaderboard.schema import Measured

WIDE_HALF_WIDTH = 0.05
KNOWABLE = ("cpu_model", "physical_cores", "affinity_n", "governor", "turbo", "on_mains", "load_1m", "virtualised")


class Machine(Protocol):
    """What the cautions about the machine look at: the environment, and how many threads are to run in it."""

    @property
    def env(self) -> Env: ...

    @property
    def threads(self) -> int: ...


def trend(measured: Measured) -> Finding | None:
    """The workers' medians only rise or only fall: a warming machine, or (once in 60 for five workers) luck."""
    medians = worker_medians(measured)
    steps = [later - earlier for earlier, later in pairwise(medians)]
    if len(medians) < 5 or not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        return None
    direction = "rising" if steps[0] > 0 else "falling"
    return Finding(direction, "worker medians that go up and down", "let the machine cool and measure again")


def wide_ci(measured: Measured) -> Finding | None:
    """Half the distance from ratio_lo to ratio_hi exceeds 5 % of the ratio."""
    medians = worker_medians(measured)
    half_width = (math.exp(max(medians)) - math.exp(min(medians))) / (2 * math.exp(median(medians)))
    if half_width <= WIDE_HALF_WIDTH:
        return None
    hint = "quieten the machine: the score is the lower bound"
    return Finding(half_width, f"<= {WIDE_HALF_WIDTH} of the ratio", hint)


def on_battery(machine: Machine) -> Finding | None:
    """The machine ran on battery, where clocks are lowered."""
    return Finding("battery", "mains", "plug the machine in") if machine.env.on_mains is False else None


def governor(machine: Machine) -> Finding | None:
    """The frequency governor lets the clock wander."""
    name = machine.env.governor
    return None if name in (None, "performance") else Finding(name, "performance", "choose the performance governor")


def turbo(machine: Machine) -> Finding | None:
    """Turbo clocks depend on temperature; the paired ratio suffers less than the latencies."""
    return Finding("on", "off", "compare ratios, not latencies") if machine.env.turbo else None


def load(machine: Machine) -> Finding | None:
    """The load before the run and the run's own threads together exceed the CPUs."""
    before, cpus = machine.env.load_1m, machine.env.affinity_n
    if before is None or cpus is None or before + machine.threads <= cpus:
        return None
    return Finding(before, f"<= {cpus - machine.threads} before the run", "close other programs")


def cpu_quota(machine: Machine) -> Finding | None:
    """The container may use fewer CPUs than it sees and is halted when it exceeds them."""
    quota, cpus = machine.env.cgroup_quota, machine.env.affinity_n
    if quota is None or cpus is None or quota >= cpus:
        return None
    return Finding(quota, f">= {cpus} CPUs", "lift the container's CPU limit")


def virtualised(machine: Machine) -> Finding | None:
    """A virtual machine shares its host with others."""
    return Finding("virtual machine", "real hardware", "trust ratios only") if machine.env.virtualised else None


def unknown_env(machine: Machine) -> Finding | None:
    """What the system did not tell about itself."""
    unknown = [name for name in KNOWABLE if getattr(machine.env, name) is None]
    return Finding(", ".join(unknown), "known", "nothing to do if the system hides it") if unknown else None


OF_THE_MACHINE: tuple[Callable[[Machine], Finding | None], ...] = (
    on_battery,
    governor,
    turbo,
    load,
    cpu_quota,
    virtualised,
    unknown_env,
)
CAUTIONS: tuple[Rule, ...] = (trend, wide_ci, *OF_THE_MACHINE)
