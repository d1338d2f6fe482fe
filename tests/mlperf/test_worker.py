"""The worker's protocol with real processes and trivial arms."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from leaderboard import Worker
from mlperf import process as parent
from mlperf.harness import Effort
from mlperf.metrics import sha256_of
from mlperf.process import THREAD_VARIABLES, Job, WorkerError, environment, measure
from mlperf.worker import tenths, work

BRIEF = Effort(workers=1, pairs=3, block_ns=200_000, queries=20)


def job(factory, **arguments):
    return Job(f"contestants:{factory}", arguments, BRIEF)


@pytest.fixture(scope="module", autouse=True)
def contestants():
    """Workers import as their parent does, so `contestants.py` beside this file is made importable here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield


@pytest.fixture(scope="module")
def report(contestants):
    pairs = []
    return measure(job("plain", offset=5), 2, lambda: pairs.append(1)), len(pairs)


def test_a_report_is_a_worker_of_the_leaderboard(report):
    found, pairs = report
    kept = Worker(**found.worker)
    assert (kept.pid_order, len(kept.order), pairs) == (2, 3, 3 + 2 * 10)  # and the test set in tenths, twice
    assert kept.compiled_while_timed == 0
    assert sum(kept.ref_block_ns) + sum(kept.opt_block_ns) <= kept.wall_ns
    assert kept.cold_start_ns > 10_000_000  # an interpreter was started
    assert 0 <= kept.hash_seed < 2**32


def test_both_arms_answer_all_samples(report):
    found, _ = report
    assert found.ref_told == [0, -1, -2, -3, -4, -5]
    assert found.opt_told == [5, 6, 7, 8, 9, 10]
    assert sorted(found.trace) == list(range(6))
    assert len(found.queries["ref_ns"]) == len(found.queries["opt_ns"]) == 20


def test_the_seed_alone_decides_the_order_of_the_queries():
    traces = [
        work(asdict(replace(job("plain"), seed=seed)), lambda *_: None, lambda: None)["trace"] for seed in (7, 7, 8)
    ]
    assert sha256_of(traces[0]) == sha256_of(traces[1]) != sha256_of(traces[2])


def test_pools_follow_the_threads_asked_for(report):
    found, _ = report
    assert found.pools["blas"]["threads"] in (1, None)
    assert found.calibration_kernel_ns > 0


def test_compilation_between_the_blocks_is_counted():
    assert measure(job("compiling")).worker["compiled_while_timed"] > 0


def test_only_listed_variables_reach_the_worker(monkeypatch):
    monkeypatch.setenv("TINYTORCH_BACKEND", "numpy")
    monkeypatch.setenv("OMP_SCHEDULE", "dynamic")
    names = ["TINYTORCH_BACKEND", "OMP_SCHEDULE", "PATH", *THREAD_VARIABLES]
    assert measure(job("surroundings", names=names)).opt_told == [0, 0, 1, *[1] * len(THREAD_VARIABLES)]


def test_environment_sets_every_pool():
    variables = environment(3, 42)
    assert {variables[name] for name in THREAD_VARIABLES} == {"3"}
    assert variables["PYTHONHASHSEED"] == "42"


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("failing", "(?s)worker 0 ended without a result .*the last words.*no candidate today"),
        ("dying", r"worker 0 ended without a result \(exit code 7\)"),
        ("nobody", "has no attribute 'nobody'"),
    ],
)
def test_a_worker_that_fails_says_why(factory, text):
    with pytest.raises(WorkerError, match=text):
        measure(job(factory))


def test_no_process_is_left_behind_when_the_parent_is_interrupted(monkeypatch):
    started = []
    popen = subprocess.Popen

    def remember(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(parent.subprocess, "Popen", remember)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(job("plain"), progress=interrupt)
    assert started[0].returncode == -signal.SIGKILL


def test_a_worker_whose_parent_is_gone_ends():
    process = subprocess.Popen(
        [sys.executable, "-m", "mlperf.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(1, 0),
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    try:
        parent.send(process.stdin, {"do": "mlperf.worker:work", **parent.asdict(job("plain"))})
        assert any(b"ready" in line for line in process.stdout)
        process.stdin.close()
        assert process.wait() == 1
    finally:
        watchdog.cancel()
        process.stdout.close()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are a thing of Unix")
def test_ending_a_worker_twice_is_harmless():
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True, stdout=subprocess.PIPE
    )
    start = time.monotonic()
    parent.end(process)
    parent.end(process)
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("count", [1, 3, 10, 97])
def test_tenths_are_ten_however_many_there_are(count):
    passed = []
    progress = tenths(lambda: passed.append(1))
    for done in range(1, count + 1):
        progress(done, count)
        assert len(passed) == 10 * done // count
    assert len(passed) == 10
