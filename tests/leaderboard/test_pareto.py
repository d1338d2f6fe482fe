"""Trade-offs: who is dominated is not marked, who cannot be told apart is, and somebody always is."""

from hypothesis import given

from leaderboard.pareto import costs_of, dominates, frontier, frontiers
from tests.leaderboard.rows import INVALID, fields, row


def other(number, **changes):
    return row(number, width=0.02, latency_us_p90=70.0, **changes)


def test_who_is_slower_larger_and_no_better_is_not_on_the_frontier():
    quick, slow = row(1, latency_us_p90=50.0, bytes=900), row(2, latency_us_p90=80.0, bytes=1000)
    assert frontier([quick, slow]) == {quick.submission_id}
    smaller = slow._replace(bytes=800)
    assert frontier([quick, smaller]) == {quick.submission_id, smaller.submission_id}


def test_ties_are_both_marked():
    """2 % slower with an interval of 2 % at either side, or one more mistake in 360: not to be told apart."""
    first = other(1)
    assert len(frontier([first, other(2)])) == 2
    slower, worse = (
        first._replace(submission_id="2", latency_us_p90=71.4),
        first._replace(submission_id="3", correct=353),
    )
    assert len(frontier([first, slower, worse._replace(quality=353 / 360)])) == 3
    far_slower = first._replace(submission_id="4", latency_us_p90=74.0)
    assert frontier([first, far_slower]) == {first.submission_id}
    far_worse = first._replace(submission_id="5", correct=330, quality=330 / 360)
    assert frontier([first, far_worse]) == {first.submission_id}
    assert frontier([first, first._replace(submission_id="6", bytes=first.bytes + 1)]) == {first.submission_id}


def test_a_loss_is_better_when_it_is_lower():
    loss = {"higher_is_better": False, "correct": None, "samples": 100}
    low, high = row(1, quality=1.5, **loss), row(2, quality=1.6, **loss)
    assert frontier([low, high]) == {low.submission_id}


def test_invalid_and_untimed_ones_are_not_compared():
    assert frontier([row(1, **INVALID), row(2, latency_us_p90=None)]) == set()


@given(fields())
def test_exactly_those_are_marked_that_nobody_dominates(field):
    valid = [one for one in field if one.score is not None]
    expected = {
        one.submission_id for one in valid if not any(dominates(costs_of(rival), costs_of(one)) for rival in valid)
    }
    assert frontier(field) == expected == frontier(field[::-1])
    assert bool(expected) == bool(valid)


def test_divisions_are_together_and_models_apart():
    found = frontiers([row(1), row(2, division="open", bytes=1), row(3, model="mlp"), row(4, bytes=10**6)])
    assert [(one.model, [best.submission_id[-1] for best in one.best], one.total) for one in found] == [
        ("cnn", ["2"], 3),
        ("mlp", ["3"], 1),
    ]
