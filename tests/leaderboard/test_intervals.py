"""Intervals: against published figures, and by counting how often they hold."""

import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard import Quality
from leaderboard.intervals import CONFIDENCE, Z, median_interval, quality_interval


def counted(correct, n):
    return Quality(n=n, ref_correct=n, opt_correct=correct, value=correct / n, ref_value=1.0)


def test_the_quantile_is_that_of_the_confidence():
    assert pytest.approx(NormalDist().inv_cdf((1 + CONFIDENCE) / 2)) == Z


# Newcombe (1998), Statistics in Medicine 17, table I, method 3.
@pytest.mark.parametrize(("correct", "n", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
])  # fmt: skip
def test_shares_as_published(correct, n, low, high):
    assert quality_interval(counted(correct, n)) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000), st.data())
def test_the_share_lies_within_its_interval(n, data):
    correct = data.draw(st.integers(0, n))
    low, high = quality_interval(counted(correct, n))
    assert 0 <= low <= correct / n + 1e-12 and correct / n - 1e-12 <= high <= 1


def test_a_loss_has_none():
    assert quality_interval(Quality(n=9, value=1.5, ref_value=1.4)) is None


# Order statistics of the sign test: Conover, Practical Nonparametric Statistics, table of the binomial.
@pytest.mark.parametrize(("n", "first"), [(6, 1), (8, 1), (9, 2), (15, 4), (20, 6), (64, 24)])
def test_the_median_lies_between_these_places(n, first):
    assert median_interval(range(1, n + 1)) == (first, n + 1 - first)


def test_five_times_are_too_few():
    assert median_interval([1, 2, 3, 4, 5]) is None


def test_the_true_median_is_missed_in_one_of_twenty_at_most():
    rng = random.Random(7)
    missed = 0
    for _ in range(2000):
        low, high = median_interval([round(1e6 * rng.expovariate(1)) for _ in range(51)])
        missed += not low <= 693_147 <= high
    assert 40 <= missed <= 100  # exactly 95.1 % hold at 51
