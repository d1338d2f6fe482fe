"""Products on integers against NumPy's: exact sums, exact rounding on the way out, nothing written elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from kernels import int8, registry, simd
from tests.kernels.running import RNG, layouts, normal, run

CONV = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
COLUMNS = (1, simd.LANES - 1, simd.LANES, simd.LANES + 3, simd.PANEL, 2 * simd.PANEL + 5)


class Grid(NamedTuple):
    scale: float
    zero_point: int


class Weight(NamedTuple):
    codes: np.ndarray
    rescale: np.ndarray
    grid: Grid


IN, OUT = Grid(0.02, 117), Grid(0.5, 30)


def weight(*shape: int, axis: int, grid: Grid = IN) -> Weight:
    codes = RNG.integers(-127, 128, shape).astype(np.int8)
    return Weight(codes, RNG.uniform(0.001, 0.01, shape[axis]).astype(np.float32), grid)


def codes_of(x: np.ndarray, grid: Grid) -> np.ndarray:
    """uint8 as the kernels round: multiply by the reciprocal, to even, nan to the lowest."""
    steps = x * (np.float32(1) / np.float32(grid.scale))
    inside = np.fmin(np.fmax(steps, np.float32(-grid.zero_point)), np.float32(255 - grid.zero_point))
    return (np.rint(inside) + grid.zero_point).astype(np.uint8)


def leave(sums: np.ndarray, w: Weight, bias: np.ndarray | None, relu: bool, grid: Grid | None) -> np.ndarray:
    """sums (..., channels) int64 -> what the kernel stores, in its order of float32 operations."""
    y = sums.astype(np.float32) * w.rescale + (np.float32(0) if bias is None else bias)
    y = np.where(y < 0, np.float32(0), y) if relu else y
    return y if grid is None else codes_of(y, grid)


def windows(x: np.ndarray, kh: int, kw: int, stride: tuple, padding: tuple, dilation: tuple) -> np.ndarray:
    """x (N,C,H,W) integers with 0 as padding -> (N,OH,OW,C,kh,kw)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, (kh, kw))]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3))[:, :, :: stride[0], :: stride[1]]
    return view[..., :: dilation[0], :: dilation[1]].transpose(0, 2, 3, 1, 4, 5)


def convolved(x: np.ndarray, w: Weight, stride: tuple, padding: tuple, dilation: tuple) -> np.ndarray:
    """Exact sums (N,OH,OW,O) of codes x."""
    values = x.astype(np.int64) - w.grid.zero_point
    cut = windows(values, *w.codes.shape[2:], stride, padding, dilation)
    return np.einsum("nyxcij,ocij->nyxo", cut, w.codes.astype(np.int64))


@pytest.mark.parametrize("n", COLUMNS)
@pytest.mark.parametrize("k", (1, 3, 4, 17, 64, 129))
def test_linear(k, n):
    w, bias = weight(k, n, axis=1), normal(n)
    for m in (1, 2, int8.SHORT, int8.TALL + 1, 3 * int8.TALL + 5):
        x = normal(m, k)
        sums = (codes_of(x, IN).astype(np.int64) - IN.zero_point) @ w.codes.astype(np.int64)
        for activation, b in ((None, bias), ("relu", None)):
            y = run("linear", x, w, b, format="int8", activation=activation)
            np.testing.assert_array_equal(y, leave(sums, w, b, activation == "relu", None))
        y = run("linear", codes_of(x, IN), w, bias, format="int8", grid=OUT, slack=int8.GROUP - 1)
        np.testing.assert_array_equal(y, leave(sums, w, bias, False, OUT))


def test_linear_of_any_layout_and_rank():
    w = weight(6, 5, axis=1)
    x = normal(4, 3, 6)
    sums = (codes_of(x, IN).astype(np.int64) - IN.zero_point) @ w.codes.astype(np.int64)
    expected = leave(sums, w, None, False, None)
    for other in layouts(x):
        np.testing.assert_array_equal(run("linear", other, w, None, format="int8"), expected)
    for other in layouts(x[0]):
        np.testing.assert_array_equal(run("linear", other, w, None, format="int8"), expected[0])


