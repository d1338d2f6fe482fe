"""What may stand between this machine and a ranked run: one check each, without root, on any system.

What the leaderboard would remark on a submission is asked of its own rules (`leaderboard.cautions`), and explained in
the words of its catalogue. What the system does not tell is unknown, never guessed; no check fails for want of a file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil

from leaderboard import Env, cautions, codes
from leaderboard.rules import code_of
from mlperf import cgroup, environment, process, worker
from mlperf.commands import keygen
from mlperf.confinement import sandbox

Status = Literal["ok", "warn", "unknown"]

NEEDED_BYTES = 2**30  # a worker with the largest data set takes about half of it
NEEDED_DISK_BYTES = 2**28  # compiled kernels take a fiftieth of it, a download two thirds
SLOW_TIMER_NS = 1000  # a reading that takes longer is felt in single queries of the smallest nets


class Machine(NamedTuple):
    """The environment a run would find, and the threads it would have."""

    env: Env
    threads: int


class Check(NamedTuple):
    """One finding. `stands`: a ranked run would be refused for it, or likely disturbed."""

    name: str
    found: str
    status: Status
    means: str = ""
    remedy: str = ""
    stands: bool = False


def look(threads: int) -> Iterator[Check]:
    """All checks of this machine for a run with so many threads. Starts one process, which tells its thread pools."""
    load_1m, pools = environment.load_1m(), worker.NO_POOLS
    with suppress(process.WorkerError):  # what it cannot tell is unknown
        pools = process.run("mlperf.checkup:tell_pools", {"threads": threads}, lambda event: None, threads)
    machine = Machine(environment.capture(pools, threads, load_1m), threads)
    yield from remarks(machine)
    yield affinity(machine)
    yield thread_pools(machine)
    yield timer(machine)
    yield memory(psutil.virtual_memory().available)
    yield disk()
    yield simd()
    yield harness()
    yield bubblewrap()
    yield key(keygen.default_key())


def tell_pools(job: dict[str, Any], report: Callable[..., None], wait: Callable[[], None]) -> dict[str, Any]:
    """In a worker's process: load what a run loads, and say which threads there are."""
    from kernels.threads import set_num_threads

    set_num_threads(job["threads"], blas=job["threads"])  # starts Numba's pool, so that its layer is known
    np.ones((8, 8)) @ np.ones((8, 8))
    return worker.thread_pools()


def either(value: bool | None, yes: str, no: str) -> str | None:
    """A word for what is so or not, None for what is unknown."""
    return None if value is None else yes if value else no


def busy(env: Env) -> str | None:
    """The load beside the CPUs that carry it."""
    return None if env.load_1m is None or env.affinity_n is None else f"{env.load_1m:.2f}, {env.affinity_n} CPUs"


def quota(cpus: float | None) -> str | None:
    """A limit of CPUs in words; None where there may be one that cannot be seen."""
    if cpus is None:
        return "none" if cgroup.is_told() else None
    return f"{cpus:g} CPUs"


Show = Callable[[Env], str | None]

# Each remark of the leaderboard on a machine: its name here, what there is to see, and whether it stands in the way.
REMARKS: tuple[tuple[str, Callable[[cautions.Machine], Any], Show, bool], ...] = (
    ("mains", cautions.on_battery, lambda env: either(env.on_mains, "on mains", "on battery"), True),
    ("governor", cautions.governor, lambda env: env.governor, False),
    ("turbo", cautions.turbo, lambda env: either(env.turbo, "on", "off"), False),
    ("load", cautions.load, busy, True),
    ("CPU quota", cautions.cpu_quota, lambda env: quota(env.cgroup_quota), True),
    ("hardware", cautions.virtualised, lambda env: either(env.virtualised, "virtual machine", "real"), False),
)  # fmt: skip


def remarks(machine: Machine) -> Iterator[Check]:
    """What the leaderboard would say of the machine."""
    for name, rule, show, stands in REMARKS:
        seen, finding, words = show(machine.env), rule(machine), codes.catalogue()[code_of(rule)]
        if seen is None:
            yield Check(name, "unknown", "unknown", "the system does not tell")
        elif finding is None:
            yield Check(name, seen, "ok")
        else:
            yield Check(name, seen, "warn", f"{words.code}: {words.why}", words.remedy, stands)


def affinity(machine: Machine) -> Check:
    """At least as many CPUs as threads, and all that there are."""
    have, all_cpus, cores = machine.env.affinity_n, os.cpu_count(), machine.env.physical_cores
    if have is None or all_cpus is None:
        return Check("CPUs", "unknown", "unknown", "the system does not tell")
    found = f"{have} of {all_cpus} ({cores or 'unknown'} cores)"
    if have < machine.threads:
        means = f"{machine.threads} threads share {have} CPUs, so each waits for the others"
        return Check("CPUs", found, "warn", means, f"choose --threads up to {have}", stands=True)
    if have < all_cpus:
        means = f"this process is bound to {have} CPUs; others may be better or busier"
        return Check("CPUs", found, "warn", means, "start it without taskset, or leave it if it is meant")
    return Check("CPUs", found, "ok")


