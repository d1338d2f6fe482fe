"""Thread counts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import pytest
from threadpoolctl import threadpool_info

from kernels import threads


@pytest.fixture(autouse=True)
def restore():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_both_pools_are_set():
    assert threads.set_num_threads(1) == threads.get_num_threads() == numba.get_num_threads() == 1
    assert blas_threads() <= {1}
    most = numba.config.NUMBA_NUM_THREADS
    assert threads.set_num_threads(10_000) == most
    assert blas_threads() <= {1}


def test_blas_may_be_given_its_threads_back():
    threads.set_num_threads(1, blas=2)
    assert blas_threads() <= {2}


@pytest.mark.parametrize("counts", ((0,), (-1,), (1, 0)))
def test_less_than_one_is_refused(counts):
    with pytest.raises(ValueError, match=r"set_num_threads: n is .* have to be at least 1"):
        threads.set_num_threads(*counts)


def test_the_layer_has_a_name():
    assert threads.layer() in ("omp", "tbb", "workqueue")


TOGETHER = """
import threading
import numpy as np
from kernels import registry, threads
x = np.ones((1024, 1024), np.float32)
run = registry.program("sigmoid", (x,), {})
def work():
    for _ in range(30):
        run(x)
crowd = [threading.Thread(target=work) for _ in range(4)]
for thread in crowd:
    thread.start()
for thread in crowd:
    thread.join()
print(threads.layer())
"""


def test_threads_may_launch_together_on_a_layer_that_cannot():
    """Numba's workqueue layer ends the process when two threads launch at once; ours wait for one another."""
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", TOGETHER], cwd=root, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "workqueue\n"), done.stderr


def test_a_number_of_threads_for_a_while():
    threads.set_num_threads(1, blas=2)
    most = numba.config.NUMBA_NUM_THREADS
    with pytest.raises(ZeroDivisionError), threads.exactly(most):
        assert threads.get_num_threads() == numba.get_num_threads() == most
        assert 1 / 0
    assert threads.get_num_threads() == numba.get_num_threads() == 1
    assert blas_threads() <= {2}


@pytest.mark.parametrize("n", (0, 10_000))
def test_numbers_that_cannot_be_had_are_refused(n):
    says = rf"threads: {n} asked for, and this process may have 1 to \d+; ask for one of these, or set NUMBA_NUM_T"
    with pytest.raises(ValueError, match=says), threads.exactly(n):
        pass


def test_a_thread_may_work_alone_while_others_share():
    most = threads.set_num_threads(2)
    seen, ready, done = {}, threading.Event(), threading.Event()

    def work():
        with threads.alone():
            with threads.alone():
                pass
            seen["alone"] = threads.get_num_threads()
            ready.set()
            done.wait()
        seen["after"] = threads.get_num_threads()

    worker = threading.Thread(target=work)
    worker.start()
    ready.wait()
    assert threads.get_num_threads() == most
    done.set()
    worker.join()
    assert seen == {"alone": 1, "after": most}
    with pytest.raises(ZeroDivisionError), threads.alone():
        assert threads.get_num_threads() == 1 / 0
    assert threads.get_num_threads() == most


BESIDE = """
import threading
import numpy as np
from kernels import machine, registry, threads
x = np.ones((1024, 1024), np.float32)
run = registry.program("sigmoid", (x,), {})
def work():
    with threads.alone():
        run(x)
threads.layer()
with machine._turn:  # as if another thread were in the middle of a launch
    worker = threading.Thread(target=work)
    worker.start()
    worker.join(60)
    print(threads.layer(), worker.is_alive())
"""


def test_who_works_alone_waits_for_nobody():
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", BESIDE], cwd=root, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "workqueue False\n"), done.stderr
