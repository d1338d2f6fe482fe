"""What samples say: the interval of the median is exact, each doubt names its figure and has its opposite."""

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.doubts import Estimate, coverage, doubts, ends_cut, is_steady
from profiler.units import duration

QUIET = (100.0, 101.0, 99.0, 100.0) * 4  # sixteen samples that give no reason for doubt


# -- the interval ------------------------------------------------------------------------------------------------------


def missed(count, cut):
    """2 P[Binomial(count, 1/2) <= cut], from the definition."""
    return 2 * sum(math.comb(count, k) for k in range(cut + 1)) / 2**count


@given(st.integers(6, 400))
def test_the_interval_is_the_narrowest_that_covers_enough(count):
    cut = ends_cut(count)
    assert missed(count, cut) <= 0.05 < missed(count, cut + 1)


@given(st.integers(1, 5))
def test_of_few_samples_all_are_taken(count):
    assert ends_cut(count) == 0
    assert coverage(count) == pytest.approx(1 - missed(count, 0) if count > 1 else 0)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.randoms())
def test_the_interval_follows_from_the_order_alone(values, shuffler):
    found = Estimate.of(values)
    assert found.median == median(values)
    assert found.low in values and found.high in values
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    shuffled = values.copy()
    shuffler.shuffle(shuffled)
    assert Estimate.of(shuffled) == found
    doubled = Estimate.of([2 * x for x in values])  # exact in floats
    assert doubled == tuple(2 * x for x in found)


@pytest.mark.parametrize("count", [7, 15, 31])
def test_it_covers_the_true_median_as_often_as_stated(count):
    """4000 draws of a skewed distribution: the share has a standard deviation of 0.3 %; four of them are allowed."""
    drawn = np.random.default_rng(count).exponential(size=(4000, count))
    found = [Estimate.of(row.tolist()) for row in drawn]
    covered = np.mean([low <= math.log(2) <= high for _, low, high in found])
    exactly = 1 - missed(count, ends_cut(count))
    assert exactly >= 0.95
    assert covered == pytest.approx(exactly, abs=4 * math.sqrt(exactly * (1 - exactly) / 4000))


def test_no_samples_have_no_median():
    with pytest.raises(ValueError, match=r"Estimate\.of: no samples; give at least one"):
        Estimate.of([])


# -- doubts ------------------------------------------------------------------------------------------------------------


def test_quiet_samples_give_no_reason():
    assert doubts(QUIET, calls=1000, timer_ns=40) == ()


def test_too_short():
    assert doubts(QUIET, calls=1, timer_ns=40) == (
        "the shortest sample took 99.0 ns, of which the timer may be 40.0 ns: it should be less than 1%",
    )
    assert doubts(QUIET, calls=41, timer_ns=40) == ()


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, ("only 1 sample: the true median lies between the least and the greatest with probability 0",)),
        (5, ("only 5 samples: the true median lies between the least and the greatest with probability 0.94",)),
        (6, ()),
    ],
)
def test_too_few(count, told):
    assert doubts([100.0] * count) == tuple(f"{text}; 0.95 needs six" for text in told)


def test_spread():
    assert doubts([90.0, 110.0, 95.0, 105.0, 88.0, 112.0, 99.0]) == (
        "the samples spread: half of them lie between 92.5 ns and 108 ns, 15.2% of the median; at most 10% is quiet",
    )


def test_outliers_are_told_of_and_kept():
    assert doubts([*QUIET, 350.0]) == (
        "outliers: 1 of 17 samples, the farthest 350 ns, 3.5 times the median; they count",
    )
    assert doubts([*QUIET, *QUIET, 350.0]) == ()  # one of 33: seldom enough
    assert doubts([*QUIET, 104.0, 104.0]) == ()  # beyond the fence, but so near that nothing follows


def test_drift():
    assert doubts([100.0, 101.0, 99.0, 100.0, 108.0, 109.0, 107.0, 108.0]) == (
        "the second half of the samples was 8% slower than the first (100 ns, then 108 ns): it had not settled",
    )
    (quicker,) = doubts([108.0] * 5 + [100.0] * 5)
    assert "7% quicker than the first (108 ns, then 100 ns)" in quicker
    assert doubts([108.0, 100.0] * 5) == ()  # as far apart, but not in time
    assert doubts([100.0] * 5 + [104.0] * 5) == ()


def test_never_steady_compiled_and_nothing():
    assert doubts(QUIET, steady=False) == (
        "the warm-up ended before it was steady: the first samples may be slower than later ones",
    )
    (compiled,) = doubts(QUIET, compiled=3)
    assert compiled == "3 kernels were compiled or loaded while samples were taken: call once before"
    assert doubts([]) == ("no samples were taken",)


@given(st.lists(st.floats(0, 1e12), max_size=40), st.floats(0, 1e6), st.integers(1, 10**6))
def test_whatever_was_measured_can_be_judged(samples_ns, timer_ns, calls):
    """Zeros and huge times too, as a coarse timer and a suspended machine give; each doubt is one line."""
    told = doubts(samples_ns, calls=calls, timer_ns=timer_ns)
    assert all(doubt and "\n" not in doubt for doubt in told)


@pytest.mark.parametrize(
    ("times", "steady"),
    [
        ([1.0] * 7, False),
        ([1.0] * 8, True),
        ([9, 9, 9, 9, *[1.0] * 8], True),
        ([1, 1, 1, 1, 1.2, 1.2, 1.2, 1.2], False),
    ],
)
def test_steadiness_compares_the_last_halves(times, steady):
    assert is_steady(times) is steady


@pytest.mark.parametrize(
    ("ns", "text"), [(0.5, "0.500 ns"), (999.4, "999 ns"), (1234, "1.23 us"), (5.6e7, "56.0 ms"), (2e9, "2.00 s")]
)
def test_durations_have_three_figures(ns, text):
    assert duration(ns) == text
