"""The one clock of the repository: how long a call takes, alone or beside others, and how far to trust that.

A sample is a block of as many calls as last long enough for the timer. Before the first one everything runs until it is
steady, so kernels are compiled or loaded by then; whether that was so is checked afterwards. What is compared takes
turns, A B, B A, ..., so that whatever disturbs the machine hits neighbours alike, and ratios are formed within a round.
Nothing is averaged, corrected or left out.

>>> print(measure(lambda: model(x)))
>>> times = compare({"eager": lambda: model(x), "plan": lambda: plan(x)})
>>> times["eager"].over(times["plan"])  # how many times longer, with its interval
>>> with stopwatch() as took:  # what is done once
...     train()
>>> took.seconds

Left out: how samples are taken (`samples.py`), what they say of themselves (`doubts.py`), fresh processes
(`mlperf.process`, `benchmarks.contest`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from profiler.doubts import Estimate, doubts
from profiler.samples import Name, Runner, stopwatch, timer, turns, warm_up, without_gc
from profiler.units import duration
from tinytorch.engine.ready import kernels_ready

__all__ = ["Estimate", "Runner", "Timing", "compare", "doubts", "fastest", "measure", "stopwatch", "timer", "turns"]

SAMPLE_NS = 1_000_000  # far above the timer's steps; pyperf warns below it
ROUNDS = 31  # the interval of the median then leaves out nine samples at either end
BUDGET_S = 2.0
FEWEST_ROUNDS = 3  # also where the budget does not allow them; `Timing.doubts` tells
WARMUP_SHARE = 0.25  # of the budget
TIE = 0.05  # a candidate must be so much quicker than a simpler one: repeated runs must not disagree by luck


@dataclass(frozen=True)
class Timing:
    """What one call takes. `samples_ns`: its time in each sample of `calls` calls, in the order they were taken.

    `doubts` says in words why the figure should not be trusted. `print` shows median, interval and doubts.
    """

    samples_ns: tuple[float, ...]
    calls: int = 1
    warmup_calls: int = 0
    doubts: tuple[str, ...] = ()

    @property
    def estimate(self) -> Estimate:
        """Median and 95 % interval, in ns."""
        return Estimate.of(self.samples_ns)

    @property
    def median_ns(self) -> float:
        return self.estimate.median

    @property
    def low_ns(self) -> float:
        return self.estimate.low

    @property
    def high_ns(self) -> float:
        return self.estimate.high

    def over(self, other: Timing) -> Estimate:
        """How many times longer this takes than the other, formed within each round. ValueError if timed apart."""
        if len(self.samples_ns) != len(other.samples_ns):
            raise ValueError(
                f"Timing.over: {len(self.samples_ns)} and {len(other.samples_ns)} samples; "
                "time both in one `compare`, so that neighbours can be set against each other"
            )
        return Estimate.of([a / b for a, b in zip(self.samples_ns, other.samples_ns)])

    def __str__(self) -> str:
        middle, low, high = map(duration, self.estimate)
        taken = f"{len(self.samples_ns)} samples of {self.calls} call{'s' * (self.calls > 1)}"
        return "\n".join([f"{middle} ({low} to {high}, {taken})", *(f"  doubt: {doubt}" for doubt in self.doubts)])


def measure(
    run: Callable[[], Any] | Runner, *, rounds: int = ROUNDS, sample_ns: int = SAMPLE_NS, budget_s: float = BUDGET_S
) -> Timing:
    """Time one call of `run`, as `compare` does."""
    return compare({"": run}, rounds=rounds, sample_ns=sample_ns, budget_s=budget_s)[""]


def compare(
    runs: Mapping[Name, Callable[[], Any] | Runner],
    *,
    rounds: int = ROUNDS,
    sample_ns: int = SAMPLE_NS,
    budget_s: float = BUDGET_S,
    progress: Callable[[], object] = lambda: None,
) -> dict[Name, Timing]:
    """Time all of them in turns, `rounds` samples each of at least `sample_ns`; `progress` is called after a round.

    `budget_s`: about how long each may take in all. What does not fit is warmed up less and has fewer rounds, at least
    FEWEST_ROUNDS. Garbage is not collected meanwhile. ValueError with nothing to time or no rounds.
    """
    if not runs or rounds < 1:
        raise ValueError(f"clock.compare: {len(runs)} callables, {rounds} rounds; both have to be at least 1")
    budget_ns = 1e9 * budget_s * len(runs)
    runners = {name: run if isinstance(run, Runner) else Runner(run) for name, run in runs.items()}
    before, took = {name: runner.calls for name, runner in runners.items()}, stopwatch().start()
    warm = warm_up(runners, sample_ns, WARMUP_SHARE * budget_ns)
    calls, warmup_calls = warm.calls, {name: runner.calls - before[name] for name, runner in runners.items()}
    samples: dict[Name, list[float]] = {name: [] for name in runners}
    timer_ns = timer().error_ns
    with without_gc():
        ready = kernels_ready()
        for done, order in enumerate(turns(runners, rounds)):
            if done >= FEWEST_ROUNDS and took.ns > budget_ns:
                break
            for name in order:
                # A call as long as a sample fills the caches by itself.
                samples[name].append(runners[name].block(calls[name], settle=calls[name] > 1).wall_ns / calls[name])
            progress()
        compiled = kernels_ready() - ready
    return {
        name: Timing(
            tuple(samples[name]),
            calls[name],
            warmup_calls[name],
            doubts(
                samples[name],
                calls=calls[name],
                timer_ns=timer_ns,
                steady=name not in warm.unsteady,
                compiled=compiled,
            ),
        )
        for name in runners
    }


def fastest(times: Mapping[Name, Timing], tie: float = TIE) -> Name:
    """Who takes the least time, or the first that is not slower by more than `tie`: ties go to the simpler.

    `times` are those of one `compare`, simplest first. ValueError if there are none.
    """
    if not times:
        raise ValueError("fastest: no candidates; name at least one")
    best = min(times.values(), key=lambda time: time.median_ns)
    return next(name for name, time in times.items() if time.over(best).median * (1 - tie) <= 1)
