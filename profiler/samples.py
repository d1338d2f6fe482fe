"""Taking samples: calls in blocks that last long enough, warmed up, without garbage collection, in turns.

The only file that reads the counter. Left out: what samples say (`doubts.py`), the face that others use (`clock.py`).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import cycle, islice, pairwise, repeat
from statistics import median
from time import get_clock_info, process_time_ns, sleep
from time import perf_counter_ns as now_ns
from typing import Any, NamedTuple, TypeVar

from profiler.doubts import is_steady

try:
    import resource
except ImportError:  # not Unix: page faults and context switches stay unknown
    resource = None  # type: ignore[assignment]

Name = TypeVar("Name", bound=Hashable)

MOST_WARMUP_SAMPLES = 40


class stopwatch:
    """The time of what is done once, or in parts: entered again, it goes on.

    `ns` and `seconds` may be read while it runs. `start()` and `stop()` are for where no block can be written.
    """

    def __init__(self) -> None:
        self._before_ns = 0
        self._started: int | None = None

    def start(self) -> stopwatch:
        """Go on from now; RuntimeError if it runs."""
        if self._started is not None:
            raise RuntimeError("stopwatch: it runs already; leave its block before it is entered again")
        self._started = now_ns()
        return self

    def stop(self) -> None:
        """Stand still until started again."""
        self._before_ns, self._started = self.ns, None

    __enter__ = start

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def ns(self) -> int:
        """Time between all starts and stops so far, and since the last start."""
        return self._before_ns + (0 if self._started is None else now_ns() - self._started)

    @property
    def seconds(self) -> float:
        return self.ns / 1e9


class Timer(NamedTuple):
    """What the clock is: its name, the step it is said to have, and what one reading costs, as measured."""

    name: str
    resolution_ns: float
    overhead_ns: float

    @property
    def error_ns(self) -> float:
        """What it may add to a sample, which is the difference of two readings."""
        return self.resolution_ns + self.overhead_ns


def timer() -> Timer:
    """The timer of this machine; a reading costs the median gap between two."""
    readings = [now_ns() for _ in range(501)]
    about = get_clock_info("perf_counter")
    gap = median(later - earlier for earlier, later in pairwise(readings))
    return Timer(about.implementation, about.resolution * 1e9, gap)


# -- taking samples ----------------------------------------------------------------------------------------------------


class Usage(NamedTuple):
    """What the process had used at a moment; None where the system does not tell."""

    cpu_ns: int
    minflt: int | None
    nivcsw: int | None

    @classmethod
    def now(cls) -> Usage:
        if resource is None:
            return cls(process_time_ns(), None, None)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(process_time_ns(), used.ru_minflt, used.ru_nivcsw)


class Block(NamedTuple):
    """One sample: the wall time of all its calls, what the process used meanwhile, and answers that were taken."""

    wall_ns: int
    cpu_ns: int
    minflt: int | None
    nivcsw: int | None
    taken: tuple[tuple[int, Any], ...] = ()  # (which of the trace's arguments, what was taken of the answer)


def nothing(answer: Any) -> None:
    """Of an answer nothing is taken."""


class Probe(NamedTuple):
    """What a block does beside its calls: at some `places` the answer is taken while the clock runs.

    They ascend and end with the last call. `bell()` is called just before the clock starts and just after it stopped.
    """

    places: Sequence[int] = ()
    take: Callable[[Any], Any] = nothing
    bell: Callable[[], object] = lambda: None


UNPROBED = Probe()


class Runner:
    """Something to be called over and over: `run()`, or `run(x)` along a trace of arguments that starts again.

    `around` is entered around each block of calls, not each call. `calls` counts all that were made.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        trace: Sequence[Any] | None = None,
        around: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.run, self.around, self.calls = run, around, 0
        self.arguments = None if trace is None else cycle(trace)
        self.period = 0 if trace is None else len(trace)

    def take(self, count: int) -> list[Any] | None:
        """The next `count` arguments; None where there are none to pass."""
        self.calls += count
        return None if self.arguments is None else list(islice(self.arguments, count))

    def block(self, calls: int, settle: bool = True, probe: Probe = UNPROBED) -> Block:
        """Time `calls` calls together; to settle, after one untimed: it finds the caches full of a neighbour's data.

        Raises ValueError for places of a probe that do not end with the last call.
        """
        first, start, arguments = self.take(settle), self.calls, self.take(calls)
        parts = [] if arguments is None or not probe.places else split(arguments, probe.places)
        with self.around():
            timed(self.run, first, settle)
            probe.bell()
            before = Usage.now()
            if parts:
                wall_ns, taken = timed_taking(self.run, parts, probe.take)
            else:
                wall_ns, taken = timed(self.run, arguments, calls), []
            after = Usage.now()
            probe.bell()
        minflt, nivcsw = (None if a is None or b is None else a - b for a, b in zip(after[1:], before[1:]))
        which = [(start + place) % self.period for place in probe.places] if parts else []
        return Block(wall_ns, after.cpu_ns - before.cpu_ns, minflt, nivcsw, tuple(zip(which, taken)))

    def singles(self, count: int) -> list[int]:
        """Time `count` calls along the trace one by one, after one untimed; ns each. TypeError without a trace."""
        run, times, arguments = self.run, [], self.take(count + 1)
        if arguments is None:
            raise TypeError("Runner.singles: there is no trace; give the arguments of the calls")
        first, *queries = arguments
        with self.around():
            run(first)
            for x in queries:
                start = now_ns()
                run(x)
                times.append(now_ns() - start)
        return times

    def calibrate(self, sample_ns: int) -> int:
        """How many calls last `sample_ns`: doubled until a quarter of it is reached, then scaled."""
        calls = 1
        while (wall_ns := self.block(calls).wall_ns) < sample_ns / 4:
            calls *= 2
        return max(1, math.ceil(calls * sample_ns / max(wall_ns, 1)))


