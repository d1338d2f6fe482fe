"""Gathering rows of a table and adding gradients back, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.embedding import COLUMNS
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("width", (1, 7, COLUMNS - 1, COLUMNS, 2 * COLUMNS + 3))
@pytest.mark.parametrize("shape", ((), (1,), (9,), (3, 4)))
def test_gather_and_scatter(shape, width):
    table, ids, g = normal(11, width), np.asarray(RNG.integers(0, 11, shape)), normal(*shape, width)
    np.testing.assert_array_equal(run("embedding", table, ids), table[ids])
    expected = np.zeros((11, width))
    np.add.at(expected, ids, g.astype(np.float64))
    assert nmse(run("embedding_grad", g, ids, shape=table.shape), expected) < NMSE_REDUCTION


def test_any_layout():
    table, ids, g = normal(6, 5), RNG.integers(0, 6, 8), normal(8, 5)
    for t, other in zip(layouts(table), layouts(g)):
        for i in (ids, np.repeat(ids, 3)[::3], ids[::-1].copy()[::-1]):
            np.testing.assert_array_equal(run("embedding", t, i), table[ids])
            np.testing.assert_array_equal(
                run("embedding_grad", other, i, shape=(6, 5)), run("embedding_grad", g, ids, shape=(6, 5))
            )


def test_ids_outside_the_table_touch_nothing():
    table, ids = normal(3, 4), np.array([0, 3, -1, 2**62, -(2**62), 2])
    y = run("embedding", table, ids)
    assert np.isnan(y[1:5]).all()
    np.testing.assert_array_equal(y[[0, 5]], table[[0, 2]])
    dtable = run("embedding_grad", np.ones((6, 4), np.float32), ids, shape=(3, 4))
    np.testing.assert_array_equal(dtable[:, 0], [1, 0, 1])


def test_declined():
    table = normal(5, 2)
    assert run("embedding", table, np.zeros((3, 4), np.int64).T) is None
    assert run("embedding", table, np.zeros(3, np.int32)) is None
    assert run("embedding", table, np.zeros(0, np.int64)) is None
