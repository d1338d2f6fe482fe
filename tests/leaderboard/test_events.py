"""Standings over several boards: the formula, what leaving out costs, ties, and that the order of files is nothing."""

import math
import random

import pytest

from leaderboard.events import ALL_ROUND, EVENTS, standings


def event(submissions, name="All-round", division="closed"):
    return next(one for one in standings(submissions) if (one.name, one.division) == (name, division))


def test_weights_of_every_event_sum_to_one_and_every_task_is_in_one_event_beside_all_round():
    assert all(math.isclose(sum(weights.values()), 1) for weights in EVENTS.values())
    single = [model for name, weights in EVENTS.items() if name != ALL_ROUND for model in weights]
    assert sorted(single) == sorted(EVENTS[ALL_ROUND]) == sorted(set(single))


def test_the_all_round_score_is_the_weighted_geometric_mean_of_the_best_lower_bounds(entry):
    submissions = [
        entry("Ada", 4.0, 0.0, model="mlp"), entry("Ada", 9.0, 0.0, model="mlp"), entry("Ada", 25.0, 0.01, model="cnn")
    ]  # fmt: skip
    place, *others = event(submissions).places
    lower = 25.0 * math.exp(-0.01)
    assert place.score == pytest.approx(9.0**0.08 * lower**0.14, rel=1e-6) and not others
    assert place.attempts == 3 and [one.model for one in place.counted] == ["mlp", "cnn"]
    assert event(submissions, "MLP Sprint").places[0].score == pytest.approx(9.0 ** (8 / 30))


def test_leaving_a_model_out_never_helps_and_a_slow_one_does_not_hurt(entry):
    alone = entry("Ada", 9.0, 0.0, model="mlp")
    slower = entry("Ada", 0.5, 0.0, model="cnn")
    assert event([alone, slower]).places[0].score == event([alone]).places[0].score


def test_invalid_practice_and_lower_tiers_do_not_count_but_are_attempts(entry):
    worse = {"quality.opt_correct": 345, "quality.ref_only": 11, "quality.opt_only": 0, "quality.value": 345 / 360}
    good, bad = entry("Ada", 4.0, 0.0), entry("Ada", 9.0, 0.0, **worse)
    place = event([good, bad], "CNN Marathon").places[0]
    assert (place.score, place.attempts) == (pytest.approx(4.0**0.4), 2)
    open_ones = [entry("Ada", 4.0, 0.0, division="open"), entry("Ada", 9.0, 0.0, division="open", **worse)]
    assert open_ones[1].validity.status == "VALID"
    assert event(open_ones, "CNN Marathon", "open").places[0].score == pytest.approx(4.0**0.4)
    assert standings([entry("Ada", 4.0, 0.0, division="practice")]) == ()


def test_who_reaches_the_leaders_score_shares_the_place(entry):
    submissions = [entry("Ada", 10.0, 0.02), entry("Bob", 9.9, 0.02), entry("Eve", 5.0, 0.01)]
    assert [(p.rank, p.tied, p.submitter) for p in event(submissions, "CNN Marathon").places] == [
        (1, True, "Ada"), (1, True, "Bob"), (3, False, "Eve")
    ]  # fmt: skip


def test_a_version_that_one_submitter_made_up_decides_nothing(entry):
    honest = [entry("Ada", 4.0, 0.0), entry("Bob", 5.0, 0.0)]
    made_up = entry("Eve", 99.0, 0.0, benchmark_version="mine", created_utc="2030-01-01T00:00:00Z")
    assert [place.submitter for place in event([*honest, made_up], "CNN Marathon").places] == ["Bob", "Ada"]


def test_the_order_of_files_changes_nothing(entry):
    submissions = [
        entry(name, ratio, 0.01, model=model)
        for name in ("Ada", "Bob", "Eve") for ratio, model in ((4.0, "mlp"), (7.0, "cnn"), (7.1, "cnn"))
    ]  # fmt: skip
    shuffled = random.Random(0).sample(submissions, len(submissions))
    assert standings(shuffled) == standings(submissions)
