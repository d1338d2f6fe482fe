"""One-op programs: what callers get, what is declined, and calls from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kernels import registry
from tests.kernels.running import layouts, normal
from tests.tolerance import NMSE_REDUCTION, nmse

CONV = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def test_known_ops_have_lowerings():
    known = registry.known()
    assert ("conv2d", "dense") in known and ("adam_step", "dense") in known
    assert all(registry.lowering(*key) is not None for key in known)
    assert registry.lowering("fourier") is None and registry.program("fourier", (normal(3),), {}) is None


def test_a_program_serves_other_arrays_of_the_same_form():
    first, second, w = normal(5, 7), normal(5, 7), normal(7, 3)
    run = registry.program("matmul", (first, w), {})
    for x in (first, second):
        assert nmse(run(x, w), x.astype(np.float64) @ w) < NMSE_REDUCTION


def test_results_are_new_arrays():
    x, w = normal(5, 7), normal(7, 3)
    run = registry.program("matmul", (x, w), {})
    one = run(x, w)
    kept = one.copy()
    run(-x, w)
    np.testing.assert_array_equal(one, kept)


def test_an_absent_array_is_none():
    x, w, bias = normal(5, 7), normal(7, 3), normal(3)
    bare = registry.program("linear", (x, w, None), {})(x, w, None)
    full = registry.program("linear", (x, w, bias), {})(x, w, bias)
    assert nmse(full - bare, np.broadcast_to(bias, (5, 3))) < NMSE_REDUCTION


def test_convolutions_return_public_shapes_in_channels_last_memory():
    x, w = normal(2, 3, 8, 8), normal(4, 3, 3, 3)
    y = registry.program("conv2d", (x, w, None), CONV)(x, w, None)
    assert y.shape == (2, 4, 8, 8) and y.transpose(0, 2, 3, 1).flags.c_contiguous


def test_read_only_and_strided_inputs():
    w = normal(9, 4)
    for x in layouts(normal(6, 9)):
        x.flags.writeable = False
        assert nmse(registry.program("matmul", (x, w), {})(x, w), x.astype(np.float64) @ w) < NMSE_REDUCTION
    row = np.broadcast_to(normal(9), (6, 9))  # strides of 0
    assert nmse(registry.program("matmul", (row, w), {})(row, w), row.astype(np.float64) @ w) < NMSE_REDUCTION


def test_declined_arrays():
    w = normal(4, 3)
    packed = np.zeros(5, [("flag", np.uint8), ("x", np.float32, 4)])["x"]
    swapped = normal(5, 4).astype(">f4")
    for x in (normal(0, 4), normal(5, 4).astype(np.float64), packed, swapped, normal(5, 4).astype(np.int64)):
        assert registry.program("matmul", (x, w), {}) is None
    assert registry.program("matmul", ("not an array", w), {}) is None


def test_one_program_from_many_threads():
    w = normal(64, 48)
    inputs = [normal(32, 64) for _ in range(16)]
    run = registry.program("linear_input_grad", (normal(32, 48), w), {})  # it needs scratch
    backward = [normal(32, 48) for _ in inputs]
    expected = [run(g, w) for g in backward]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for actual, wanted in zip(pool.map(lambda g: run(g, w), backward), expected):
                np.testing.assert_array_equal(actual, wanted)


def test_registering_twice_is_an_error():
    with pytest.raises(TypeError, match="lowers: matmul for dense is registered twice"):
        registry.lowers("matmul")(lambda build, a, b: None)
