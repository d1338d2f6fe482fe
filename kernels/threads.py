"""Thread counts of this process: the only place that names thread pools.

Two pools exist: Numba's (our kernels) and the BLAS that NumPy calls. Their threads spin for a while after each call, so
two pools with several threads each slow one another down several times over. So while our kernels run in parallel, BLAS
has one thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
from threadpoolctl import threadpool_limits

# How long a thread of the OpenMP pool (libgomp) spins for the next launch before it sleeps. The default is
# milliseconds: on a busy machine the launching thread then spins against the very thread it waits for. A training step
# of the digits CNN with other processes on both cores: 24 ms so, 2 ms with this. Alone on the machine it costs nothing:
# threads are still awake after a gap of 100 us (a launch takes 40 us more after 1 ms, when they sleep).
SPIN_COUNT = "10000"

config: Any = numba.config
_threads = config.NUMBA_NUM_THREADS
_alone: set[int] = set()  # Python's threads inside of `alone`


def set_num_threads(n: int, blas: int = 1) -> int:
    """Use up to n threads for kernels, at most NUMBA_NUM_THREADS, and `blas` threads for NumPy's matrix products.

    Returns the number for kernels that is in force. Give `blas` more than 1 only where no kernels run meanwhile, as
    with the NumPy backend. Raises ValueError if either is below 1.
    """
    global _threads
    if min(n, blas) < 1:
        raise ValueError(f"set_num_threads: n is {n}, blas is {blas}; both have to be at least 1")
    _threads = min(n, config.NUMBA_NUM_THREADS)
    numba.set_num_threads(_threads)
    threadpool_limits(blas, user_api="blas")
    return _threads


@contextmanager
def exactly(n: int) -> Iterator[None]:
    """Kernels have n threads inside the block, and afterwards as many as before; BLAS is left alone.

    Raises ValueError where this process cannot have so many.
    """
    global _threads
    if not 1 <= n <= config.NUMBA_NUM_THREADS:
        raise ValueError(
            f"threads: {n} asked for, and this process may have 1 to {config.NUMBA_NUM_THREADS}; ask for one of these, "
            "or set NUMBA_NUM_THREADS before it starts"
        )
    before, _threads = _threads, n
    numba.set_num_threads(n)
    try:
        yield
    finally:
        _threads = before
        numba.set_num_threads(before)


@contextmanager
def alone() -> Iterator[None]:
    """Kernels that this thread of Python calls inside the block run on it and on no other.

    For work beside other work: OpenMP makes a pool for every thread that launches, and two pools on the same cores wait
    for one another in spells of milliseconds.
    """
    me = threading.get_ident()
    within = me in _alone
    _alone.add(me)
    try:
        yield
    finally:
        if not within:
            _alone.remove(me)


def prepare() -> None:
    """To be called before kernels run: a short spin for the OpenMP pool unless the user chose; BLAS gets one thread."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    set_num_threads(_threads)


def get_num_threads() -> int:
    """How many threads kernels may use."""
    return 1 if _alone and threading.get_ident() in _alone else _threads


def layer() -> str:
    """Numba's threading layer: "omp", "tbb" or "workqueue" (whose launch is 20 times slower)."""
    from kernels import machine

    machine.loop()
    return numba.threading_layer()
