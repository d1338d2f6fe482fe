"""Times contestants in turn, each library in a process of its own, one running while all others sleep.

Processes of their own, because thread pools that share one fight for cores and for settings: each library has its own
defaults here. Rounds alternate in direction (A B C, C B A, ...), so that whatever disturbs the machine hits neighbours
alike, and ratios are formed within a round. A process answers only when its threads have stopped spinning. Rounds in
which other processes were busy are done again; the quietest ones count, whatever their times.

The clock is the repository's (`profiler.samples.Runner`). Compilation, packing and first runs come before.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.accuracy_work import Training
from benchmarks.libraries import FILES, NUMPY, Made, Unavailable
from benchmarks.quiet import Watch
from benchmarks.transformer_work import TransformerWork
from benchmarks.work import Work as OtherWork
from mlperf.process import environment
from profiler.samples import Runner, stopwatch, turns, without_gc

Work = OtherWork | TransformerWork | Training
Check = Literal["f32", "int8", "none"]
F32_BOUND = 1e-4  # largest difference over largest value
INT8_DECIBELS, INT8_AGREEMENT = 20.0, 0.98  # signal over quantisation noise, or the same likeliest class
# A slice is longer than a tick of the system: it counts the time of a thread on another core only at ticks.
QUIET_SLICE_S, QUIET_SHARE, QUIET_LIMIT_S = 0.012, 0.1, 0.5
QUIET_CORES = 0.15  # what other processes may use during a round that is not done again
LONG_ROUNDS = 3
TIMEOUT_S, PATIENCE_S = 300.0, 5.0  # for an answer, for an end


class Contestant(NamedTuple):
    """One variant of one library; `check` says how its answer is compared with the reference's."""

    package: str
    variant: str
    check: Check = "f32"

    def __str__(self) -> str:
        return f"{self.package} {self.variant}"


REFERENCE = Contestant(NUMPY, "eager")


@dataclass(frozen=True)
class Case:
    """One row: work, and who does it. The reference's answer decides who is right; it is timed where it is listed.

    `memory`: how much each holds at most is measured too. `long`: it takes seconds, so a block is one run, and the
    rounds are few.
    """

    group: str
    work: Work
    contestants: tuple[Contestant, ...]
    reference: Contestant = REFERENCE
    memory: bool = False
    long: bool = False

    def __str__(self) -> str:
        return str(self.work)

    def rounds(self, effort: Effort) -> int:
        return min(effort.rounds, LONG_ROUNDS) if self.long else effort.rounds


class Spread(NamedTuple):
    """A median, and the least and the greatest of what it is the median of."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass
class Result:
    """What a case gave: ns for each time that the work was done, round by round; or why there is nothing."""

    case: Case
    threads: int
    times_ns: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)  # what a run holds at most, where the case asks for it
    others_cores: list[float] = field(default_factory=list)  # what other processes used in each round
    repeated: int = 0  # rounds done once more because others used too much

    def median_ns(self, name: str) -> float:
        return median(self.times_ns[name])

    def quickest(self, names: Sequence[str]) -> str | None:
        """Of these contestants, who is quickest; None where all of them failed."""
        timed = [name for name in names if name in self.times_ns]
        return min(timed, key=self.median_ns) if timed else None

    def ratio(self, slower: str, quicker: str) -> Spread:
        """How many times longer one takes than the other, formed within each round."""
        return Spread.of([a / b for a, b in zip(self.times_ns[slower], self.times_ns[quicker])])


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    block_ns: int


FULL, QUICK = Effort(rounds=7, block_ns=20_000_000), Effort(rounds=3, block_ns=5_000_000)


# -- a library's own process -------------------------------------------------------------------------------------------


def serve(connection: Connection, package: str, threads: int) -> None:
    """Make work ready and time blocks of it, as told, until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who tells
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # in the middle of work, and yet cleaned up
    implementations: dict[tuple[type, str], Any] = {}
    for name in FILES[package]:
        module = import_module(f"benchmarks.libraries.{name}")
        implementations |= module.IMPLEMENTATIONS
        if hasattr(module, "prepare"):
            module.prepare(threads)
    runners: dict[str, tuple[Runner, Made]] = {}
    while (message := connection.recv()) != "end":
        answer: Any = None
        match message:
            case ("make", work, variant):
                answer = make(implementations, runners, work, variant, threads)
            case ("calibrate", variant, block_ns):
                answer = calibrate(runners[variant][0], block_ns)
            case ("block", variant, inner, settle):
                runner, made = runners[variant]
                with without_gc():
                    answer = runner.block(inner, settle).wall_ns / inner / made.per_run
            case ("tell", variant):
                _, made = runners[variant]
                answer = made.tell and made.tell()
            case ("peak", variant):
                _, made = runners[variant]
                with made.around():
                    answer = made.peak_bytes and made.peak_bytes()
            case "forget":
                runners.clear()
        if threads > 1:
            rest()
        connection.send(answer)


def make(
    implementations: dict[tuple[type, str], Any], runners: dict[str, Any], work: Work, variant: str, threads: int
) -> tuple[str, Any]:
    """("answer", array) or ("failed", why)."""
    implementation = implementations.get((type(work), variant))
    if implementation is None:
        return "failed", f"{variant} does not know {type(work).__name__}"
    try:
        made = implementation(work, threads)
        answer = made.answer()
    except Unavailable as error:
        return "failed", str(error)
    except Exception as error:  # a contestant that fails loses its own place only
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}"
    runners[variant] = Runner(made.run, made.trace, made.around), made
    return "answer", answer


