"""Thread counts."""

from __future__ import annotations

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
    with pytest.raises(ValueError, match="set_num_threads: n is .* have to be at least 1"):
        threads.set_num_threads(*counts)


def test_the_layer_has_a_name():
    assert threads.layer() in ("omp", "tbb", "workqueue")
