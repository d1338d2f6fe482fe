"""Foreign code locked up by bubblewrap: no network, a read-only system, one private folder to write to.

What it sees: the system's programs and libraries, this interpreter with its packages, our own packages, and what its
job reads. What it does not see: homes, keys, the leaderboard, other data, other processes. Paths are the same inside.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("kernels", "tinytorch", "profiler", "mlperf", "leaderboard")
HIDDEN = (ROOT / "leaderboard" / "submissions",)  # where a checkout keeps its leaderboard, within the package
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
# Of the rest of the system, what the loader, clocks and thread pools look up.
LOOKED_UP = (
    "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
    "/sys/devices/system/cpu",
)  # fmt: skip
PROCESSES = 2  # bubblewrap's own: outside, and the first inside
HINT = "install Debian's package `bubblewrap`, or say --no-sandbox to run foreign code with limits alone"


class SandboxError(OSError):
    """There is no sandbox here."""


@dataclass(frozen=True)
class Sandbox:
    """What a job may see beside the system: files and folders that it reads (`readable`), and what there, or among the
    packages, it must not (`masked`): such a file cannot be read, such a folder is empty.
    """

    readable: Sequence[Path] = ()
    masked: Sequence[Path] = ()

    def command(self, command: Sequence[str], folder: Path) -> list[str]:
        """The command as bubblewrap runs it, in a private folder that it may write to.

        Raises SandboxError where bubblewrap does not work.
        """
        shared = folder / "shared-memory"  # so that it counts as what the folder holds
        shared.mkdir(exist_ok=True)
        found = [
            bubblewrap(), "--unshare-all", "--new-session", "--die-with-parent", "--cap-drop", "ALL",
            "--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev", "--bind", str(shared), "/dev/shm",
        ]  # fmt: skip
        for path in SYSTEM:
            there = Path(path)
            if there.is_symlink():
                found += ["--symlink", str(there.readlink()), path]
            elif there.exists():
                found += ["--ro-bind", path, path]
        for path in LOOKED_UP:
            found += ["--ro-bind-try", path, path]
        for there in [*interpreter(), *(ROOT / name for name in OURS)]:
            found += shown(there)
        empty = [str(there) for there in HIDDEN if there.is_dir()]
        for path in empty:
            found += ["--tmpfs", path]
        for there in self.readable:
            found += shown(there)
        found += ["--bind", str(folder), str(folder)]
        for there in self.masked:
            real = there.resolve()
            if real.is_dir():
                empty.append(str(real))
                found += ["--tmpfs", str(real)]
            else:
                found += ["--ro-bind", "/dev/null", str(real)]
        for path in [*empty, "/dev", "/"]:
            found += ["--remount-ro", path]
        return [*found, "--chdir", str(folder), "--", *command]


def shown(there: Path) -> list[str]:
    """Options that show a file or folder to be read. There is one way to it, or a mask would not hide it: another name
    becomes a link.
    """
    real, called = there.resolve(), there.absolute()
    link = [] if called == real else ["--symlink", str(real), str(called)]
    return ["--ro-bind", str(real), str(real), *link]


def locked_up(readable: Sequence[Path], data: Iterable[str]) -> Sandbox:
    """A sandbox in which a job sees these folders, and none of these files or folders of test data."""
    seen = [*interpreter(), *(ROOT / name for name in OURS), *map(Path, SYSTEM), *readable]
    there = [path for path in map(Path, data) if path.exists()]
    return Sandbox(readable, [path for path in there if any(path.resolve().is_relative_to(one) for one in seen)])


def interpreter() -> Iterator[Path]:
    """Where Python and its packages lie, as far as the system's folders do not hold them."""
    for path in dict.fromkeys([sys.base_prefix, sys.prefix, sys.exec_prefix]):
        if not Path(path).resolve().is_relative_to("/usr"):
            yield Path(path)


def available() -> str | None:
    """None where a sandbox can be used here, else why not."""
    try:
        bubblewrap()
    except SandboxError as error:
        return str(error)
    return None


@cache
def bubblewrap() -> str:
    """The program, known to work; SandboxError says why not."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError(f"sandbox: bubblewrap (bwrap) is not installed: {HINT}")
    trial = [program, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    try:
        done = subprocess.run([*trial, "true"], capture_output=True, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"sandbox: {program} does not run ({error}): {HINT}") from None
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise SandboxError(f"sandbox: {program} may not lock anything up here ({why[0]}): {HINT}")
    return program
