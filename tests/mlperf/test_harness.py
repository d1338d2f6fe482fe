"""The harness with callables whose behaviour is known; no model is involved."""

import gc
import math
import statistics
import time

import numpy as np
import pytest

from mlperf.harness import Arm, Effort, answers, compare, dummies, single_queries
from profiler import samples
from tests.profiler.fake_clock import FakeClock

QUICK = Effort(workers=1, pairs=5, block_ns=2_000_000, queries=40)
SAMPLES = [np.full((1, 3), i, np.float32) for i in range(7)]


@pytest.fixture
def clock(monkeypatch):
    return FakeClock(monkeypatch)


def arm(clock, ns):
    return Arm(clock.taking(ns))


def log_ratio(timed):
    """The median of the pairs' ln(reference / candidate) per query."""
    return statistics.median(
        math.log(ref / timed["inner_ref"] * timed["inner_opt"] / opt)
        for ref, opt in zip(timed["ref_block_ns"], timed["opt_block_ns"])
    )


def test_a_known_ratio_is_found(clock):
    timed = compare(arm(clock, 200_000), arm(clock, 50_000), SAMPLES, QUICK)
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

    timed = compare(arm(clock, drifting(200_000)), arm(clock, drifting(50_000)), SAMPLES, Effort(1, 15, 2_000_000, 0))
    assert max(timed["ref_block_ns"]) > 1.05 * min(timed["ref_block_ns"])
    assert log_ratio(timed) == pytest.approx(math.log(4), abs=0.005)


def test_a_callable_against_itself_gives_one(monkeypatch):
    """Real work, by the CPU clock: on a busy machine the wall clock of blocks this short tells of the others."""
    monkeypatch.setattr(samples, "now_ns", time.process_time_ns)
    itself = Arm(lambda x: np.sort(np.arange(2000)[::-1]))
    assert abs(log_ratio(compare(itself, itself, SAMPLES, Effort(1, 15, 2_000_000, 0)))) < 0.25


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


def test_garbage_collection_is_off_while_timed_and_restored():
    states = set()

    def run(x):
        states.add(gc.isenabled())
        return x

    watched = Arm(run)
    compare(watched, watched, SAMPLES, Effort(1, 2, 50_000, 0), ready=states.clear)
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
