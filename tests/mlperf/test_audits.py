"""The audits, with callables whose behaviour is known: who remembers, who prepared an order, who looks away."""

import numpy as np
import pytest

from mlperf import audits
from mlperf.harness import Arm
from tests.profiler.fake_clock import FakeClock

TRACE = [np.full((1, 3), i, np.float32) for i in range(40)]
TOKENS = [np.array([[i % 4, 7]]) for i in range(40)]


@pytest.fixture
def clock(monkeypatch):
    return FakeClock(monkeypatch)


def arm(clock, ns):
    """An arm whose time for a query is `ns(query)`."""

    def run(x):
        clock.now_ns += ns(x)
        return x

    return Arm(run)


def ratios(clock, ns, calls=400, trace=TRACE):
    return audits.input_ratios(arm(clock, ns), trace, calls, np.random.default_rng(0))


def test_who_computes_every_answer_shows_nothing(clock):
    found = ratios(clock, lambda x: 1000)
    assert found == pytest.approx({"same_sample_ratio": 1, "fresh_ratio": 1, "alt_seed_ratio": 1})


def test_who_remembers_all_answers_is_slow_with_new_queries(clock):
    seen = set()

    def ns(x):
        known = x.tobytes() in seen
        seen.add(x.tobytes())
        return 100 if known else 1000

    assert ratios(clock, ns)["fresh_ratio"] == pytest.approx(10)


def test_who_remembers_the_last_answer_is_quick_with_the_same_query(clock):
    last = b""

    def ns(x):
        nonlocal last
        last, before = x.tobytes(), last
        return 100 if last == before else 1000

    found = ratios(clock, ns)
    assert found["same_sample_ratio"] == pytest.approx(10)
    assert found["fresh_ratio"] == pytest.approx(1)


def test_who_prepared_the_order_is_slow_in_another(clock):
    following = {TRACE[i].tobytes(): TRACE[(i + 1) % len(TRACE)].tobytes() for i in range(len(TRACE))}
    expected = b""

    def ns(x):
        nonlocal expected
        right, expected = x.tobytes() == expected, following.get(x.tobytes(), b"")
        return 100 if right else 1000

    assert ratios(clock, ns)["alt_seed_ratio"] > 5


def test_new_queries_were_never_asked_and_mean_as_much_work():
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal((1, 3)).astype(np.float32) for _ in range(40)]
    made = audits.fresh(samples, 100, rng)
    assert {(x.shape, x.dtype) for x in made} == {((1, 3), np.dtype(np.float32))}
    assert len({x.tobytes() for x in [*made, *samples]}) == 140
    nearest = [min(np.abs(x - sample).max() for sample in samples) for x in made]
    assert max(nearest) < 0.01  # so that a network has as many zeros in it as before


def test_new_texts_have_at_each_place_a_token_that_stood_there():
    made = audits.fresh(TOKENS, 100, np.random.default_rng(0))
    assert {(x.shape, x.dtype) for x in made} == {((1, 2), TOKENS[0].dtype)}
    assert {int(x[0, 0]) for x in made} == {0, 1, 2, 3} and {int(x[0, 1]) for x in made} == {7}


def test_constant_samples_are_moved_too():
    (made,) = audits.fresh([np.zeros((1, 2), np.float32)], 1, np.random.default_rng(0))
    assert made.any()


def test_copies_are_arrays_of_their_own():
    made = audits.copies(TRACE, 90)
    assert len({id(x) for x in made}) == 90 and not {id(x) for x in made} & {id(x) for x in TRACE}
    assert [int(x[0, 0]) for x in made[38:42]] == [38, 39, 0, 1]


def test_times_are_taken_until_they_have_settled(clock):
    """Each time another disturbance; from the tenth round on the machine is quiet."""
    rounds = 0

    def ns(x):
        nonlocal rounds
        rounds += 1
        return 1000 + max(0, 100 * (20 - rounds))  # two calls a round: the one that settles the caches, and one timed

    ns_of = audits.times({"one": audits.Runner(arm(clock, ns).run, TRACE)}, {"one": 1})
    assert ns_of == {"one": 1000} and audits.ROUNDS < rounds / 2 < audits.MOST_ROUNDS


def test_times_that_never_settle_end_with_the_least(clock):
    falling = [10**9 - 10**7 * call for call in range(2 * audits.MOST_ROUNDS)]
    steps = iter(falling)
    ns_of = audits.times({"one": audits.Runner(arm(clock, lambda x: next(steps)).run, TRACE)}, {"one": 1})
    assert ns_of == {"one": falling[-1]}


@pytest.mark.parametrize(("a", "b", "is_same"), [
    (np.float32([1, 2]), np.float32([1, 2.001]), True),
    (np.float32([1, 2]), np.float32([1, 2.01]), False),
    (np.float32([0, 0]), np.float32([0, 0]), True),
    (np.float32([np.nan]), np.float32([np.nan]), False),
    (np.float32([1, 2]), np.float64([1, 2]), False),
    (np.float32([1, 2]), np.float32([[1, 2]]), False),
    (np.int64([1, 2]), np.int64([1, 2]), True),
    (np.int64([10_000]), np.int64([10_001]), False),
    (np.float32([]), np.float32([]), True),
])  # fmt: skip
def test_answers_are_one_but_for_rounding(a, b, is_same):
    assert audits.same(a, b) == is_same


def test_answers_taken_while_timed_are_compared_with_those_given_now():
    plain = Arm(lambda x: x * 2)
    taken = [(3, TRACE[3] * 2), (3, TRACE[3] * 2), (5, TRACE[4] * 2), (7, TRACE[7])]
    assert audits.mismatches(plain, TRACE, taken) == 2
    assert audits.mismatches(plain, TRACE, []) == 0


def test_shuffled_weights_that_take_longer_are_seen(clock):
    assert audits.shuffled_ratio(arm(clock, lambda x: 1000), arm(clock, lambda x: 1500), TRACE, 40) == 1.5


def test_the_middle_worker_counts():
    found = [{"same_sample_ratio": ratio} for ratio in (1.0, 5.0, 1.1)]
    assert audits.together(found) == {"same_sample_ratio": 1.1}
