"""Products of all shapes around the tile sizes, in all layouts, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import matmul, registry, simd
from kernels.program import Builder
from tests.kernels.running import layouts, normal, run
from tests.tolerance import NMSE_REDUCTION, nmse, nmse_of_product

TALL = simd.HEIGHTS[0]
SIZES = (1, 2, simd.LANES - 1, simd.LANES, simd.PANEL, simd.PANEL + 1, 2 * simd.PANEL + 3)


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("m", (1, 2, TALL - 1, TALL, 2 * TALL + 5))
@pytest.mark.parametrize("k", (1, 7, 65))
def test_linear(m, k, n):
    x, w, bias = normal(m, k), normal(k, n), normal(n)
    assert nmse(run("linear", x, w, bias), exact(x, w) + bias) < NMSE_REDUCTION
    assert nmse(run("linear", x, w, None), exact(x, w)) < NMSE_REDUCTION
    clamped = run("linear", x, w, bias, activation="relu")
    np.testing.assert_array_equal(clamped, np.maximum(run("linear", x, w, bias), 0))


@given(m=st.integers(1, 300), k=st.integers(1, 90), n=st.integers(1, 70))
def test_gradients(m, k, n):
    x, w, g = normal(m, k), normal(k, n), normal(m, n)
    assert nmse_of_product(run("linear_input_grad", g, w), g, w.T) < NMSE_REDUCTION
    assert nmse_of_product(run("linear_weight_grad", x, g), x.T, g) < NMSE_REDUCTION


@pytest.mark.parametrize("m", (3, matmul.PACK_ROWS + 3))
def test_any_strides(m):
    for x in layouts(normal(m, 37)):
        for w in layouts(normal(37, simd.PANEL + 5)):
            assert nmse(run("matmul", x, w), exact(x, w)) < NMSE_REDUCTION


@pytest.mark.parametrize(
    "m, k", ((matmul.PACK_TURNED + 5, matmul.PACK_ROWS + 3), (matmul.MAX_ROWS + 37, 130), (300, matmul.K_BLOCK + 9))
)
def test_a_long_transposed_matrix_is_packed(m, k):
    x, w = normal(k, m).T, normal(k, 7)
    assert nmse(run("matmul", x, w), exact(x, w)) < NMSE_REDUCTION


def test_leading_axes_are_rows():
    x, w, g = normal(2, 3, 4, 5), normal(5, 6), normal(2, 3, 4, 6)
    assert nmse(run("linear", x, w, normal(6) * 0), exact(x, w)) < NMSE_REDUCTION
    assert nmse(run("linear", x[0, 0, 0], w, None), exact(x[0, 0, 0], w)) < NMSE_REDUCTION
    assert nmse(run("linear_input_grad", g, w), exact(g, w.T)) < NMSE_REDUCTION
    assert nmse(run("linear_weight_grad", x, g), exact(x.reshape(-1, 5).T, g.reshape(-1, 6))) < NMSE_REDUCTION
    assert nmse(run("linear", x.transpose(2, 0, 1, 3), w, None), exact(x.transpose(2, 0, 1, 3), w)) < NMSE_REDUCTION


def test_long_sums_go_in_blocks():
    k = 2 * matmul.K_BLOCK + 17
    x, w, bias = normal(TALL + 1, k), normal(k, simd.PANEL + 3), normal(simd.PANEL + 3)
    assert nmse(run("linear", x, w, bias, activation="relu"), np.maximum(exact(x, w) + bias, 0)) < NMSE_REDUCTION


def test_an_element_does_not_depend_on_its_tile():
    """Every row of a product has the bits it has alone, so a batch answers as its samples would."""
    x, w, bias = normal(2 * TALL + 5, 83), normal(83, simd.PANEL + 5), normal(simd.PANEL + 5)
    together = run("linear", x, w, bias)
    for i in range(len(x)):
        np.testing.assert_array_equal(together[i], run("linear", x[i : i + 1], w, bias)[0])


def test_nan_and_infinity_come_through():
    x, w = normal(3, 4), np.abs(normal(4, 5))
    x[1, 2], w[0, 3], x[0, 0], x[2, 0] = np.nan, np.inf, 1, -1
    y = run("linear", x, w, None, activation="relu")
    assert np.isnan(y[1]).all()
    assert y[0, 3] == np.inf and y[2, 3] == 0  # minus infinity, clamped
    assert np.isfinite(y[[0, 2]][:, [0, 1, 2, 4]]).all()


def test_constant_weights_are_packed_when_the_plan_is_built():
    x, w = normal(4, 33), normal(33, 20)
    build = Builder()
    out = registry.lowering("linear")(build, build.input(x.shape), build.constant(w), None)
    assert [step.kernel.name for step in build.steps] == ["pack_panels", "product"]
    build.fold()
    assert [step.kernel.name for step in build.steps] == ["product"]
    result = np.empty(out.shape, np.float32)
    build.finish([out]).run([x.ctypes.data, result.ctypes.data])
    assert nmse(result, exact(x, w)) < NMSE_REDUCTION


def test_declined():
    assert run("matmul", normal(2, 3, 4), normal(2, 4, 5)) is None
    assert run("linear", normal(0, 3), normal(3, 4), None) is None
    assert run("linear", normal(2, 3).astype(np.float64), normal(3, 4), None) is None
