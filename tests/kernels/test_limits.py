"""The probes compute what they say, so that their rate is that of real multiply-adds; any split gives the same."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import limits, machine, simd
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