def timed(run: Callable[..., Any], arguments: list[Any] | None, calls: int) -> int:
    """Time of one call for each argument, or of so many without any, one after another; the only loop that is timed."""
    start = now_ns()
    if arguments is None:
        for _ in repeat(None, calls):
            run()
    else:
        for x in arguments:
            run(x)
    return now_ns() - start


Part = tuple[list[Any], Any]  # arguments of calls whose answers nobody looks at, then one whose answer is taken


def split(arguments: list[Any], places: Sequence[int]) -> list[Part]:
    """Arguments cut behind each place. Raises ValueError where the last place is not that of the last argument."""
    if places[-1] != len(arguments) - 1:
        raise ValueError(f"split: the last place is {places[-1]} of {len(arguments)} calls; end with the last call")
    starts = [0, *(place + 1 for place in places)]
    return [(arguments[start:place], arguments[place]) for start, place in zip(starts, places)]


def timed_taking(run: Callable[..., Any], parts: list[Part], take: Callable[[Any], Any]) -> tuple[int, list[Any]]:
    """`timed`, and what `take` takes of some answers while the clock runs: that is a part of what is timed."""
    taken = []
    start = now_ns()
    for before, x in parts:
        for y in before:
            run(y)
        taken.append(take(run(x)))
    return now_ns() - start, taken


def pause(seconds: float) -> tuple[int, int]:
    """Sleep; how long that was and how much CPU time the whole process had meanwhile, in ns."""
    start, cpu_ns = now_ns(), process_time_ns()
    sleep(seconds)
    return now_ns() - start, process_time_ns() - cpu_ns


def arrivals(begin: Callable[[], Iterable[Any]], most: int) -> list[int]:
    """Time in ns that each of the first `most` items of `begin()` took: since the call, or since the one before."""
    times, start = [], now_ns()
    for _ in islice(begin(), most):
        times.append(now_ns() - start)
        start = now_ns()
    return times


@contextmanager
def without_gc() -> Iterator[None]:
    """No garbage collection inside: one would pay for what another left behind."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def turns(names: Iterable[Name], rounds: int) -> Iterator[list[Name]]:
    """Who runs in which order in each round: A B C, C B A, A B C, ..."""
    forwards = list(names)
    for i in range(rounds):
        yield forwards if i % 2 == 0 else forwards[::-1]


class WarmUp(NamedTuple):
    """How it went: samples taken of each, who did not become steady, and how many calls make a sample."""

    samples: int
    unsteady: tuple[Any, ...]
    calls: dict[Any, int]


def warm_up(runners: Mapping[Name, Runner], sample_ns: int, most_ns: float = math.inf) -> WarmUp:
    """Take short samples of all in turn until all are steady, then see how many calls last `sample_ns`.

    Compiling and loading happens here. It ends unsteady after MOST_WARMUP_SAMPLES, or after `most_ns` in all.
    """
    so_far = stopwatch().start()
    short = {name: max(1, runner.calibrate(sample_ns) // 4) for name, runner in runners.items()}
    times: dict[Name, list[float]] = {name: [] for name in runners}
    samples, unsteady = 0, tuple(runners)
    while unsteady and samples < MOST_WARMUP_SAMPLES and (samples == 0 or so_far.ns < most_ns):
        for name, runner in runners.items():
            times[name].append(runner.block(short[name]).wall_ns / short[name])
        samples, unsteady = samples + 1, tuple(name for name in runners if not is_steady(times[name]))
    # The quickest sample counts: a disturbed one would make all later ones too short.
    return WarmUp(samples, unsteady, {name: math.ceil(sample_ns / max(min(times[name]), 1e-3)) for name in runners})