@pytest.mark.parametrize("c, o", ((1, 16), (3, simd.PANEL), (4, 7), (simd.LANES + 1, simd.PANEL + simd.LANES + 1)))
@pytest.mark.parametrize("kernel", ((1, 1), (3, 3), (2, 4)))
def test_conv(c, o, kernel):
    w, bias = weight(o, c, *kernel, axis=0), normal(o)
    x = normal(2, c, 7, 9)
    for stride, padding, dilation in (((1, 1), (1, 1), (1, 1)), ((2, 1), (0, 2), (1, 2)), ((1, 3), (2, 0), (2, 1))):
        geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 1}
        sums = convolved(codes_of(x, IN), w, stride, padding, dilation)
        for grid in (None, OUT):
            y = run("conv2d", x, w, bias, format="int8", activation="relu", grid=grid, **geometry)
            np.testing.assert_array_equal(y.transpose(0, 2, 3, 1), leave(sums, w, bias, True, grid))


@pytest.mark.parametrize("size", (2, 4, 6, 10))
@pytest.mark.parametrize("o", (5, simd.PANEL + 1))
def test_pooled_conv(size, o):
    w = weight(o, 3, 3, 3, axis=0)
    x = normal(2, 3, size, size + 2)
    sums = convolved(codes_of(x, IN), w, (1, 1), (1, 1), (1, 1))
    n, h, wd, _ = sums.shape
    largest = sums.reshape(n, h // 2, 2, wd // 2, 2, o).max((2, 4))
    for grid in (None, OUT):
        y = run("conv2d", x, w, None, format="int8", pool=True, grid=grid, **{**CONV, "padding": (1, 1)})
        np.testing.assert_array_equal(y.transpose(0, 2, 3, 1), leave(largest, w, None, False, grid))


def test_an_image_of_codes_is_padded_with_the_code_of_zero():
    w = weight(4, 2, 3, 3, axis=0)
    image = np.ascontiguousarray(codes_of(normal(2, 5, 6, 2), IN))
    x = image.transpose(0, 3, 1, 2)
    sums = convolved(x, w, (1, 1), (1, 2), (1, 1))
    y = run("conv2d", x, w, None, format="int8", **{**CONV, "padding": (1, 2)})
    np.testing.assert_array_equal(y.transpose(0, 2, 3, 1), leave(sums, w, None, False, None))


def test_every_layout_of_an_image():
    w = weight(9, 3, 2, 2, axis=0)
    x = normal(2, 3, 4, 5)
    expected = leave(convolved(codes_of(x, IN), w, (1, 1), (1, 0), (1, 1)), w, None, False, None)
    for other in [*layouts(x), np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)]:
        y = run("conv2d", other, w, None, format="int8", **{**CONV, "padding": (1, 0)})
        np.testing.assert_array_equal(y.transpose(0, 2, 3, 1), expected)


def test_nan_and_infinity_become_the_ends_of_the_grid():
    w = Weight(np.ones((1, 1), np.int8), np.ones(1, np.float32), Grid(1.0, 100))
    x = np.array([[np.nan], [np.inf], [-np.inf], [3e38], [0.5], [1.5]], np.float32)
    y = run("linear", x, w, None, format="int8")
    np.testing.assert_array_equal(y.ravel(), [-100, 155, -100, 155, 0, 2])


@pytest.mark.parametrize("sign", (1, -1))
@pytest.mark.parametrize("zero_point", (0, 255))
def test_the_longest_sums_do_not_overflow(sign, zero_point):
    k = int8.LONGEST
    assert k * 255 * 127 < 2**31 <= (k + 1) * 255 * 127
    w = Weight(np.full((k, 2), sign * 127, np.int8), np.ones(2, np.float32), Grid(1.0, zero_point))
    x = np.full((1, k), -300.0 if zero_point else 300.0, np.float32)  # codes at the far end from the zero point
    y = run("linear", x, w, None, format="int8")
    exact = np.float32(sign * 127 * k * (-255 if zero_point else 255))
    np.testing.assert_array_equal(y, [[exact, exact]])


def test_longer_sums_and_groups_are_declined():
    w = weight(int8.LONGEST + 1, 1, axis=1)
    assert registry.program("linear", (normal(1, int8.LONGEST + 1), w, None), {}, "int8") is None
    grouped = weight(4, 1, 3, 3, axis=0)
    assert registry.program("conv2d", (normal(1, 4, 5, 5), grouped, None), {**CONV, "groups": 4}, "int8") is None
    assert registry.program("linear", (normal(0, 3), weight(3, 2, axis=1), None), {}, "int8") is None
