"""The seam: what the cache tells apart, what watchers see, and how the backend is chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tinytorch import Linear, ReLU, Sequential, Tensor, use_backend
from tinytorch.core.layers import Packed
from tinytorch.engine import dispatch, ops
from tinytorch.engine.formats import Grid, Int8
from tinytorch.engine.op import OPS, Op, spec_like

X = np.arange(12, dtype=np.float32).reshape(3, 4)


class Probe(Op):
    """Returns its input; counts how often its shape rule is asked."""

    gradient = None
    asked = 0

    def shape(self, x, *rest, **params):
        self.asked += 1
        return spec_like(x)

    def reference(self, x, *rest, **params):
        return x.copy()

    def flops(self, out, *_, **__):
        return 0

    def samples(self, rng):
        return iter(())


@pytest.fixture
def probe():
    with use_backend("numpy"):
        yield Probe()
    del OPS["probe"]


@pytest.fixture
def cache(monkeypatch):
    empty: dict = {}
    monkeypatch.setattr(dispatch, "_cache", empty)
    return empty


def names(events):
    return [event.op.name for event in events]


# -- the cache ---------------------------------------------------------------------------------------------------------


def test_shapes_are_checked_once(probe, cache):
    for _ in range(3):
        dispatch.call(probe, X)
        dispatch.call(probe, X + 1)
    assert probe.asked == len(cache) == 1


@pytest.mark.parametrize(
    "arrays, params",
    [
        ((X[:2],), {}),  # shape
        ((np.asfortranarray(X),), {}),  # strides
        ((X.astype(np.float64),), {}),  # dtype
        ((X.astype(">f4"),), {}),  # byte order
        ((X, X), {}),
        ((X, None), {}),
        ((X,), {"axis": 0}),
        ((X,), {"axis": 1}),
        ((X,), {"size": 0}),
    ],
)
def test_calls_that_differ_do_not_share_an_entry(probe, cache, arrays, params):
    dispatch.call(probe, X)
    dispatch.call(probe, *arrays, **params)
    assert probe.asked == len(cache) == 2


def test_backends_do_not_share_an_entry(probe, cache, monkeypatch):
    dispatch.call(probe, X)
    monkeypatch.setattr(dispatch, "BACKENDS", (*dispatch.BACKENDS, "other"))
    monkeypatch.setattr(dispatch, "_backend", "other")
    dispatch.call(probe, X)
    assert len(cache) == 2


def test_a_bad_shape_is_refused_again_and_not_cached(cache):
    for _ in range(2):
        with pytest.raises(ValueError, match="add: a is"):
            ops.add(X, X[:2])
    assert not cache


def test_cache_is_bounded(probe, cache, monkeypatch):
    monkeypatch.setattr(dispatch, "CACHE_LIMIT", 10)
    for i in range(35):
        dispatch.call(probe, X, index=i)
        assert len(cache) <= 10
    assert probe.asked == 35


def test_parameters_that_cannot_be_hashed_work_and_leave_nothing_behind(probe, cache):
    for _ in range(2):
        dispatch.call(probe, X, index=[0, 1])
        dispatch.call(probe, X, index=(slice(None), np.array([1])))
    assert probe.asked == 4 and not cache
    np.testing.assert_array_equal(ops.getitem(X, index=([0, 0],)), X[[0, 0]])


def test_true_and_one_are_different_indices(backend, cache):
    """They are equal and hash alike, so a program made for the one would run for the other."""
    x = Tensor(X)
    assert x[1].shape == (4,) and len(cache) == 1
    cache.clear()
    assert x[True].shape == (1, 3, 4) and not cache


def test_result_is_an_array_also_where_numpy_gives_a_scalar(backend):
    for result in (ops.sum(X, axis=None, keepdims=False), ops.getitem(X, index=(0, 0)), ops.exp(np.float32(0))):
        assert type(result) is np.ndarray and result.shape == ()


# -- watchers and scopes -----------------------------------------------------------------------------------------------


def test_a_watcher_is_told_of_forward_and_backward(backend):
    model = Sequential(Linear(4, 5), ReLU(), Linear(5, 1))
    events: list[dispatch.Event] = []
    with dispatch.watch(events.append):
        loss = (model(Tensor(X)) ** 2).mean()
        forward = len(events)
        loss.backward()
    assert names(events[:forward]) == ["linear", "relu", "linear", "pow", "sum", "mul"]
    assert {"linear_weight_grad", "linear_input_grad", "relu_grad", "sum_to"} <= set(names(events[forward:]))
    assert [e.scope for e in events[:3]] == [model.layers[0], model.layers[1], model.layers[2]]
    assert all(e.end_ns >= e.start_ns > 0 for e in events)
    first = events[0]
    assert first.arrays[1] is model.layers[0].weight.data and first.out.shape == (3, 5) and first.params == {}
    before = len(events)
    model(Tensor(X))
    assert len(events) == before, "told of a call outside the block"


def test_watchers_and_scopes_nest_and_end_with_an_error():
    outer: list[dispatch.Event] = []
    inner: list[dispatch.Event] = []
    with dispatch.watch(outer.append):
        ops.add(X, X)
        with dispatch.scope("a"), dispatch.watch(inner.append):
            ops.mul(X, X)
            with pytest.raises(ValueError, match="sub"), dispatch.scope("b"), dispatch.watch(inner.append):
                ops.neg(X)
                ops.sub(X, X[:2])
            ops.exp(X)
    assert names(outer) == ["add", "mul", "neg", "exp"]
    assert names(inner) == ["mul", "neg", "neg", "exp"]
    assert [e.scope for e in outer] == [None, "a", "b", "a"]
    assert not dispatch.watchers and not dispatch.scopes


def test_a_packed_weight_is_seen_as_one_op_with_its_format(backend):
    rng = np.random.default_rng(0)
    weight = Int8.pack(rng.standard_normal((4, 5)).astype(np.float32), axis=1, grid=Grid.covering(0, 11))
    events: list[dispatch.Event] = []
    x = Tensor(X)
    with dispatch.watch(events.append):
        y = Linear(4, 5)(x)
        layer = Linear(4, 5, bias=False)
        layer.weight = Packed(weight)
        packed = layer(x)
    assert names(events) == ["linear", "linear"]
    assert events[1].arrays[0] is x.data and events[1].arrays[1] is weight
    assert events[1].out is packed.data and y.shape == packed.shape
    assert events[0].scope is not layer and events[1].scope is layer


def test_a_check_of_values_runs_at_every_call(backend):
    table, ids = X, np.array([0, 2])
    ops.embedding(table, ids)
    for bad in (3, -1):
        ids[1] = bad
        with pytest.raises(IndexError, match=f"embedding: id {bad} at position"):
            ops.embedding(table, ids)


# -- choosing the backend ----------------------------------------------------------------------------------------------


def test_use_backend_switches_back_after_a_block_and_an_error():
    start = dispatch.backend()
    with use_backend("numpy"):
        assert dispatch.backend() == "numpy"
        with use_backend("numba"):
            assert dispatch.backend() == "numba"
        assert dispatch.backend() == "numpy"
        with pytest.raises(KeyError), use_backend("numba"):
            raise KeyError
        assert dispatch.backend() == "numpy"
    assert dispatch.backend() == start


def test_use_backend_without_a_block_stays():
    start = dispatch.backend()
    try:
        use_backend("numpy")
        assert dispatch.backend() == "numpy"
    finally:
        use_backend(start)


def test_unknown_backend_is_refused_and_changes_nothing():
    start = dispatch.backend()
    with pytest.raises(ValueError, match="use_backend: unknown backend 'cuda'; known: numpy, numba"):
        use_backend("cuda")
    assert dispatch.backend() == start


@pytest.mark.parametrize("value, expected", [("numpy", "numpy"), ("numba", "numba"), (None, "numba")])
def test_environment_chooses_the_backend(value, expected):
    done = python("from tinytorch.engine import dispatch; print(dispatch.backend())", value)
    assert done.stdout.strip() == expected, done.stderr


def test_unknown_backend_in_the_environment():
    done = python("import tinytorch; tinytorch.Tensor([1.0]) + 1", "jax")
    assert done.returncode == 1
    assert "ValueError: TINYTORCH_BACKEND: unknown backend 'jax'; known: numpy, numba" in done.stderr


def python(code, backend):
    environment = {k: v for k, v in os.environ.items() if k != "TINYTORCH_BACKEND"}
    environment |= {"TINYTORCH_BACKEND": backend} if backend else {}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
