"""A fresh process that measures one pair of arms: `python -m mlperf.worker`; and `measure`, which starts and hears it.

They speak JSON, one object a line. The parent sends the job; the worker reports `answered` (first answer of the
candidate), `ready`, then waits for the parent's word to begin, reports `pair` after each pair of blocks, `timed`,
`asked` after each tenth of the test set that an arm answered, and last `result`. So the parent's clock surrounds all
timed blocks. What arms print goes to stderr and cannot be mistaken for a report.

A job names a factory, "module:function"; what it returns decides what is measured. Left out: limits for foreign code.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import IO, Any, NamedTuple

import numpy as np

from mlperf.harness import PROMPTS_PER_WORKER, Arm, Effort, Progress, answers, compare, single_queries, token_times
from profiler.samples import Runner, stopwatch

# Everything else of the parent's environment stays behind, so that no variable can favour an arm unseen.
INHERITED = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "KERNELS_SIMD",
)  # fmt: skip
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip
TENTHS = 10
STDERR_LINES = 15  # how much of a failed worker's last words is shown


class WorkerError(RuntimeError):
    """A worker ended without a result; the text holds its last words."""


class Pair(NamedTuple):
    """What a factory returns. `told` lets an arm do the whole test set: a number or a row of numbers a sample.

    Where answers are texts of `output_tokens` tokens, `caching` is the candidate with its cache and without any, both
    at a precision at which they must write the same.
    """

    ref: Arm
    opt: Arm
    samples: Sequence[np.ndarray]
    told: Callable[[Arm, Progress], np.ndarray]
    compiled: Callable[[], int] = lambda: 0  # how many kernels have been compiled in this process so far
    output_tokens: int | None = None
    caching: tuple[Arm, Arm] | None = None


@dataclass(frozen=True)
class Job:
    """One worker's task. `first` is the arm that begins, `seed` orders the queries."""

    factory: str
    arguments: dict[str, Any]
    effort: Effort
    threads: int = 1
    seed: int = 0
    first: str = "ref"
    hash_seed: int = field(default_factory=lambda: secrets.randbelow(2**32))


class Report(NamedTuple):
    """What a worker found: fields of the leaderboard's `Worker`, of its `Queries`, and what both arms told.

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


# -- the parent's side -------------------------------------------------------------------------------------------------


def environment(threads: int, hash_seed: int) -> dict[str, str]:
    """The whole environment of a worker: thread counts are set before anything can be imported."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    kept |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    return kept | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def measure(job: Job, position: int = 0, progress: Callable[[], object] = lambda: None) -> Report:
    """Run a job in a fresh process, the `position`-th of its kind. Raises WorkerError if it fails.

    `progress()` is called after each pair of blocks and after each tenth of the test set, `steps_of(effort)` times.

    The process and whatever it started are gone when this returns, also after Ctrl-C.
    """
    with tempfile.TemporaryFile() as last_words:
        life = stopwatch().start()
        process = subprocess.Popen(
            [sys.executable, "-m", "mlperf.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=last_words,
            env=environment(job.threads, job.hash_seed),
            start_new_session=True,
        )
        try:
            found = listen(process, job, life, progress)
        finally:
            end(process)
        if found is None:
            last_words.seek(0)
            lines = last_words.read().decode(errors="replace").strip().splitlines()[-STDERR_LINES:]
            raise WorkerError(
                "\n".join([f"worker {position} ended without a result (exit code {process.returncode})", *lines])
            )
    found["worker"] |= {"pid_order": position, "hash_seed": job.hash_seed}
    return Report(**found)


def steps_of(effort: Effort) -> int:
    """How often a worker reports progress: pairs of blocks, and the test set in tenths for each arm."""
    return effort.pairs + 2 * TENTHS


def listen(
    process: subprocess.Popen[bytes], job: Job, life: stopwatch, progress: Callable[[], object]
) -> dict[str, Any] | None:
    """Follow a worker to its result; None if it ends without one. `life` runs since it was started."""
    assert process.stdin is not None and process.stdout is not None
    cold_start_ns, timed = 0, stopwatch()
    try:
        send(process.stdin, asdict(job))
        for line in process.stdout:
            message = json.loads(line)
            match message["event"]:
                case "answered":
                    cold_start_ns = life.ns
                case "ready":
                    timed.start()
                    send(process.stdin, {})
                case "pair" | "asked":
                    progress()
                case "timed":
                    timed.stop()
                case "result":
                    found = message["found"]
                    found["worker"] |= {"cold_start_ns": cold_start_ns, "wall_ns": timed.ns}
                    return found
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


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


# -- the worker's side -------------------------------------------------------------------------------------------------


def resolve(factory: str) -> Callable[..., Pair]:
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)


