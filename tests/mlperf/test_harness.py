"""The harness with callables whose behaviour is known; no model is involved."""

import gc
import math
import statistics
import time

import numpy as np
import pytest

from mlperf import harness
from mlperf.harness import (
    MOST_WARMUP_BLOCKS,
    Arm,
    Effort,
    Runner,
    alternately,
    answers,
    compare,
    dummies,
    is_steady,
    single_queries,
    warm_up,
)

QUICK = Effort(workers=1, pairs=5, block_ns=2_000_000, queries=40)
SAMPLES = [np.full((1, 3), i, np.float32) for i in range(7)]


class Clock:
    """A clock that only the arms advance, so that timing tests do not depend on what else the machine does."""

    def __init__(self):
        self.now_ns = 0

    def arm(self, ns):
        """An arm whose query takes `ns`, a number or a function giving one."""

        def run(x):
            self.now_ns += ns() if callable(ns) else ns
            return x

        return Arm(run)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(harness, "perf_counter_ns", lambda: made.now_ns)
    return made


def log_ratio(timed):
    """The median of the pairs' ln(reference / candidate) per query."""
    return statistics.median(
        math.log(ref / timed["inner_ref"] * timed["inner_opt"] / opt)
        for ref, opt in zip(timed["ref_block_ns"], timed["opt_block_ns"])
    )


def test_order_is_abba():
    assert alternately(5, "ref") == ["ref", "opt", "ref", "opt", "ref"]
    assert alternately(3, "opt") == ["opt", "ref", "opt"]


def test_a_known_ratio_is_found(clock):
    timed = compare(clock.arm(200_000), clock.arm(50_000), SAMPLES, QUICK)
    assert log_ratio(timed) == pytest.approx(math.log(4))
    assert (timed["inner_ref"], timed["inner_opt"], timed["steady"]) == (10, 40, True)
    assert timed["order"] == ["ref", "opt", "ref", "opt", "ref"]
    assert len(timed["cpu_ns"]) == len(timed["minflt"]) == len(timed["nivcsw"]) == 2 * QUICK.pairs


def test_drift_hits_both_arms_alike(clock):
    """A machine that gets slower all the time: neighbours are compared, so the ratio stays nearly what it is."""
    drift = 1.0

    def drifting(ns):
        def take():
            nonlocal drift
            drift *= 1.0001
            return round(ns * drift)

        return take

    timed = compare(clock.arm(drifting(200_000)), clock.arm(drifting(50_000)), SAMPLES, Effort(1, 15, 2_000_000, 0))
    assert max(timed["ref_block_ns"]) > 1.05 * min(timed["ref_block_ns"])
    assert log_ratio(timed) == pytest.approx(math.log(4), abs=0.005)


def test_a_callable_against_itself_gives_one(monkeypatch):
    """Real work, by the CPU clock: on a busy machine the wall clock of blocks this short tells of the others."""
    monkeypatch.setattr(harness, "perf_counter_ns", time.process_time_ns)
    arm = Arm(lambda x: np.sort(np.arange(2000)[::-1]))
    assert abs(log_ratio(compare(arm, arm, SAMPLES, Effort(1, 15, 2_000_000, 0)))) < 0.25


def test_blocks_run_in_the_stated_order_and_the_first_call_is_not_timed():
    log = []

    def arm(name):
        def run(x):
            log.append((name, float(x[0, 0])))
            return x

        return Arm(run)

    seen = []
    timed = compare(arm("ref"), arm("opt"), SAMPLES, Effort(1, 3, 100_000, 0), "opt", lambda: seen.append(len(log)))
    inner = {"ref": timed["inner_ref"], "opt": timed["inner_opt"]}
    calls = log[seen[0] :]  # what ran after `ready`
    expected = []
    positions = {"ref": 0, "opt": 0}
    for side in ["opt", "ref", "ref", "opt", "opt", "ref"]:
        for _ in range(inner[side] + 1):  # one call before the timed ones
            expected.append((side, float(positions[side] % len(SAMPLES))))
            positions[side] += 1
    assert calls == expected


def test_warm_up_uses_dummy_data_of_the_same_kind():
    made_up = dummies([np.ones((1, 4), np.float64), np.ones((1, 2), np.int64)])
    assert [(x.shape, x.dtype.name) for x in made_up] == [((1, 4), "float64"), ((1, 2), "int64")]
    assert not np.array_equal(made_up[0], np.ones((1, 4)))
    assert not made_up[1].any()


def test_around_is_entered_once_per_block():
    entered = []

    class Around:
        def __enter__(self):
            entered.append("in")

        def __exit__(self, *exc):
            entered.append("out")

    Runner(Arm(lambda x: x, Around), SAMPLES).block(100)
    assert entered == ["in", "out"]


def test_block_lasts_as_long_as_asked(clock):
    warm = warm_up({"ref": Runner(clock.arm(10_000), SAMPLES), "opt": Runner(clock.arm(40_000), SAMPLES)}, 2_000_000)
    assert warm == (8, True, {"ref": 200, "opt": 50})


def test_a_disturbed_calibration_does_not_shorten_blocks(clock):
    """Slow while the queries of a block are counted, quick afterwards, as when another program ends."""
    calls = 0

    def quicker_after_a_while():
        nonlocal calls
        calls += 1
        return 40_000 if calls < 100 else 10_000

    arms = {"ref": clock.arm(quicker_after_a_while), "opt": clock.arm(10_000)}
    warm = warm_up({side: Runner(arm, SAMPLES) for side, arm in arms.items()}, 2_000_000)
    assert warm.inner["ref"] * 10_000 >= 2_000_000


def test_a_drifting_arm_is_not_steady(clock):
    calls = 0

    def slower_and_slower():
        nonlocal calls
        calls += 1
        return round(1000 * 1.02**calls)

    runners = {"ref": Runner(clock.arm(slower_and_slower), SAMPLES), "opt": Runner(clock.arm(10_000), SAMPLES)}
    warm = warm_up(runners, 40_000)
    assert (warm.blocks, warm.steady) == (MOST_WARMUP_BLOCKS, False)


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


def test_garbage_collection_is_off_while_timed_and_restored():
    states = set()

    def run(x):
        states.add(gc.isenabled())
        return x

    arm = Arm(run)
    compare(arm, arm, SAMPLES, Effort(1, 2, 50_000, 0), ready=states.clear)
    assert states == {False}
    assert gc.isenabled()


def test_single_queries_follow_one_trace_for_both_arms():
    asked = {"ref": [], "opt": []}

    def arm(name):
        return Arm(lambda x: asked[name].append(float(x[0, 0])))

    times = single_queries(arm("ref"), arm("opt"), SAMPLES, 40)
    assert (len(times["ref_ns"]), len(times["opt_ns"])) == (40, 40)
    assert min(*times["ref_ns"], *times["opt_ns"]) > 0
    assert asked["ref"] == asked["opt"]


def test_answers_are_copied_and_must_be_arrays():
    buffer = np.zeros((1, 3), np.float32)

    def reuses_its_buffer(x):
        buffer[...] = x
        return buffer

    np.testing.assert_array_equal(answers(Arm(reuses_its_buffer), SAMPLES), np.concatenate(SAMPLES))
    with pytest.raises(TypeError, match="answered with list; it must give a NumPy array"):
        answers(Arm(lambda x: x.tolist()), SAMPLES)


def test_queries_are_spread_over_the_workers():
    assert Effort(5, 15, 1, 256).queries_per_worker * 5 >= 256
