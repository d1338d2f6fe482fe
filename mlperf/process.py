"""A worker's process as its parent sees it: started with nothing but what is named here, followed, ended.

The two speak as `worker.py` tells. One that runs foreign code gets limits (`limits.py`) and, if need be, a `Sandbox`;
what it reports is then somebody else's writing too: bounded in size, and of the wrong shape it is a WorkerError.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from mlperf.confinement import tree
from mlperf.confinement.hearing import LimitExceeded, Report, WorkerError, checked, lines, read, refusal
from mlperf.confinement.limits import OURS, Limits, Watchdog
from mlperf.confinement.sandbox import PROCESSES as SANDBOX_PROCESSES
from mlperf.confinement.sandbox import Sandbox
from mlperf.harness import Effort
from mlperf.worker import TENTHS, send
from profiler.samples import stopwatch

# Everything else of the parent's environment stays behind, so that no variable can favour an arm unseen.
INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "KERNELS_SIMD",
)  # fmt: skip
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip
STDERR_LINES, STDERR_BYTES = 15, 16_384  # how much of a failed worker's last words is shown


Hear = Callable[[dict[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True)
class Job:
    """One worker's task. `first` is the arm that begins, `seed` orders the queries.

    With a seed for its audits (`audit`) the candidate is audited, with `shuffle` also with shuffled weights.
    """

    factory: str
    arguments: dict[str, Any]
    effort: Effort
    threads: int = 1
    seed: int = 0
    first: str = "ref"
    audit: int | None = None
    shuffle: bool = False
    hash_seed: int = field(default_factory=lambda: secrets.randbelow(2**32))


def environment(threads: int, hash_seed: int) -> dict[str, str]:
    """The whole environment of a worker: thread counts are set before anything can be imported."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    kept |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    return kept | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def measure(
    job: Job,
    position: int = 0,
    progress: Callable[[], object] = lambda: None,
    limits: Limits | None = None,
    sandbox: Sandbox | None = None,
) -> Report:
    """Run a job in a fresh process, the `position`-th of its kind. Raises what `run` does.

    `progress()` is called after each pair of blocks and after each tenth of the test set, `steps_of(effort)` times.
    """
    life, timed = stopwatch().start(), stopwatch()
    cold_start_ns, bells = 0, list[int]()

    def hear(event: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal cold_start_ns
        match event["event"]:
            case "answered":
                cold_start_ns = life.ns
            case "ready":
                timed.start()
                return {}
            case "bell":
                bells.append(life.ns)
            case "pair" | "asked":
                progress()
            case "timed":
                timed.stop()
        return None

    name = f"worker {position}"
    found = run(
        "mlperf.worker:work", asdict(job), hear, job.threads, job.hash_seed, name, limits=limits, sandbox=sandbox
    )  # fmt: skip
    looked_at = found.pop("looked_at", None)
    report = checked(found, name)
    report.worker.update(looked_at if isinstance(looked_at, dict) else {})
    report.worker.update(
        pid_order=position, hash_seed=job.hash_seed, cold_start_ns=cold_start_ns, wall_ns=timed.ns,
        parent_block_ns=[end - start for start, end in zip(bells[::2], bells[1::2])] or None,
    )  # fmt: skip
    return report


def steps_of(effort: Effort) -> int:
    """How often a worker reports progress: pairs of blocks, and the test set in tenths for each arm."""
    return effort.pairs + 2 * TENTHS


def run(
    do: str,
    job: dict[str, Any],
    hear: Hear = lambda event: None,
    threads: int = 1,
    hash_seed: int = 0,
    name: str = "worker",
    *,
    limits: Limits | None = None,
    sandbox: Sandbox | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Let a fresh process do something ("module:function") and return what it found.

    `hear` is told each of its events and may answer with a word that the process waits for. With `limits` the process
    starts in a private folder, which is its home and has a copy of the compiled kernels; it is made and removed here,
    unless the caller brings one (`folder`), where plain files alone are left. In a `sandbox` it is the only one that
    can be written to. Raises Refused where
    the process reports a breach of the rules, LimitExceeded where it was ended at a limit, WorkerError where it ends
    without a result. The process and whatever it started are gone when this returns, also after Ctrl-C.
    """
    limits, confined = limits or OURS, limits is not None or sandbox is not None
    with tempfile.TemporaryFile() as printed, ExitStack() as stack:
        if confined and folder is None:
            made = tempfile.TemporaryDirectory(prefix="mlperf-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(made))
        command, variables = [sys.executable, "-m", "mlperf.worker"], environment(threads, hash_seed)
        helpers, found = 0, None
        if confined:
            assert folder is not None
            folder = folder.resolve()
            variables |= at_home(folder)
            command.insert(1, "-P")  # the folder it starts in is no place to import from
            if sandbox is not None:
                command = sandbox.command(command, folder)
            command, helpers = kept(command, limits.rlimits), 1 + (sandbox is not None) * SANDBOX_PROCESSES
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            cwd=folder if confined else None,
            env=variables,
            start_new_session=True,
        )
        watchdog = Watchdog(process.pid, limits, printed, folder, helpers)
        try:
            with watchdog:
                found = listen(process, {"do": do, **job}, hear, limits, name)
        except WorkerError:
            if watchdog.reached is None:
                raise
        finally:
            end(process)
            if confined and folder is not None:
                leave_plain(folder)
        if watchdog.reached is not None:  # also where the end came in the middle of a report
            raise LimitExceeded(*watchdog.reached)
        if found is not None:
            return found
        ended = f"{name} ended without a result (exit code {process.returncode})"
        raise WorkerError("\n".join([ended, *tail(printed)]))


def at_home(folder: Path) -> dict[str, str]:
    """What a confined process is told of where to write: nowhere but here.

    It gets a copy of the compiled kernels: it need not compile again, and cannot leave anything for those after it.
    """
    from kernels.cache import directory

    compiled = folder / "compiled"
    ours = compiled / directory().parent.name / directory().name
    if not ours.exists():
        shutil.copytree(directory(), ours, copy_function=copy_if_there)
    return {
        "HOME": str(folder), "TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder), "NUMBA_CACHE_DIR": str(compiled)
    }  # fmt: skip


def leave_plain(folder: Path) -> None:
    """Remove from a folder all but files and folders: a link may point to what only we can read, a pipe has no end."""
    for path, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            with suppress(OSError):
                mode = os.lstat(os.path.join(path, name)).st_mode
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                    os.unlink(os.path.join(path, name))


def copy_if_there(source: str, target: str) -> None:
    """Copy a file; another process may have replaced it since it was listed."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


def kept(command: list[str], rlimits: dict[str, int]) -> list[str]:
    """The command as a `keeper.py` runs it; where systems have no such limits, as it is."""
    if os.name != "posix":
        return command
    bare = ["-I", "-S"] if tree.LISTED else ["-I"]
    keeper = Path(__file__).parent / "confinement" / "keeper.py"
    return [sys.executable, *bare, str(keeper), json.dumps(rlimits), *command]


def listen(
    process: subprocess.Popen[bytes], job: dict[str, Any], hear: Hear, limits: Limits = OURS, name: str = "worker"
) -> dict[str, Any] | None:
    """Follow a process to its result; None if it ends without one. Raises Refused, LimitExceeded and WorkerError."""
    assert process.stdin is not None and process.stdout is not None
    try:
        send(process.stdin, job)
        for line in lines(process.stdout, limits):
            event = read(line, name)
            match event["event"]:
                case "result":
                    if not isinstance(event.get("found"), dict):
                        raise WorkerError(f"{name} reported a result without what it found")
                    return event["found"]
                case "refused":
                    raise refusal(event, name)
            if (word := hear(event)) is not None:
                send(process.stdin, word)
    except BrokenPipeError:
        pass
    process.wait()
    return None


def tail(printed: IO[bytes]) -> list[str]:
    """The last lines of what a process printed."""
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - STDERR_BYTES))
    return printed.read(STDERR_BYTES).decode(errors="replace").strip().splitlines()[-STDERR_LINES:]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and all it started, and wait for it; nothing happens to one that has ended."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
