"""The probes compute what they say, so their rates are those of real work; any split gives the same."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest

from kernels import limits, machine, simd, threads
from kernels.program import Builder, execute
from tests.kernels.running import RNG, Guarded

ITEMS, ROUNDS = 3, 5
STARTS = np.arange(limits.HEIGHT)


def probe(kernel, arrays, width, parts):
    """What a probe leaves of `arrays`, whose rows of a are `width` long: (ITEMS, HEIGHT, PANEL)."""
    build = Builder()
    out = build.empty((ITEMS, limits.HEIGHT, simd.PANEL))
    offsets = build.constant(np.concatenate([STARTS * width, STARTS * simd.PANEL]))
    build.step(kernel, *map(build.constant, arrays), out, offsets, ROUNDS, items=ITEMS, cost_ns=1.0)
    made = build.finish([out])
    guarded = Guarded(4 * out.size)
    rows = made.link([guarded.address])
    rows[:, machine.PARTS] = parts
    execute(rows, parts)
    guarded.check(kernel.name)
    return guarded.inside.view(np.float32).reshape(out.shape).copy()


@pytest.mark.parametrize("parts", [1, ITEMS])
def test_multiply_adds(parts):
    a = RNG.integers(-8, 8, (limits.HEIGHT, limits.DEPTH)).astype(np.float32)
    b = RNG.integers(-8, 8, (limits.DEPTH, simd.PANEL)).astype(np.float32)
    found = probe(limits.fma_probe, [a, b], limits.DEPTH, parts)
    np.testing.assert_array_equal(found, np.broadcast_to(ROUNDS * (a @ b), found.shape))


@pytest.mark.parametrize("parts", [1, ITEMS])
def test_dot_products(parts):
    a = RNG.integers(0, 256, (limits.HEIGHT, limits.DEPTH, 4)).astype(np.uint8)
    b = RNG.integers(-127, 128, (limits.DEPTH, simd.PANEL, 4)).astype(np.int8)
    start, scale = np.arange(simd.PANEL, dtype=np.int32), np.ones(simd.PANEL, np.float32)
    sums = np.einsum("rkg,kcg->rc", a.astype(np.int64), b.astype(np.int64))
    found = probe(limits.dot_probe, [a, b.view(np.uint8), start, scale], 4 * limits.DEPTH, parts)
    np.testing.assert_array_equal(found, np.broadcast_to(ROUNDS * sums + start + 1, found.shape))


def test_the_work_of_a_round_is_counted():
    assert limits.FMA_FLOPS == 2 * limits.HEIGHT * simd.PANEL * limits.DEPTH
    assert limits.DOT_OPS == 4 * limits.FMA_FLOPS


# -- memory ------------------------------------------------------------------------------------------------------------

THREADS = 3
ROUNDED = 7 * 64 * limits.ARRAYS * THREADS  # bytes of seven cache lines for each array of each thread


@pytest.fixture
def streams():
    """Memory for working sets of up to 64 KiB, with small whole numbers in it."""
    with threads.exactly(min(THREADS, numba.config.NUMBA_NUM_THREADS)):
        made = limits.Streams(1 << 16, THREADS)
        assert (made.memory == 1).all()
        made.memory[...] = 2**ROUNDS * RNG.integers(-8, 8, made.memory.shape)
        yield made


def test_every_round_of_the_triad_is_done(streams):
    n = limits.length(ROUNDED, THREADS)
    expected = streams.memory.copy()
    a, x, y = (expected[:, i * n : (i + 1) * n] for i in range(limits.ARRAYS))
    for _ in range(ROUNDS):
        y[...] = a + x / 2
        x, y = y, x
    streams.probe("triad", ROUNDED, ROUNDS)()
    np.testing.assert_array_equal(streams.memory, expected)


def test_every_number_is_read_in_every_round(streams):
    n = limits.ARRAYS * limits.length(ROUNDED, THREADS)
    streams.memory /= 2**ROUNDS
    expected, means = streams.memory.copy(), np.ones((THREADS, 1))
    for _ in range(ROUNDS):
        means = (means * expected[:, :n].astype(np.float64)).mean(1, keepdims=True)
    streams.probe("read", ROUNDED, ROUNDS)()
    np.testing.assert_allclose(streams.memory[:, :1], means, rtol=1e-5)  # REDUCE: any order of 336 roundings, 5 times
    np.testing.assert_array_equal(streams.memory[:, 1:], expected[:, 1:])


@pytest.mark.parametrize("kind", ["triad", "read"])
def test_working_sets_are_counted_and_fit(streams, kind):
    """What a round moves is at most what was asked for, less than a line an array short of it, inside the memory."""
    for nbytes in (ROUNDED, ROUNDED - 1, ROUNDED + 1, 1 << 16):
        moved = streams.round_bytes(nbytes)
        assert nbytes - 64 * limits.ARRAYS * THREADS < moved <= nbytes <= streams.memory.nbytes
        assert moved == streams.memory.itemsize * THREADS * limits.ARRAYS * limits.length(nbytes, THREADS)
        before = streams.memory.copy()
        streams.probe(kind, nbytes, 1)()
        beyond = limits.ARRAYS * limits.length(nbytes, THREADS)
        np.testing.assert_array_equal(streams.memory[:, beyond:], before[:, beyond:])
        assert (streams.memory[:, :beyond] != before[:, :beyond]).any()


def test_an_array_never_begins_where_another_does_in_its_page():
    for power in range(14, 29):
        n = 4 * limits.length(2**power, 1)
        assert {n % 4096, 2 * n % 4096} & {*range(256), *range(4096 - 256, 4096)} == set()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of mappings to look at")
def test_memory_is_private_as_that_of_arrays_is(streams):
    """Shared memory has small pages, and main memory two thirds of its rate: ops passed such a ceiling by half."""
    address = streams.memory.ctypes.data
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            assert line.split()[1] == "rw-p"
            return
    pytest.fail("the memory is not among the process's mappings")


def test_idle_steps_change_nothing(streams):
    before = streams.memory.copy()
    streams.idle(5)()
    np.testing.assert_array_equal(streams.memory, before)