def calibrate(runner: Runner, block_ns: int) -> int:
    """How many runs last `block_ns`, found twice: the first time warms up."""
    runner.calibrate(block_ns)
    return runner.calibrate(block_ns)


def rest() -> None:
    """Return when no thread of this process is busy any more: pools spin for a while after work, OpenBLAS's 0.1 s."""
    waited = stopwatch().start()
    while waited.seconds < QUIET_LIMIT_S:
        used = time.process_time()
        time.sleep(QUIET_SLICE_S)
        if time.process_time() - used < QUIET_SHARE * QUIET_SLICE_S:
            return


# -- who tells them ----------------------------------------------------------------------------------------------------


@contextmanager
def surroundings(variables: dict[str, str]) -> Iterator[None]:
    """Processes started inside have this environment and nothing else."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Process:
    """A library in its own process. RuntimeError if it ends or stays silent."""

    def __init__(self, package: str, threads: int) -> None:
        self.package = package
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, package, threads), daemon=True)
        with surroundings(environment(threads, hash_seed=0)):
            self.process.start()
        theirs.close()

    def ask(self, *message: Any) -> Any:
        """What it answers to a message."""
        try:
            self.connection.send(message if len(message) > 1 else message[0])
            if self.connection.poll(TIMEOUT_S):
                return self.connection.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"benchmarks: the process of {self.package} ended; its last words are above") from None
        raise RuntimeError(f"benchmarks: the process of {self.package} was silent for {TIMEOUT_S:g} s")

    def end(self, patience_s: float = PATIENCE_S) -> None:
        """Let it go by itself, so that it cleans up; after so many seconds break its work off; at last kill it."""
        with suppress(OSError, EOFError):
            self.connection.send("end")
        self.process.join(patience_s)
        self.process.terminate()
        self.process.join(PATIENCE_S)
        self.process.kill()
        self.process.join()
        self.connection.close()


class Contest:
    """All libraries with equal numbers of threads. A context manager: leaving it ends their processes."""

    def __init__(self, libraries: Sequence[str], threads: int, effort: Effort) -> None:
        self.threads, self.effort = threads, effort
        self.processes = {library: Process(library, threads) for library in libraries}

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in self.processes.values():
            process.end(0 if kind else PATIENCE_S)

    def watch(self) -> Watch:
        """What everybody but the contest's processes uses from now on."""
        return Watch([process.process.pid for process in self.processes.values() if process.process.pid])

    def run(self, case: Case, progress: Callable[[], object] = lambda: None) -> Result:
        """Check all contestants, then time those that are right. `progress` is called after each round."""
        result = Result(case, self.threads)
        entered = self.enter(case, result)
        block_ns = self.effort.block_ns
        inner = {
            each: 1 if case.long else self.processes[each.package].ask("calibrate", each.variant, block_ns)
            for each in entered
        }
        wanted = case.rounds(self.effort)
        rounds: list[tuple[float, dict[Contestant, float]]] = []
        watch = self.watch()
        for order in turns(entered, 2 * wanted):
            times = {each: self.processes[each.package].ask("block", each.variant, inner[each], True) for each in order}
            rounds.append((watch.lap(), times))
            if len(rounds) <= wanted:
                progress()
            if sum(others <= QUIET_CORES for others, _ in rounds) == wanted:
                break
        quietest = sorted(rounds, key=lambda one: one[0])[:wanted]
        result.times_ns = {str(each): [times[each] for _, times in quietest] for each in entered}
        result.others_cores, result.repeated = [others for others, _ in quietest], len(rounds) - len(quietest)
        for each in entered if case.memory else ():
            if (peak := self.processes[each.package].ask("peak", each.variant)) is not None:
                result.peak_bytes[str(each)] = peak
        for process in self.processes.values():
            process.ask("forget")
        return result

    def enter(self, case: Case, result: Result) -> list[Contestant]:
        """Let everybody get ready and answer; those who cannot, or answer wrongly, are noted in the result."""
        kind, right = self.processes[case.reference.package].ask("make", case.work, case.reference.variant)
        if kind == "failed":
            raise RuntimeError(f"benchmarks: the reference of {case} failed: {right}")
        entered = []
        for each in case.contestants:
            if each.package not in self.processes:
                result.failed[str(each)] = "not installed"
                continue
            kind, answer = "answer", right
            if each != case.reference:
                kind, answer = self.processes[each.package].ask("make", case.work, each.variant)
            wrong = answer if kind == "failed" else difference(answer, right, each.check)
            if wrong:
                result.failed[str(each)] = wrong
            else:
                entered.append(each)
        return entered


def difference(answer: np.ndarray, right: np.ndarray, check: Check) -> str:
    """Why an answer cannot be accepted; empty where it can."""
    if check == "none":
        return ""
    if answer.shape != right.shape:
        return f"wrong: the answer is {answer.shape}, the reference's {right.shape}"
    error, size = np.abs(answer - right).max(), np.abs(right).max()
    if check == "f32":
        return "" if error <= F32_BOUND * size else f"wrong: it differs by {error / size:.1e} of the largest value"
    noise = np.square(answer.astype(np.float64) - right).sum()
    decibels = 10 * np.log10(np.square(right.astype(np.float64)).sum() / max(noise, np.finfo(np.float64).tiny))
    agreement = float(np.mean(answer.argmax(-1) == right.argmax(-1)))
    if decibels >= INT8_DECIBELS or agreement >= INT8_AGREEMENT:
        return ""
    return f"wrong: {decibels:.1f} dB over quantisation noise, {agreement:.0%} of the classes agree"
