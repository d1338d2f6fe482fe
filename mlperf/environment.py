"""The machine and its software, as found and never typed in. What the system does not tell is None, not a guess.

Thread pools and the BLAS are told by the workers, where they matter (`worker.thread_pools`).
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from leaderboard import Blas, Env, Harness, Timer
from mlperf import __version__, cgroup
from mlperf.process import THREAD_VARIABLES, environment
from profiler import machine, samples
from profiler.machine import read

PACKAGE = Path(__file__).parent
# What asks, times and audits. Commands, tables and recipes are not in it: a change there makes no other result.
MEASURING = (
    *(f"mlperf/{name}.py" for name in (
        "answering", "audits", "candidate", "contestant", "environment", "harness", "metrics", "process", "shuffling",
        "submission", "worker",
    )),
    *(f"mlperf/confinement/{name}.py" for name in ("hearing", "keeper", "limits", "sandbox", "tree")),
    *(f"mlperf/entries/{name}.py" for name in ("building", "context", "entry", "source")),
    *(f"profiler/{name}.py" for name in ("doubts", "samples")),
)  # fmt: skip


def capture(pools: Mapping[str, Any], threads: int, load_1m: float | None) -> Env:
    """A submission's environment. `pools`: what a worker told of its threads; `load_1m` was read before the run."""
    cpu = machine.cpu_info()
    flags = cpu.get("flags") or cpu.get("Features")
    return Env(
        os=platform.platform(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        numpy=installed("numpy"),
        numba=installed("numba"),
        llvmlite=installed("llvmlite"),
        blas=Blas(**pools["blas"]),
        numba_threading_layer=pools["numba_threading_layer"],
        numba_threads=pools["numba_threads"],
        cpu_model=machine.cpu_model(),
        cpu_flags_sha256=hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest() if flags else None,
        physical_cores=psutil.cpu_count(logical=False),
        affinity_n=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        cgroup_quota=cgroup.cpu_quota(),
        governor=read(machine.CPU_FOLDER / "cpu0/cpufreq/scaling_governor"),
        turbo=turbo(),
        on_mains=on_mains(),
        load_1m=load_1m,
        mem_total_bytes=psutil.virtual_memory().total,
        virtualised="hypervisor" in flags.split() if flags else None,
        timer=timer(),
        env_vars={name: value for name, value in environment(threads, 0).items() if name in THREAD_VARIABLES},
    )


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def on_mains() -> bool | None:
    """Whether the machine is plugged in; None where it has no battery, as far as the system tells."""
    with suppress(AttributeError, OSError, NotImplementedError, RuntimeError):  # what psutil raises on rarer systems
        battery = psutil.sensors_battery()
        return battery.power_plugged if battery else None
    return None


def turbo() -> bool | None:
    """Whether the clock may exceed its nominal rate."""
    if no_turbo := read(machine.CPU_FOLDER / "intel_pstate/no_turbo"):
        return no_turbo == "0"
    boost = read(machine.CPU_FOLDER / "cpufreq/boost")
    return None if boost is None else boost == "1"


def load_1m() -> float | None:
    """Processes that wanted a CPU, averaged over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def timer() -> Timer:
    """The clock of the harness, and what one reading costs."""
    return Timer(**samples.timer()._asdict())


def harness() -> Harness:
    """The code that measures: its version, its commit where it is in a checkout, and the hash of every file."""
    files = {name: PACKAGE.parent / name for name in MEASURING}
    commit = git("rev-parse", "HEAD")
    changes = None if commit is None else git("status", "--porcelain", "--", *map(str, files.values()))
    return Harness(
        version=__version__,
        git_commit=commit,
        dirty=None if changes is None else bool(changes),
        files_sha256={name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()},
    )


def code_sha256() -> str:
    """Hash over the sources that execute a candidate, those of `kernels` and `tinytorch`, whatever their line ends."""
    digest, root = hashlib.sha256(), PACKAGE.parent
    for path in sorted(path for package in ("kernels", "tinytorch") for path in (root / package).rglob("*.py")):
        text = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(root).as_posix()} {len(text)} ".encode() + text)
    return digest.hexdigest()


def git(*arguments: str) -> str | None:
    """What git answers about this package's checkout; None without git, or where it is no checkout."""
    try:
        command = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
