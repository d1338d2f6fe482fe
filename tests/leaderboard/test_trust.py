"""Whose word a result is."""

import pytest

from leaderboard import verification
from leaderboard.columns import verified_text
from leaderboard.trust import CLAIMED, Trust, trust_in, trust_of_all
from leaderboard.view import View
from tests.leaderboard import demo
from tests.leaderboard.rows import row


def record(result, ratio=None, verifier="lab"):
    return verification.Verification.model_construct(
        result=result, ratio=ratio, ratio_lo=ratio, ratio_hi=ratio, verifier=verifier
    )


def test_without_a_replay_it_is_a_claim():
    assert trust_in(()) == CLAIMED


def test_the_lowest_ratio_that_passed_counts():
    records = [record("PASS", 4.0), record("PASS", 3.9, "school"), record("FAIL", 1.0, "other")]
    assert trust_in(records) == Trust("verified", 3.9, 3.9, 3.9, ("lab", "school"))


def test_where_nobody_agrees_it_is_refuted():
    assert trust_in([record("FAIL", 1.0)]) == Trust("refuted", verifiers=("lab",))


def test_records_as_they_are_signed():
    records = demo.replays(demo.board(count=20))
    found = trust_of_all({one.submission_id: (one,) for one in records})
    assert {one.word for one in found.values()} == {"verified", "refuted"}


@pytest.mark.parametrize(("trust", "shown"), [
    (CLAIMED, "-"), (Trust("refuted"), "refuted"), (Trust("verified"), "yes"), (Trust("verified", 3.951), "3.95"),
    (Trust("verified", 3.951, 3.7, 4.2), "4.0"),
])  # fmt: skip
def test_the_verified_ratio_is_shown_no_finer_than_its_interval(trust, shown):
    one = row()
    assert verified_text(one, View((), trusts={one.submission_id: trust})) == shown
