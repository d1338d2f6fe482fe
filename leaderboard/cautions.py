"""Warnings: what a reader should know about a submission that stays valid. One function per code, as in `gates.py`.

Advice about the machine before a run is not given here.
"""

import math
from itertools import pairwise
from statistics import median

from leaderboard.derive import worker_medians
from leaderboard.gates import Finding, Rule
from leaderboard.schema import Measured

WIDE_HALF_WIDTH = 0.05
KNOWABLE = ("cpu_model", "physical_cores", "affinity_n", "governor", "turbo", "on_mains", "load_1m", "virtualised")


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


def on_battery(measured: Measured) -> Finding | None:
    """The machine ran on battery, where clocks are lowered."""
    return Finding("battery", "mains", "plug the machine in") if measured.env.on_mains is False else None


def governor(measured: Measured) -> Finding | None:
    """The frequency governor lets the clock wander."""
    name = measured.env.governor
    return None if name in (None, "performance") else Finding(name, "performance", "choose the performance governor")


def turbo(measured: Measured) -> Finding | None:
    """Turbo clocks depend on temperature; the paired ratio suffers less than the latencies."""
    return Finding("on", "off", "compare ratios, not latencies") if measured.env.turbo else None


def load(measured: Measured) -> Finding | None:
    """The load before the run and the run's own threads together exceed the CPUs."""
    before, cpus = measured.env.load_1m, measured.env.affinity_n
    if before is None or cpus is None or before + measured.threads <= cpus:
        return None
    return Finding(before, f"<= {cpus - measured.threads} before the run", "close other programs")


def cpu_quota(measured: Measured) -> Finding | None:
    """The container may use fewer CPUs than it sees and is halted when it exceeds them."""
    quota, cpus = measured.env.cgroup_quota, measured.env.affinity_n
    if quota is None or cpus is None or quota >= cpus:
        return None
    return Finding(quota, f">= {cpus} CPUs", "lift the container's CPU limit")


def virtualised(measured: Measured) -> Finding | None:
    """A virtual machine shares its host with others."""
    return Finding("virtual machine", "real hardware", "trust ratios only") if measured.env.virtualised else None


def unknown_env(measured: Measured) -> Finding | None:
    """What the system did not tell about itself."""
    unknown = [name for name in KNOWABLE if getattr(measured.env, name) is None]
    return Finding(", ".join(unknown), "known", "nothing to do if the system hides it") if unknown else None


CAUTIONS: tuple[Rule, ...] = (
    trend,
    wide_ci,
    on_battery,
    governor,
    turbo,
    load,
    cpu_quota,
    virtualised,
    unknown_env,
)
