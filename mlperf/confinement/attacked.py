"""The attacks of `attacks.py` made on ourselves, with limits alone and in the sandbox, and whether each ends as stated.

What limits alone do not stop is stated as well: a foreign program then has all rights of whoever runs it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil

from mlperf.confinement.limits import MB, Limits
from mlperf.confinement.sandbox import ROOT, Sandbox, interpreter
from mlperf.process import LimitExceeded, WorkerError, run

Guard = Literal["limits", "sandbox"]
GUARDS: tuple[Guard, ...] = ("limits", "sandbox")
AT_ONCE = 4  # attacks: most only wait to be stopped

TRIAL = Limits(
    seconds=20, memory_bytes=450 * MB, file_bytes=16 * MB, folder_bytes=64 * MB, output_bytes=4 * MB, reports=1000,
    processes=64,
)  # fmt: skip
IMPATIENT = replace(TRIAL, seconds=1.5)


class Attack(NamedTuple):
    """A function of `attacks.py`, what it tries, and how it ends with limits alone and in the sandbox."""

    name: str
    about: str
    limits: str
    sandbox: str
    within: Limits = TRIAL


class Row(NamedTuple):
    """An attack as it ended, how it should have, and how many of its processes were alive afterwards."""

    attack: Attack
    guard: Guard
    outcome: str
    why: str
    survivors: int

    @property
    def as_stated(self) -> bool:
        return self.outcome == self.stated and not self.survivors

    @property
    def stated(self) -> str:
        """How it should end."""
        return getattr(self.attack, self.guard)

    def __str__(self) -> str:
        survived = f", {self.survivors} processes survive" if self.survivors else ""
        return self.outcome + survived + ("" if self.as_stated else f" (stated: {self.stated})")


def both(outcome: str) -> tuple[str, str]:
    return outcome, outcome


ATTACKS = (
    Attack("forks", "fork bomb", *both("stopped: processes")),
    Attack("memory_in_steps", "memory bomb, a gigabyte in steps", *both("stopped: memory_bytes")),
    Attack("memory_at_once", "memory bomb, 16 GB at once", *both("refused")),
    Attack("endless_loop", "endless loop", *both("stopped: seconds"), IMPATIENT),
    Attack("deaf", "endless loop, deaf to SIGTERM", *both("stopped: seconds"), IMPATIENT),
    Attack("leaves_child", "leaves a child behind: forks twice, own session", *both("ends with it")),
    Attack("prints", "prints two gigabytes", *both("stopped: output_bytes")),
    Attack("reports_much", "reports two gigabytes in one line", *both("stopped: output_bytes")),
    Attack("reports_often", "reports 100,000 times", *both("stopped: reports")),
    Attack("reports_nonsense", "reports what is no report", *both("ends as an error")),
    Attack("huge_file", "writes a huge file", *both("refused")),
    Attack("many_files", "fills its folder", *both("stopped: folder_bytes")),
    Attack("deleted_files", "fills the disk with deleted files", *both("stopped: folder_bytes")),
    Attack("kills_parent", "kills its parent", "ends as an error", "refused"),
    Attack("kills_another", "kills another process", "succeeds", "refused"),
    Attack("writes_outside", "writes outside its folder", "succeeds", "refused"),
    Attack("changes_kernels", "writes to the user's compiled kernels", "succeeds", "refused"),
    Attack("reads_key", "reads a private key", "succeeds", "refused"),
    Attack("reads_home", "looks into the home folder", "succeeds", "refused"),
    Attack("reads_masked", "reads the test data", "succeeds", "refused"),
    Attack("connects", "connects to a port", "succeeds", "refused"),
    Attack("connects_locally", "connects to a Unix socket", "succeeds", "refused"),
)


def survivors(folder: Path) -> int:
    """How many processes live that were started with this private folder as their home."""
    found = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            found += process.environ().get("HOME") == str(folder) and process.status() != psutil.STATUS_ZOMBIE
    return found


@contextmanager
def prey(folder: Path) -> Iterator[dict[str, Any]]:
    """What attacks aim at: files, sockets, a process; nothing of the user's own but the names in the home folder."""
    from kernels.cache import directory

    home = Path.home()
    for name in ("key", "test-data"):
        (folder / name).write_text("secret")
    with ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(folder / "socket"))
        local.listen()
        victim = stack.enter_context(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        stack.callback(victim.kill)
        try:
            yield {
                "outside": str(folder), "key": str(folder / "key"), "test_data": str(folder / "test-data"),
                "home": str(home), "on_the_way": on_the_way(home), "port": port.getsockname()[1],
                "socket": str(folder / "socket"), "victim": victim.pid, "kernels": str(directory()),
            }  # fmt: skip
        finally:
            for left in directory().glob("attack-*"):
                left.unlink()


def on_the_way(home: Path) -> list[str]:
    """Names in the home folder that lead to this interpreter or to our packages, which the sandbox must show."""
    paths = [path.absolute() for path in (*interpreter(), ROOT, Path(tempfile.gettempdir()))]
    return [path.relative_to(home).parts[0] for path in paths if path.is_relative_to(home) and path != home]


def attempt(attack: Attack, guard: Guard) -> Row:
    """Make one attack. The sandbox shows the test data's folder and masks the file, so that only the mask stops it."""
    with ExitStack() as stack:
        folder, aims = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"mlperf-{name}-", ignore_cleanup_errors=True)))
            for name in ("attack", "prey")
        )
        given = stack.enter_context(prey(aims))
        sandbox = Sandbox([aims / "test-data"], masked=[aims / "test-data"]) if guard == "sandbox" else None
        outcome, why = "", ""
        try:
            found: Mapping[str, Any] = run(
                "mlperf.confinement.attacks:attack", {"attack": attack.name, **given}, limits=attack.within,
                sandbox=sandbox, folder=folder,
            )  # fmt: skip
            outcome, why = found["outcome"], found["why"]
        except LimitExceeded as error:
            outcome, why = f"stopped: {error.limit}", str(error)
        except WorkerError as error:
            outcome, why = "ends as an error", str(error)
        left = survivors(folder.resolve())
        if attack.name == "leaves_child" and outcome == "succeeds" and not left:
            outcome = "ends with it"
        return Row(attack, guard, outcome, why, left)


def rows(guards: Sequence[Guard] = GUARDS) -> Iterator[Row]:
    """Make all attacks, several at once, and tell of each in order. SandboxError where there is no sandbox."""
    with ThreadPoolExecutor(min(AT_ONCE, 2 * (os.cpu_count() or 1))) as pool:
        yield from pool.map(lambda pair: attempt(*pair), [(attack, guard) for attack in ATTACKS for guard in guards])
