"""What a fresh process does that measures one pair of arms: `python -m mlperf.worker`, started by `process.py`.

The parent sends a job; it names the function that does it, mostly `work`. That one reports `answered` (first answer of
the candidate), `ready`, then waits for the parent's word to begin, reports `bell` just before and just after each
block's clock runs, `pair` after each pair of blocks, `timed`, `asked` after each tenth of the test set that an arm
answered, and last `result`; all as JSON, one object a line. So the parent's clock surrounds all timed blocks and each
one. What arms print goes to stderr and cannot be mistaken for a report.

A job of `work` names a factory, "module:function"; what it returns decides what is measured.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from statistics import median
from typing import IO, Any, NamedTuple

import numpy as np
import psutil

from mlperf import audits
from mlperf.harness import (
    PROMPTS_PER_WORKER,
    Arm,
    Effort,
    NoArray,
    Progress,
    answers,
    compare,
    single_queries,
    token_times,
)
from profiler.samples import Runner, warm_up, without_gc

TENTHS = 10


class Refusal(Exception):
    """What is asked breaks a rule; the parent gets the rule's code and the text, and raises `Refused`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Pair(NamedTuple):
    """What a factory returns. `told` lets an arm do the whole test set: a number or a row of numbers a sample.

    `shuffled` makes the candidate with weights shuffled by a seed. Where answers are texts of `output_tokens` tokens,
    `caching` is the candidate with its cache and without any, both at a precision at which they must write the same.
    """

    ref: Arm
    opt: Arm
    samples: Sequence[np.ndarray]
    told: Callable[[Arm, Progress], np.ndarray]
    compiled: Callable[[], int] = lambda: 0  # how many kernels have been compiled in this process so far
    output_tokens: int | None = None
    caching: tuple[Arm, Arm] | None = None
    shuffled: Callable[[int], Arm] | None = None


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def resolve(name: str) -> Callable[..., Any]:
    """The function that "module:function" names."""
    module, _, name = name.partition(":")
    return getattr(importlib.import_module(module), name)


def work(job: dict[str, Any], report: Callable[..., None], wait: Callable[[], None]) -> dict[str, Any]:
    """Do a job: `report(event)` tells the parent, `wait()` waits for its word. Returns a Report's fields."""
    pair: Pair = resolve(job["factory"])(**job["arguments"])
    effort = Effort(**job["effort"])
    answers(pair.opt, pair.samples[:1])
    report("answered")
    answers(pair.ref, pair.samples[:1])  # or the candidate alone would have been asked before
    order = np.random.default_rng(job["seed"]).permutation(len(pair.samples))
    trace = [pair.samples[i] for i in order]
    compiled = 0

    def ready() -> None:
        nonlocal compiled
        report("ready")
        wait()
        compiled = pair.compiled()

    threads, seed = psutil.Process().num_threads(), job["audit"]
    timed = compare(
        pair.ref, pair.opt, trace, effort, job["first"], ready, lambda: report("pair"), lambda: report("bell"), seed
    )
    report("timed")
    timed["compiled_while_timed"] = pair.compiled() - compiled
    timed["threads_started"] = max(0, psutil.Process().num_threads() - threads)
    taken, calls = timed.pop("taken"), timed["inner_opt"]
    return {
        "worker": timed,
        "queries": single_queries(pair.ref, pair.opt, trace, effort.queries_per_worker, job["first"]),
        "audits": None if seed is None else audits.input_ratios(pair.opt, trace, calls, np.random.default_rng(seed)),
        "trace": order.tolist(),
        "ref_told": pair.told(pair.ref, tenths(lambda: report("asked"))).tolist(),
        "opt_told": pair.told(pair.opt, tenths(lambda: report("asked"))).tolist(),
        "pools": thread_pools(),
        "calibration_kernel_ns": calibration_kernel_ns(),
        "generation": generation(pair, trace[:PROMPTS_PER_WORKER]),
        "looked_at": {"kept": len(taken), "kept_mismatches": audits.mismatches(pair.opt, trace, taken)},
        "shuffled": None if seed is None or not job["shuffle"] else shuffled(pair, trace, calls, seed),
    }


def shuffled(pair: Pair, trace: Sequence[np.ndarray], calls: int, seed: int) -> dict[str, Any] | None:
    """What the candidate tells with shuffled weights, and its time by that with the real ones."""
    if pair.shuffled is None:
        return None
    arm = pair.shuffled(seed)
    return {
        "told": pair.told(arm, lambda done, of: None).tolist(),
        "ratio": audits.shuffled_ratio(pair.opt, arm, trace, calls),
    }


def alone(job: dict[str, Any], report: Callable[..., None], wait: Callable[[], None]) -> dict[str, Any]:
    """Time the reference in blocks, in a process that loads nothing of any candidate: fields of `Alone`, by name."""
    from mlperf import tasks

    task, effort = tasks.find(job["task"]), Effort(**job["effort"])
    with np.load(job["samples"]) as file:
        samples = task.answering.queries(file["x"])
    arm = task.answering.reference(task.reference())
    runner = Runner(arm.run, samples, arm.around)
    inner = warm_up({"ref": runner}, effort.block_ns).calls["ref"]
    with without_gc():
        return {"inner": inner, "block_ns": [runner.block(inner).wall_ns for _ in range(effort.pairs)]}


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


NO_POOLS: dict[str, Any] = {
    "blas": {"vendor": None, "version": None, "threads": None}, "numba_threads": None, "numba_threading_layer": None,
}  # fmt: skip


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

    def wait() -> None:
        if not sys.stdin.readline():
            raise SystemExit("worker: the parent is gone")

    try:
        job = json.loads(sys.stdin.readline())
        found = resolve(job["do"])(job, lambda event: send(channel, {"event": event}), wait)
        send(channel, {"event": "result", "found": found})
    except (Refusal, NoArray) as refusal:
        code = refusal.code if isinstance(refusal, Refusal) else "OUTPUT_TYPE"
        send(channel, {"event": "refused", "code": code, "text": str(refusal)})


if __name__ == "__main__":
    from mlperf import worker  # by the name under which jobs find it, so that nothing here is there twice

    worker.main()
