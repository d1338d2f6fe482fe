"""Plans with a memory: they work where the state lies, on other arrays when told, and refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch.engine import ops
from tinytorch.engine.graph import GraphError
from tinytorch.engine.plan import PlanError
from tinytorch.engine.stateful import capture_stateful


def remembering():
    """A plan that writes a row of its input to the cache and attends to all that came before."""
    rng = np.random.default_rng(0)
    x, at = (rng.standard_normal((1, 2, 1, 4)).astype(np.float32), np.array([[2]]))
    keys, values = (rng.standard_normal((1, 2, 6, 4)).astype(np.float32) for _ in range(2))

    def run():
        written = [ops.cache_write(cache, x, at) for cache in (keys, values)]
        return ops.cached_attention(x, *written, at, scale=0.5)

    return capture_stateful(run, [x, at], [keys, values]), x, keys, values


def test_state_is_read_and_written_where_it_lies():
    plan, x, keys, values = remembering()
    before = keys.copy()
    for position in (0, 5):
        x = x + 1
        at = np.array([[position]])
        got = plan(x, at)
        np.testing.assert_array_equal(keys[:, :, position], x[:, :, 0])
        np.testing.assert_allclose(got, ops.cached_attention.reference(x, keys, values, at, scale=0.5), rtol=1e-5)
    np.testing.assert_array_equal(keys[:, :, 3], before[:, :, 3])


def test_other_arrays_may_take_their_place():
    plan, x, keys, values = remembering()
    mine = [np.zeros_like(keys), np.zeros_like(values)]
    before = keys.copy()
    plan.bind(mine)
    np.testing.assert_allclose(plan(x, np.array([[0]])), x, rtol=1e-6)  # the only one it sees is itself
    np.testing.assert_array_equal(keys, before)
    np.testing.assert_array_equal(mine[1][:, :, 0], x[:, :, 0])
    with pytest.raises(PlanError, match="other shapes, types or strides than when it was captured; capture it again"):
        plan.bind([mine[0], np.zeros((1, 2, 7, 4), np.float32)])
    with pytest.raises(PlanError, match="capture it again"):
        plan.bind(mine[:1])


def test_bad_inputs_change_nothing():
    plan, x, keys, _ = remembering()
    before = keys.copy()
    with pytest.raises(
        PlanError, match=r"plan: inputs are \(1, 2, 1, 4\) float32, the plan was captured for"
    ):
        plan(x)
    with pytest.raises(PlanError, match=r"\(1, 2, 1, 4\) float64"):
        plan(x.astype(np.float64), np.array([[0]]))
    with pytest.raises(IndexError, match=r"cache_write: id 6 at position \(0, 0\) is outside 0..5; the capacity"):
        plan(x, np.array([[6]]))
    np.testing.assert_array_equal(keys, before)


def test_a_result_that_does_not_come_from_the_inputs():
    with pytest.raises(GraphError, match="the result does not come from the input through ops"):
        capture_stateful(lambda: np.ones(3, np.float32), [np.ones(3, np.float32)], [])
