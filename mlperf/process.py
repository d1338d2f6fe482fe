"""A worker's process as its parent sees it: started with nothing but what is named here, followed, ended.

The two speak as `worker.py` tells. Left out: limits for foreign code.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

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
STDERR_LINES = 15  # how much of a failed worker's last words is shown


class WorkerError(RuntimeError):
    """A worker ended without a result; the text holds its last words."""


class Refused(RuntimeError):
    """A process found a breach of the rules; `code` is the reason's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


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


class Report(NamedTuple):
    """What a worker found: fields of the leaderboard's `Worker`, `Queries`, `Audits`, and what both arms told.

    `generation` holds lists, an entry a prompt: those of the leaderboard's `Generation`, and how many tokens were the
    `same` without a cache.
    """

    worker: dict[str, Any]
    queries: dict[str, list[int]]
    trace: list[int]
    ref_told: list[Any]
    opt_told: list[Any]
    pools: dict[str, Any]
    calibration_kernel_ns: int
    generation: dict[str, list[Any]] | None = None
    audits: dict[str, float] | None = None
    shuffled: dict[str, Any] | None = None


def environment(threads: int, hash_seed: int) -> dict[str, str]:
    """The whole environment of a worker: thread counts are set before anything can be imported."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    kept |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    return kept | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def measure(job: Job, position: int = 0, progress: Callable[[], object] = lambda: None) -> Report:
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

    found = run("mlperf.worker:work", asdict(job), hear, job.threads, job.hash_seed, f"worker {position}")
    found["worker"] |= {
        "pid_order": position, "hash_seed": job.hash_seed, "cold_start_ns": cold_start_ns, "wall_ns": timed.ns,
        "parent_block_ns": [end - start for start, end in zip(bells[::2], bells[1::2])] or None,
        **found.pop("looked_at"),
    }  # fmt: skip
    return Report(**found)


def steps_of(effort: Effort) -> int:
    """How often a worker reports progress: pairs of blocks, and the test set in tenths for each arm."""
    return effort.pairs + 2 * TENTHS


def run(
    do: str, job: dict[str, Any], hear: Hear, threads: int = 1, hash_seed: int = 0, name: str = "worker"
) -> dict[str, Any]:
    """Let a fresh process do something ("module:function") and return what it found.

    `hear` is told each of its events and may answer with a word that the process waits for. Raises Refused where it
    reports a breach of the rules, WorkerError where it ends without a result. The process and whatever it started are
    gone when this returns, also after Ctrl-C.
    """
    with tempfile.TemporaryFile() as last_words:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlperf.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=last_words,
            env=environment(threads, hash_seed),
            start_new_session=True,
        )
        try:
            found = listen(process, {"do": do, **job}, hear)
        finally:
            end(process)
        if found is not None:
            return found
        last_words.seek(0)
        lines = last_words.read().decode(errors="replace").strip().splitlines()[-STDERR_LINES:]
        raise WorkerError("\n".join([f"{name} ended without a result (exit code {process.returncode})", *lines]))


def listen(process: subprocess.Popen[bytes], job: dict[str, Any], hear: Hear) -> dict[str, Any] | None:
    """Follow a process to its result; None if it ends without one. Raises Refused."""
    assert process.stdin is not None and process.stdout is not None
    try:
        send(process.stdin, job)
        for line in process.stdout:
            event = json.loads(line)
            match event["event"]:
                case "result":
                    return event["found"]
                case "refused":
                    raise Refused(event["code"], event["text"])
            if (word := hear(event)) is not None:
                send(process.stdin, word)
    except BrokenPipeError:
        pass
    process.wait()
    return None


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