def thread_pools(machine: Machine) -> Check:
    """Every pool has as many threads as the run is to have."""
    env = machine.env
    blas = f"{env.blas.vendor or 'BLAS unknown'} {env.blas.version or ''}".strip()
    found = f"{blas}: {env.blas.threads or 'unknown'}, Numba {env.numba_threading_layer or ''}: {env.numba_threads}"
    pools = (env.blas.threads, env.numba_threads)
    if any(size not in (None, machine.threads) for size in pools):
        means = f"THREAD_POLICY: a run with {machine.threads} would be refused"
        return Check("thread pools", found, "warn", means, "unset variables that name thread counts", stands=True)
    if env.numba_threads is None:
        return Check("thread pools", "unknown", "unknown", "no process could be asked")
    if env.blas.threads is None:
        means = "NumPy's BLAS does not tell its threads; if it ignores OMP_NUM_THREADS, t1 is not t1"
        return Check("thread pools", found, "unknown", means)
    return Check("thread pools", found, "ok")


def timer(machine: Machine) -> Check:
    """The clock is fine enough for one query of the smallest network."""
    clock = machine.env.timer
    if clock.resolution_ns is None or clock.overhead_ns is None:
        return Check("timer", "unknown", "unknown", "the system does not tell")
    found = f"{clock.name}: steps {clock.resolution_ns:g} ns, a reading {clock.overhead_ns:.0f} ns"
    if clock.resolution_ns + clock.overhead_ns <= SLOW_TIMER_NS:
        return Check("timer", found, "ok")
    means = "latencies of single queries are coarse; the ratio, which is of blocks, is not"
    return Check("timer", found, "warn", means)


def memory(available: int) -> Check:
    """A worker fits into what is free."""
    found = f"{available / 2**30:.1f} GiB free"
    if available >= NEEDED_BYTES:
        return Check("memory", found, "ok")
    means = "a worker may be swapped out or killed"
    return Check("memory", found, "warn", means, "close other programs", stands=True)


def disk(least: int = NEEDED_DISK_BYTES) -> Check:
    """Compiled kernels and downloads find room where they are kept."""
    try:
        from kernels import cache

        folder = cache.directory()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Check("disk", "no folder", "warn", str(error), "set NUMBA_CACHE_DIR to a folder of yours", stands=True)
    found = f"{free / 2**30:.1f} GiB free for {short(folder.parent)}"
    if free >= least:
        return Check("disk", found, "ok")
    means = "compiled kernels cannot be kept, so every process compiles them anew"
    return Check("disk", found, "warn", means, "make room, or set NUMBA_CACHE_DIR elsewhere", stands=True)


def short(folder: Path) -> str:
    """A path as a person writes it."""
    with suppress(ValueError, RuntimeError):
        return str(Path("~") / folder.relative_to(Path.home()))
    return str(folder)


def simd() -> Check:
    """Which of the SIMD paths the kernels are compiled for."""
    from kernels import cpu

    if cpu.PATH != "generic":
        return Check("SIMD path", cpu.PATH, "ok")
    means = "kernels use the narrow vectors that every CPU has, and gain less"
    return Check("SIMD path", cpu.PATH, "warn", means, "unset KERNELS_SIMD, if it is set")


def harness() -> Check:
    """The code that measures is as it was committed."""
    dirty = environment.harness().dirty
    if dirty is None:
        return Check("harness", "no checkout", "unknown", "without git nobody can tell whether it was changed")
    if not dirty:
        return Check("harness", "as committed", "ok")
    words = codes.catalogue()["HARNESS_MODIFIED"]
    return Check("harness", "changed", "warn", f"{words.code}: {words.why}", words.remedy, stands=True)


def bubblewrap() -> Check:
    """Whether `verify` can lock up foreign code."""
    amiss = sandbox.available()
    if amiss is None:
        return Check("bubblewrap", "locks up foreign code", "ok")
    means = f"verify refuses to replay others' entries: {amiss.removeprefix('sandbox: ').partition(': ')[0]}"
    return Check("bubblewrap", "of no use here", "warn", means, sandbox.HINT)


def key(path: Path) -> Check:
    """The key that signs verifications is the verifier's alone."""
    if not path.exists():
        return Check("key", "none", "ok")
    if os.name != "posix":
        return Check("key", short(path), "unknown", "the system's permissions are not looked at")
    if not path.stat().st_mode & 0o077:
        return Check("key", short(path), "ok")
    means = "others on this machine can sign in your name"
    remedy = f"make a new one, or, if nobody read it: chmod 600 {path}"
    return Check("key", f"{short(path)} is open to others", "warn", means, remedy)
