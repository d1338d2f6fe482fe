"""The ceilings of this machine, measured once and kept on disk: arithmetic, memory by working set, calls.

A rate is the best of several rounds, for a ceiling is what the machine can do and disturbance only ever slows it down;
where the rounds do not agree on it, that is said. Left out: what a ceiling means for an op (`roofline.py`), the loops
that are timed (`kernels/limits.py`).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from math import ceil, log2
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from pydantic import ValidationError
from tqdm import tqdm

from kernels import ahead, cache, cpu, limits, simd
from kernels.threads import exactly
from profiler import clock
from profiler.machine import caches, cpu_model
from profiler.roofline import BEYOND, Ceilings
from profiler.units import memory
from tinytorch.datasets.download import cache as user_cache
from tinytorch.engine import dispatch, ops
from tinytorch.files import alone, write_atomically

SMALLEST_BYTES, LARGEST_BYTES = 16 << 10, 256 << 20  # working sets: half of a small first cache; beyond most last ones
MEMORY_SHARE = 4  # a working set may be 1 / so much of the memory that is free
ROUNDS, SAMPLE_NS = 15, 1_000_000
BUDGET_S = 0.1  # for each rate, so that all take a few seconds
STREAMS: tuple[limits.Stream, ...] = ("triad", "read")
STEPS = 1000  # of the program whose steps do nothing
# A quarter of the rounds has to come within a fifth of the best. On a quiet virtual machine the rates of caches repeat
# within 2 %, those around the size of the last cache within 15; in a disturbed run 18 of 32 missed by a tenth or more.
AGREEING, AGREEMENT = 4, 0.2


def ceilings(threads: int = 1, again: bool = False) -> Ceilings:
    """The ceilings of this machine for so many threads: from disk, or measured now (`again`: in any case).

    Measuring takes a few seconds, with a progress bar on stderr; one process at a time does it. Where the result cannot
    be kept, that is said on stderr. Raises ValueError for more threads than this process may have.
    """
    path = place(threads)
    kept = None if again else _unkept.get(path) or load(path)
    if kept is not None:
        return kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.parent):
            kept = None if again else load(path)  # by whoever had the lock before
            if kept is None:
                kept = measure(threads)
                write_atomically(path, kept.model_dump_json(indent=1).encode())
    except OSError as error:
        kept = _unkept[path] = kept or measure(threads)
        print(f"ceilings: measured, but not kept for the next time: {error}", file=sys.stderr)
    return kept


_unkept: dict[Path, Ceilings] = {}  # what this process measured and could not write


def place(threads: int) -> Path:
    """The file for this machine, this path through its vector instructions, and this code."""
    digest = hashlib.sha256(repr((cpu_model(), caches(), ahead.cores(), threads)).encode())
    digest.update(cache.source_key(Path(simd.__file__).parent).encode())
    for source in (limits.__file__, __file__):
        digest.update(Path(source).read_bytes())
    return user_cache() / "ceilings" / f"{cpu.PATH}-{threads}-{digest.hexdigest()[:16]}.json"


def load(path: Path) -> Ceilings | None:
    """What is kept there; None where that is nothing, or damaged."""
    try:
        return Ceilings.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


# -- measuring ---------------------------------------------------------------------------------------------------------


class Probe(NamedTuple):
    """What is called, and how much of what is measured one call does."""

    run: Callable[[], None]
    work: float


def measure(threads: int) -> Ceilings:
    """Measure now. Raises ValueError as `ceilings` does."""
    known = caches(threads)
    sizes = working_sets(known)
    with exactly(threads):
        print(
            f"measuring the ceilings of this machine for {threads} thread{'s' * (threads > 1)}: float32 multiply-adds, "
            f"int8 dot products, memory from {memory(sizes[0])} to {memory(sizes[-1])}, calls of ops and steps",
            file=sys.stderr,
        )
        with tqdm(total=ROUNDS + 1, desc="ceilings", unit="round", file=sys.stderr, dynamic_ncols=True) as bar:
            probes, calls = prepare(threads, sizes)
            bar.update()
            runs: dict[Any, Any] = {name: probe.run for name, probe in probes.items()} | calls
            times = clock.compare(runs, rounds=ROUNDS, sample_ns=SAMPLE_NS, budget_s=BUDGET_S, progress=bar.update)
    rates = {name: [probe.work / ns * 1e9 for ns in times[name].samples_ns] for name, probe in probes.items()}
    best = {name: max(each) for name, each in rates.items()}
    return Ceilings(
        cpu=cpu_model() or "an unknown CPU",
        simd=cpu.PATH,
        threads=threads,
        float32_flops_per_s=best["fma"],
        int8_ops_per_s=best["dot"],
        call_ns=times["call"].median_ns,
        step_ns=times["steps"].median_ns / STEPS,
        bandwidth=tuple((size, max(best[f"{kind} {memory(size)}"] for kind in STREAMS)) for size in sizes),
        caches=known,
        measured_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        doubts=doubts(rates, sizes[-1], known),
    )


def working_sets(known: Sequence[tuple[str, int]]) -> list[int]:
    """Powers of two from SMALLEST_BYTES to well beyond the last cache, as far as memory allows."""
    wanted = max(LARGEST_BYTES, BEYOND * known[-1][1] if known else 0)
    most = min(2 ** ceil(log2(wanted)), psutil.virtual_memory().available // MEMORY_SHARE)
    return [2**power for power in range(SMALLEST_BYTES.bit_length() - 1, max(most, SMALLEST_BYTES).bit_length())]


def prepare(threads: int, sizes: Sequence[int]) -> tuple[dict[str, Probe], dict[str, clock.Runner]]:
    """What gives rates, and what gives the time of a call; compiled, and with memory in place."""
    streams = limits.Streams(sizes[-1], threads)
    probes = {
        "fma": lasting(partial(limits.probe, "fma", threads=threads), threads * limits.FMA_FLOPS),
        "dot": lasting(partial(limits.probe, "dot", threads=threads), threads * limits.DOT_OPS),
    }
    for size in sizes:
        for kind in STREAMS:
            probes[f"{kind} {memory(size)}"] = lasting(partial(streams.probe, kind, size), streams.round_bytes(size))
    one = np.ones(1, np.float32)
    return probes, {
        "call": clock.Runner(partial(ops.add, one, one), around=unwatched),
        "steps": clock.Runner(streams.idle(STEPS)),
    }


def lasting(make: Callable[[int], Callable[[], None]], work: int) -> Probe:
    """A call with as many rounds inside as last SAMPLE_NS, so that what is around them does not count."""

    def quickest_ns(rounds: int) -> int:  # of a few, for threads may be late, above all when they first start
        runner = clock.Runner(make(rounds))
        return min(runner.block(1).wall_ns for _ in range(3))

    rounds = 1
    while (ns := quickest_ns(rounds)) < SAMPLE_NS / 4:
        rounds *= 2
    rounds = ceil(rounds * SAMPLE_NS / ns)
    return Probe(make(rounds), rounds * work)


@contextmanager
def unwatched() -> Iterator[None]:
    """Nobody is told of the calls inside: a profiler that runs would be timed with them."""
    kept = dispatch.watchers[:]
    dispatch.watchers.clear()
    try:
        yield
    finally:
        dispatch.watchers[:] = kept


def doubts(rates: Mapping[str, Sequence[float]], largest: int, known: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Why the ceilings may be too low, or main memory's too high, in sentences."""
    agreed = {name: sorted(each)[-1 - len(each) // AGREEING] / max(each) for name, each in rates.items()}
    far = {name: share for name, share in agreed.items() if share < 1 - AGREEMENT}
    told = []
    if far:
        worst = min(far, key=far.__getitem__)
        told.append(
            f"rates hardly reached again: {len(far)} of {len(rates)}, least of all {worst!r}: a quarter of the "
            f"rounds came to {far[worst]:.0%} of its best; measure again when no other programs run"
        )
    if known and largest < BEYOND * known[-1][1]:
        told.append(
            f"main memory: the largest working set was {memory(largest)}, since too little memory is free, and "
            f"{known[-1][0]} holds {memory(known[-1][1])}: its rate may be partly that cache's"
        )
    return tuple(told)
