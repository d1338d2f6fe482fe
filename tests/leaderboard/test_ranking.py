"""Order: tie groups against the leader, total order, and only equals side by side."""

import random
from itertools import combinations
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaderboard import boards
from leaderboard.ranking import By, rank
from tests.leaderboard.rows import fields, row


def places(entries):
    return [(one.submission.submitter.display_name, one.rank, one.tied) for one in entries]


def test_ties_are_decided_against_the_groups_leader(entry):
    """B reaches A's lower bound; C reaches B's but not A's, so it opens the next group."""
    a = entry("A", 10.0, 0.05, created_utc="2024-03-01T12:00:00Z")  # the date decides the order among equals
    b, c = entry("B", 9.5, 0.05), entry("C", 8.8, 0.05)
    assert c.derived.ratio_hi > b.derived.ratio_lo > c.derived.ratio_lo
    assert places(rank([c, b, a])) == [("A", 1, True), ("B", 1, True), ("C", 3, False)]


def test_inside_a_group_quality_then_bytes_then_date_then_id_decide(entry):
    better = {"quality.opt_correct": 355, "quality.opt_only": 2, "quality.value": 355 / 360}
    leader = entry("Leader", 4.1, 0.05)
    finer = entry("Finer", 4.0, 0.05, **better)
    smaller = entry("Smaller", 4.0, 0.05, **{"candidate.bytes_stored": 7999})
    earlier = entry("Earlier", 4.0, 0.05, created_utc="2024-03-01T12:00:00Z")
    twins = sorted([leader, entry("Twin", 4.0, 0.05)], key=lambda one: one.submission_id)
    expected = [finer, smaller, earlier, *twins]
    assert [one.submission for one in rank([earlier, *twins, smaller, finer])] == expected
    assert {one.rank for one in rank(expected)} == {1}


def test_invalid_ones_are_listed_last_and_unranked(entry):
    fast = entry("Fast", 40.0, 0.01, **{"raw.workers.0.steady": False})
    slow = entry("Slow", 2.0, 0.01)
    assert places(rank([fast, slow])) == [("Slow", 1, False), ("Fast", None, False)]


def test_practice_is_never_ranked(entry):
    (board,) = boards([entry("Ada", 4.0, 0.01, division="practice")])
    assert board.group.division == "practice"
    assert places(board.entries) == [("Ada", None, False)]


@pytest.mark.parametrize(("by", "first"), [
    ("score", "Quick"), ("latency", "Prompt"), ("size", "Small"), ("accuracy", "Right"),
])  # fmt: skip
def test_each_order_has_its_own_first(entry, by, first):
    right = {"quality.opt_correct": 356, "quality.opt_only": 3, "quality.value": 356 / 360}
    field = [
        entry("Quick", 9.0, 0.01),
        entry("Prompt", 4.0, 0.01, **{"raw.queries.opt_ns": [1000] * 64}),
        entry("Small", 4.0, 0.01, **{"candidate.bytes_stored": 10}),
        entry("Right", 4.0, 0.01, **right),
    ]
    (board,) = boards(field, by)
    assert places(board.entries)[0] == (first, 1, False)


def test_equal_figures_share_a_rank(entry):
    field = [entry("A", 4.0, 0.01), entry("B", 9.0, 0.01), entry("C", 4.0, 0.01, **{"candidate.bytes_stored": 9000})]
    (board,) = boards(field, "size")
    assert sorted(places(board.entries)) == [("A", 1, True), ("B", 1, True), ("C", 3, False)]


