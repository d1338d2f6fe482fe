"""How far repeated measurements of one thing can be trusted: an exact interval of their median, and doubts in words.

All samples count, whatever they say: an outlier is told of and never dropped. Left out: taking samples (`samples.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import median, quantiles
from typing import NamedTuple

from profiler.units import duration

STEADY_SAMPLES = 4  # two neighbouring halves of so many samples are compared while warming up
STEADY_CHANGE = 0.1  # relative change of their medians that still counts as steady

# What is doubted, and from where on.
TIMER_SHARE = 0.01  # of a sample: what the timer adds must be smaller than any difference worth telling
SPREAD = 0.1  # of the median, middle half of the samples; pyperf's limit for a standard deviation
OUTLIER_FENCE = 1.5  # widths of the middle half beyond it (Tukey 1977): 0.7 % of samples that vary by chance alone
OUTLIER_SHARE = 0.05  # several times what chance gives; a median still stands, but something else was at work
DRIFT = 0.05  # change between the halves: above it a figure depends on when it was taken
FEWEST_FOR_HALVES = 8  # samples: quartiles of fewer than four in each half say nothing


class Estimate(NamedTuple):
    """A median, and the interval that covers the true one in at least 95 % of measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The estimate from independent samples, by their order alone, whatever their distribution.

        Below six samples no interval covers so much; then it is the least and the greatest, which `coverage` judges.
        ValueError without samples.
        """
        if not values:
            raise ValueError("Estimate.of: no samples; give at least one")
        ordered, cut = sorted(values), ends_cut(len(values))
        return cls(median(ordered), ordered[cut], ordered[-1 - cut])


@cache
def ends_cut(count: int) -> int:
    """How many of `count` ordered samples may be left out at either end of a 95 % interval of the median.

    A sample is below the true median with probability 1/2. So the interval from the (k+1)-th least to the (k+1)-th
    greatest misses it with probability 2 P[Binomial(count, 1/2) <= k]: counted in integers, so without rounding.
    """
    cut, below, ways = 0, 1, 1  # below: of 2^count outcomes, those with at most `cut` samples under the median
    while True:
        ways = ways * (count - cut) // (cut + 1)
        if 2 * 20 * (below + ways) > 2**count:
            return cut
        cut, below = cut + 1, below + ways


def coverage(count: int) -> float:
    """With what probability the least and the greatest of `count` samples have the true median between them."""
    return 1 - 2.0 ** (1 - count)


def is_steady(times: Sequence[float]) -> bool:
    """Whether the last two halves of STEADY_SAMPLES times agree in their medians."""
    if len(times) < 2 * STEADY_SAMPLES:
        return False
    earlier, later = median(times[-2 * STEADY_SAMPLES : -STEADY_SAMPLES]), median(times[-STEADY_SAMPLES:])
    return abs(later - earlier) <= STEADY_CHANGE * earlier


def doubts(
    samples_ns: Sequence[float], *, calls: int = 1, timer_ns: float = 0, steady: bool = True, compiled: int = 0
) -> tuple[str, ...]:
    """Why the median of these times should be doubted, a sentence each; nothing where there is no reason.

    `samples_ns`: time of one call in each sample, in the order in which they were taken, a sample being `calls` calls.
    `timer_ns`: what reading the timer adds to a sample. `steady`: whether the warm-up became so. `compiled`: how many
    kernels were compiled or loaded between the samples.
    """
    if not samples_ns:
        return ("no samples were taken",)
    told = [
        None if steady else "the warm-up ended before it was steady: the first samples may be slower than later ones",
        f"{compiled} kernels were compiled or loaded while samples were taken: call once before" if compiled else None,
        too_short(min(samples_ns) * calls, timer_ns),
        too_few(len(samples_ns)),
        spread(samples_ns),
        outliers(samples_ns),
        drift(samples_ns),
    ]
    return tuple(filter(None, told))


def too_short(sample_ns: float, timer_ns: float) -> str | None:
    """The shortest sample against what the timer adds."""
    if timer_ns <= TIMER_SHARE * sample_ns:
        return None
    return (
        f"the shortest sample took {duration(sample_ns)}, of which the timer may be {duration(timer_ns)}: "
        f"it should be less than {TIMER_SHARE:.0%}"
    )


def too_few(count: int) -> str | None:
    """Whether there are enough samples for an interval."""
    if coverage(count) >= 0.95:
        return None
    return (
        f"only {count} sample{'s' * (count > 1)}: the true median lies between the least and the greatest with "
        f"probability {coverage(count):.2g}; 0.95 needs six"
    )


def spread(samples: Sequence[float]) -> str | None:
    """How far the middle half of the samples reaches."""
    if len(samples) < 2:
        return None
    lower, middle, upper = quartiles(samples)
    if upper - lower <= SPREAD * middle:
        return None
    return (
        f"the samples spread: half of them lie between {duration(lower)} and {duration(upper)}, "
        f"{(upper - lower) / middle:.1%} of the median; at most {SPREAD:.0%} is quiet"
    )


def outliers(samples: Sequence[float]) -> str | None:
    """Samples far from the middle half, as other programs cause them."""
    if len(samples) < 2:
        return None
    lower, middle, upper = quartiles(samples)
    fence = OUTLIER_FENCE * (upper - lower)
    # With samples that agree to the last per cent the fence is so near that what lies beyond it is no news.
    far = [x for x in samples if not lower - fence <= x <= upper + fence and abs(x - middle) > SPREAD * middle]
    if len(far) <= OUTLIER_SHARE * len(samples):
        return None
    worst = max(far, key=lambda x: abs(x - middle))
    return (
        f"outliers: {len(far)} of {len(samples)} samples, the farthest {duration(worst)}, "
        f"{worst / middle:.3g} times the median; they count"
    )


def drift(samples: Sequence[float]) -> str | None:
    """The first half of the samples against the second: a change that chance does not explain.

    Chance moves medians of few samples by more than DRIFT, but seldom the middle halves past each other.
    """
    if len(samples) < FEWEST_FOR_HALVES:
        return None
    half = len(samples) // 2
    first, second = quartiles(samples[:half]), quartiles(samples[-half:])
    change = second[1] / first[1] - 1 if first[1] else 0.0
    if abs(change) <= DRIFT or not (second[0] > first[2] or second[2] < first[0]):
        return None
    return (
        f"the second half of the samples was {abs(change):.0%} {'slower' if change > 0 else 'quicker'} than the first "
        f"({duration(first[1])}, then {duration(second[1])}): it had not settled"
    )


def quartiles(samples: Sequence[float]) -> list[float]:
    """Lower quartile, median and upper quartile of at least two samples."""
    return quantiles(samples, n=4, method="inclusive")
