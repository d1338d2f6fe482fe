"""Remarks for a review: what is unusual beside others, and that nobody becomes INVALID by it."""

import pytest

from leaderboard.flags import flags


def remarks(one, *others):
    """The remarks on one among others, without those on times that the fixture keeps constant."""
    found = flags([*others, one]).get(one.submission_id, ())
    return {flag.code: flag for flag in found if flag.code != "CONSTANT_TIMES"}


def test_the_honest_run_has_none(honest, entry):
    assert honest.submission_id not in flags([honest, entry("Bob", 4.0, 0.01), entry("Eve", 3.0, 0.01)])


def test_more_than_three_times_the_next_best_is_far_ahead(entry):
    field = [entry("Bob", 4.0, 0.0), entry("Eve", 2.0, 0.0), entry("Else", 99.0, 0.0, model="mlp")]
    assert remarks(entry("Ada", 12.0, 0.0), *field) == {}
    flag = remarks(entry("Ada", 12.1, 0.0), *field)["FAR_AHEAD"]
    assert (flag.measured, flag.usual) == (pytest.approx(12.1 / 4), "<= 3 times the next best")


def test_nobody_is_ahead_of_themselves_or_of_nobody(entry):
    ada = entry("Ada", 50.0, 0.0)
    assert remarks(ada, entry("Ada", 2.0, 0.0)) == {}
    assert remarks(ada, entry("Bob", 4.0, 0.0, **{"raw.workers.0.steady": False})) == {}  # INVALID: no score


def test_a_reference_unlike_others_on_the_same_cpu(entry):
    """`entry` slows the reference to reach its ratio, so ratios here stand for its times."""
    field = [entry(name, ratio, 0.0) for name, ratio in (("A", 4.0), ("B", 4.0), ("C", 4.0), ("D", 4.1))]
    assert remarks(entry("E", 5.9, 0.0), *field) == {}
    for ratio in (6.1, 2.6):
        flag = remarks(entry("E", ratio, 0.0), *field)["REFERENCE_TIME"]
        assert (flag.measured, flag.usual) == (pytest.approx(ratio / 4), "within a factor of 1.5 of 1000 us")
    assert remarks(entry("E", 9.0, 0.0), *field[:2]) == {}  # three do not say what is usual
    for cpu in ("another", None):
        assert remarks(entry("E", 9.0, 0.0, **{"env.cpu_model": cpu}), *field) == {}


def test_times_that_never_vary(entry):
    ada = entry("Ada", 4.0, 0.0)
    ((flag,),) = flags([ada]).values()
    assert (flag.code, flag.measured) == ("CONSTANT_TIMES", 0.0)


def test_a_flag_is_no_verdict(entry):
    ada = entry("Ada", 40.0, 0.0)
    assert {flag.code for flag in flags([ada, entry("Bob", 4.0, 0.0)])[ada.submission_id]} == {
        "FAR_AHEAD", "CONSTANT_TIMES",
    }  # fmt: skip
    assert ada.validity.status == "VALID"