def test_only_equals_are_compared(entry):
    two_threads = {"thread_policy": "tN", "threads": 2, "env.blas.threads": 2, "env.numba_threads": 2}
    field = [
        entry("A", 4.0, 0.01),
        entry("A", 4.0, 0.01, model="mlp"),
        entry("A", 4.0, 0.01, **two_threads),
        entry("A", 4.0, 0.01, benchmark_version="another"),
        entry("A", 4.0, 0.01, division="open"),
        entry("A", 4.0, 0.01, division="open", **{
            "quality.opt_correct": 356, "quality.opt_only": 3, "quality.value": 356 / 360,
        }),
    ]  # fmt: skip
    groups = [board.group for board in boards(field)]
    assert [(g.model, g.division, g.thread_policy, g.benchmark_version[:2], g.tier) for g in groups] == [
        ("cnn", "closed", "t1", "4f", None),
        ("cnn", "closed", "t1", "an", None),
        ("cnn", "closed", "tN", "4f", None),
        ("cnn", "open", "t1", "4f", 100),
        ("cnn", "open", "t1", "4f", 99),
        ("mlp", "closed", "t1", "4f", None),
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([2.0, 3.0, 3.1, 3.2]), st.sampled_from([0.0, 0.03, 0.2])), max_size=8))
def test_the_order_of_reading_does_not_matter(entry, shapes):
    field = [entry(f"S{number}", *shape) for number, shape in enumerate(shapes)]
    shuffled = random.Random(1).sample(field, len(field))
    assert boards(field) == boards(shuffled)
    for board in boards(field):
        ranks = [one.rank for one in board.entries]
        assert ranks == sorted(ranks)
        assert all(ranks.index(place) + 1 == place for place in ranks)


def test_everybody_takes_one_place_with_their_best_and_the_rest_says_behind_what(entry):
    best, worse, bob = entry("Ada", 9.0, 0.01), entry("Ada", 8.0, 0.01), entry("Bob", 3.0, 0.01)
    entries = rank([worse, bob, best])
    assert places(entries) == [("Ada", 1, False), ("Bob", 2, False), ("Ada", None, False)]
    assert [(one.attempts, one.behind) for one in entries] == [(2, None), (1, None), (2, best.submission_id)]


def test_attempts_are_counted_over_all_tiers_and_with_the_invalid(entry):
    better = {"quality.opt_correct": 356, "quality.opt_only": 3, "quality.value": 356 / 360}
    field = [
        entry("Ada", 4.0, 0.01, division="open"),
        entry("Ada", 4.0, 0.01, division="open", **better),
        entry("Ada", 4.0, 0.01, division="open", **{"raw.workers.0.steady": False}),
        entry("Ada", 4.0, 0.01),
    ]
    assert [{one.attempts for one in board.entries} for board in boards(field)] == [{1}, {3}, {3}]


def test_throughput_and_latency_that_cannot_be_told_apart_share_a_rank():
    field = [row(1, "A", 4.0, 0.02), row(2, "B", 3.95, 0.02), row(3, "C", 3.0, 0.02)]
    (board,) = boards(field, "throughput")
    assert [(one.standing.submitter, one.rank) for one in board.entries] == [("A", 1), ("B", 1), ("C", 3)]
    timed = [one._replace(latency_us_p90=p90) for one, p90 in zip(field, (50.0, 51.0, 60.0))]
    (board,) = boards(timed, "latency")
    assert [(one.standing.submitter, one.rank) for one in board.entries] == [("A", 1), ("B", 1), ("C", 3)]


@given(fields(), st.sampled_from(get_args(By)))
def test_a_rival_who_comes_or_goes_lets_nobody_overtake_another(field, by):
    """Ranks may become shared or apart with a new leader, but never change sides."""
    rival = [one for one in field if one.submitter == "Dan"]
    with_rival, without = ranks(field, by), ranks([one for one in field if one not in rival], by)
    for board, before in without.items():
        after = with_rival[board]
        for one, other in combinations(before, 2):
            assert (before[one] - before[other]) * (after[one] - after[other]) >= 0


def ranks(field, by):
    return {
        board.group: {one.standing.submitter: one.rank for one in board.entries if one.rank is not None}
        for board in boards(field, by)
    }