def work(job: dict[str, Any], report: Callable[..., None], wait: Callable[[], None]) -> dict[str, Any]:
    """Do a job: `report(event)` tells the parent, `wait()` waits for its word. Returns a Report's fields."""
    pair = resolve(job["factory"])(**job["arguments"])
    effort = Effort(**job["effort"])
    answers(pair.opt, pair.samples[:1])
    report("answered")
    order = np.random.default_rng(job["seed"]).permutation(len(pair.samples))
    trace = [pair.samples[i] for i in order]
    compiled = 0

    def ready() -> None:
        nonlocal compiled
        report("ready")
        wait()
        compiled = pair.compiled()

    timed = compare(pair.ref, pair.opt, trace, effort, job["first"], ready, lambda: report("pair"))
    report("timed")
    timed["compiled_while_timed"] = pair.compiled() - compiled
    return {
        "worker": timed,
        "queries": single_queries(pair.ref, pair.opt, trace, effort.queries_per_worker, job["first"]),
        "trace": order.tolist(),
        "ref_told": pair.told(pair.ref, tenths(lambda: report("asked"))).tolist(),
        "opt_told": pair.told(pair.opt, tenths(lambda: report("asked"))).tolist(),
        "pools": thread_pools(),
        "calibration_kernel_ns": calibration_kernel_ns(),
        "generation": generation(pair, trace[:PROMPTS_PER_WORKER]),
    }


def tenths(passed: Callable[[], object]) -> Progress:
    """Progress that calls `passed()` ten times in all, when a tenth more is done."""
    reached = 0

    def progress(done: int, of: int) -> None:
        nonlocal reached
        for _ in range(TENTHS * done // of - reached):
            passed()
        reached = TENTHS * done // of

    return progress


def generation(pair: Pair, prompts: Sequence[np.ndarray]) -> dict[str, list[Any]] | None:
    """The times of the candidate's answers to some prompts, token by token, and how many the cache left as they are."""
    if pair.output_tokens is None or pair.caching is None:
        return None
    with_cache, without = (answers(arm, prompts) for arm in pair.caching)
    same = with_cache == without
    return {**token_times(pair.opt, prompts, pair.output_tokens), "same": same.sum(1).tolist()}


def thread_pools() -> dict[str, Any]:
    """What this process computes with: BLAS and Numba, and how many threads each has; None where it is unknown."""
    import threadpoolctl

    blas: dict[str, Any] = next((pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"), {})
    numba, layer = sys.modules.get("numba"), None
    if numba is not None:
        with suppress(ValueError):  # raised where no parallel region has run
            layer = numba.threading_layer()
    return {
        "blas": {
            "vendor": blas.get("internal_api"),
            "version": blas.get("version"),
            "threads": blas.get("num_threads"),
        },
        "numba_threads": numba and numba.get_num_threads(),
        "numba_threading_layer": layer,
    }


def calibration_kernel_ns() -> int:
    """Time of one fixed piece of work (a 256 x 256 float32 matrix product): how quick is this machine just now?"""
    a = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    return int(median(Runner(lambda _: a @ a, [None]).singles(20)))


def main() -> None:
    """Read a job, do it, report. Standard output is kept for reports: what arms print goes to stderr."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())

    def wait() -> None:
        if not sys.stdin.readline():
            raise SystemExit("worker: the parent is gone")

    found = work(job, lambda event: send(channel, {"event": event}), wait)
    send(channel, {"event": "result", "found": found})


if __name__ == "__main__":
    main()
