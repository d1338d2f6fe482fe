"""The one clock, on a counter that only the callables advance, and a few times on the real one, within sure bounds."""

import gc
import json
import math
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from profiler import clock, samples
from profiler.clock import FEWEST_ROUNDS, Runner, Timing, compare, fastest, measure, stopwatch, turns
from profiler.samples import MOST_WARMUP_SAMPLES, arrivals, warm_up, without_gc
from tests.profiler.fake_clock import FakeClock

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fake(monkeypatch):
    return FakeClock(monkeypatch)


# -- samples -----------------------------------------------------------------------------------------------------------


def test_a_sample_lasts_as_long_as_asked(fake):
    runners = {name: Runner(fake.taking(ns)) for name, ns in {"a": 10_000, "b": 40_000, "c": 9e6}.items()}
    assert warm_up(runners, 2_000_000) == (8, (), {"a": 200, "b": 50, "c": 1})


def test_a_disturbed_calibration_does_not_shorten_samples(fake):
    """Slow while the calls of a sample are counted, quick afterwards, as when another program ends."""
    calls = count()
    slow_at_first = Runner(fake.taking(lambda: 40_000 if next(calls) < 100 else 10_000))
    warm = warm_up({"a": slow_at_first, "b": Runner(fake.taking(10_000))}, 2_000_000)
    assert warm.calls["a"] * 10_000 >= 2_000_000


def test_what_drifts_is_not_steady_and_the_warm_up_ends(fake):
    calls = count(1)
    runners = {"a": Runner(fake.taking(lambda: round(1000 * 1.02 ** next(calls)))), "b": Runner(fake.taking(10_000))}
    warm = warm_up(runners, 40_000)
    assert (warm.samples, warm.unsteady) == (MOST_WARMUP_SAMPLES, ("a",))


def test_arguments_follow_the_trace_and_the_first_call_of_a_block_is_not_timed(fake):
    asked = []
    runner = Runner(lambda x: (asked.append(x), fake.taking(x)()), [1, 10, 100])
    assert runner.block(3).wall_ns == 10 + 100 + 1
    assert runner.block(2, settle=False).wall_ns == 10 + 100
    assert runner.singles(2) == [10, 100]
    assert asked == [1, 10, 100, 1, 10, 100, 1, 10, 100]
    assert runner.calls == len(asked)


def test_single_times_need_a_trace():
    with pytest.raises(TypeError, match=r"Runner\.singles: there is no trace; give the arguments"):
        Runner(lambda: None).singles(3)


def test_around_is_entered_once_per_block():
    entered = []

    class Around:
        def __enter__(self):
            entered.append("in")

        def __exit__(self, *exc):
            entered.append("out")

    Runner(lambda: entered.append("call"), around=Around).block(2)
    assert entered == ["in", "call", "call", "call", "out"]


def test_arrivals_count_from_the_call_and_then_from_item_to_item(fake):
    def items():
        for ns in (900, 20, 30, 40):
            fake.now_ns += ns
            yield ns

    assert arrivals(items, 3) == [900, 20, 30]
    assert arrivals(items, 9) == [900, 20, 30, 40]
    assert arrivals(list, 3) == []


def test_garbage_is_left_alone_while_timed_and_an_error_restores_its_collection():
    seen = []

    def fails():
        seen.append(gc.isenabled())
        if len(seen) > 200:
            raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        compare({"a": fails}, sample_ns=10_000)
    assert gc.isenabled() and gc.get_freeze_count() == 0
    seen.clear()
    with pytest.raises(KeyError, match="on purpose"), without_gc():
        while True:
            fails()
    assert seen == [False] * 201
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with without_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


# -- in turns ----------------------------------------------------------------------------------------------------------


def test_turns_go_forwards_and_backwards():
    assert ["".join(order) for order in turns("abc", 3)] == ["abc", "cba", "abc"]


def test_all_take_their_turn_in_every_round(fake):
    log = []

    def logged(name, ns):
        run = fake.taking(ns)
        return lambda: (log.append(name), run())

    seen = []
    times = compare(
        {"a": logged("a", 1_000_000), "b": logged("b", 500_000)},
        rounds=3,
        sample_ns=1_000_000,
        progress=lambda: seen.append(len(log)),
    )
    assert {name: (t.calls, t.samples_ns) for name, t in times.items()} == {
        "a": (1, (1e6,) * 3),
        "b": (2, (5e5,) * 3),
    }
    # b's samples are of two calls, so one goes before them; a's single calls fill the caches by themselves.
    assert "".join(log[seen[0] - 4 :]) == "abbb" + "bbba" + "abbb"
    assert [later - seen[0] for later in seen] == [0, 4, 8]
    assert {name: t.warmup_calls for name, t in times.items()} == {
        name: log[: seen[0] - 4].count(name) for name in "ab"
    }


def test_a_known_ratio_is_found_although_the_machine_slows_down(fake):
    """By a quarter in all: the medians of each are far apart, the ratio of neighbours is not."""
    slower = 1.0

    def drifting(ns):
        def take():
            nonlocal slower
            slower *= 1.00006
            return round(ns * slower)

        return fake.taking(take)

    times = compare({"a": drifting(40_000), "b": drifting(10_000)}, sample_ns=1_000_000)
    ratio = times["a"].over(times["b"])
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.median == pytest.approx(4, rel=0.01)
    assert max(times["a"].samples_ns) > 1.2 * min(times["a"].samples_ns)
    for each in times.values():
        assert any("slower than the first" in doubt and "it had not settled" in doubt for doubt in each.doubts)


def test_ratios_need_neighbours():
    with pytest.raises(ValueError, match=r"3 and 2 samples; time both in one `compare`"):
        Timing((1.0, 2.0, 3.0)).over(Timing((1.0, 2.0)))


@pytest.mark.parametrize(("runs", "rounds"), [({}, 3), ({"a": print}, 0)])
def test_nothing_to_time_is_refused(runs, rounds):
    with pytest.raises(ValueError, match=rf"clock\.compare: {len(runs)} callables, {rounds} rounds; both"):
        compare(runs, rounds=rounds)


def test_the_budget_cuts_warm_up_and_rounds_and_that_is_told(fake):
    times = measure(fake.taking(1_000_000_000), budget_s=10)
    assert len(times.samples_ns) + times.warmup_calls == pytest.approx(10, abs=1)
    assert times.doubts == ("the warm-up ended before it was steady: the first samples may be slower than later ones",)
    short = measure(fake.taking(1_000_000_000), budget_s=0.1)
    assert len(short.samples_ns) == FEWEST_ROUNDS
    assert any(doubt.startswith("only 3 samples") for doubt in short.doubts)


def test_compilation_between_samples_is_told(fake, monkeypatch):
    ready = iter([3, 5])
    monkeypatch.setattr(clock, "kernels_ready", lambda: next(ready))
    (doubt,) = measure(fake.taking(1000)).doubts
    assert doubt == "2 kernels were compiled or loaded while samples were taken: call once before"


def test_a_kernel_that_comes_into_use_is_seen(monkeypatch):
    """On real kernels, with one that is as if it had not been used yet."""
    from kernels import machine, registry
    from tinytorch.engine.ready import kernels_ready

    registry.known()
    relu = machine.KERNELS["relu"]
    relu.compile()
    before = kernels_ready()
    with monkeypatch.context() as patch:
        patch.setattr(relu, "_compiled", None)
        assert kernels_ready() == before - 1
    assert kernels_ready() == before


# -- choosing ----------------------------------------------------------------------------------------------------------


def chosen(**ns):
    return fastest({name: Timing((float(value),) * 3) for name, value in ns.items()})


def test_ties_go_to_the_simpler_one():
    assert chosen(simple=104, clever=100) == "simple"
    assert chosen(simple=106, clever=100) == "clever"
    assert chosen(a=120, b=103, c=100) == "b"
    assert fastest({"simple": Timing((100.1,)), "clever": Timing((100.0,))}, tie=0) == "clever"
    with pytest.raises(ValueError, match="no candidates; name at least one"):
        fastest({})


# -- what is done once -------------------------------------------------------------------------------------------------


def test_a_stopwatch_goes_on_where_it_stopped(fake):
    watch = stopwatch()
    assert watch.ns == 0
    for ns in (10, 5):
        with watch as running:
            fake.now_ns += ns
            assert running is watch
        fake.now_ns += 1000  # not training
    assert watch.ns == 15 and watch.seconds == 15e-9
    watch.start()
    fake.now_ns += 1
    assert watch.ns == 16
    with pytest.raises(RuntimeError, match="stopwatch: it runs already"):
        watch.start()
    watch.stop()
    watch.stop()
    fake.now_ns += 1
    assert watch.ns == 16


def test_a_stopwatch_stops_at_an_error(fake):
    watch = stopwatch()
    with pytest.raises(KeyError), watch:
        fake.now_ns += 7
        raise KeyError
    fake.now_ns += 1
    assert watch.ns == 7


# -- the real counter --------------------------------------------------------------------------------------------------


def test_a_sleep_is_measured():
    """`time.sleep` promises its length at least; ten times as long takes a machine that stands still for it."""
    asked_ns = 5_000_000
    with stopwatch() as whole:
        timing = measure(lambda: time.sleep(asked_ns / 1e9), rounds=7)
    assert timing.calls == 1 and len(timing.samples_ns) == 7
    assert min(timing.samples_ns) >= asked_ns
    assert timing.low_ns <= timing.median_ns <= timing.high_ns
    assert timing.median_ns * 4 <= whole.ns  # four of seven took as long or longer
    assert "ms (" in str(timing)


def test_the_timer_is_measured():
    found = samples.timer()
    assert 0 < found.overhead_ns < 1e6 and found.resolution_ns > 0
    assert found.error_ns == found.overhead_ns + found.resolution_ns
    assert math.isfinite(found.error_ns)


def test_importing_the_clock_loads_nothing_heavy():
    heavy = ("numba", "llvmlite", "matplotlib", "pydantic", "scipy", "sklearn")
    code = f"import json, sys, profiler.clock; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
