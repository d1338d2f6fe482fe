"""Weight formats: what is stored, what it stands for, and what computing with it means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tinytorch import use_backend
from tinytorch.engine import ops
from tinytorch.engine.block_sparse import DEPTH, EXECUTIONS, WIDTH, BlockSparse, as_weight
from tinytorch.engine.formats import Format, Grid, Int8, Sparse

RNG = np.random.default_rng(0)
CONV = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}

LIMIT = 2.0**100
finite = st.floats(-LIMIT, LIMIT, width=32)
weights = arrays(np.float32, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5), elements=finite)


# -- int8 --------------------------------------------------------------------------------------------------------------


@given(weights, st.integers(-4, 3))
def test_int8_is_within_half_a_step_and_keeps_zeros(w, axis):
    axis %= w.ndim
    packed = Int8.pack(w, axis)
    assert packed.codes.dtype == np.int8 and packed.codes.shape == packed.shape == w.shape
    assert packed.scale.dtype == np.float32 and packed.scale.shape == (w.shape[axis],)
    assert packed.array.dtype == packed.dtype == np.float32 and packed.size == w.size
    assert (packed.array[w == 0] == 0).all() and not (packed.codes == -128).any()
    error = np.moveaxis(np.abs(packed.array - w), axis, -1)
    assert (error <= packed.scale * np.float32(0.5 + 1e-4)).all()


def test_int8_scale_is_largest_over_127_for_each_channel():
    w = np.array([[1.0, -254.0, 0.0], [-0.5, 100.0, 0.0]], np.float32)
    columns = Int8.pack(w, axis=1)
    np.testing.assert_allclose(columns.scale, [1 / 127, 2, 1])
    np.testing.assert_array_equal(columns.codes, [[127, -127, 0], [-64, 50, 0]])
    rows = Int8.pack(w, axis=0)
    np.testing.assert_allclose(rows.scale, [2, 100 / 127])
    assert Int8.pack(w, axis=-1).scale.tolist() == columns.scale.tolist()


@pytest.mark.parametrize("value", [1e-44, 2.6e-43, 1e-38, 3.4e38])
def test_int8_at_the_ends_of_float32(value):
    w = np.full((2, 3), value, np.float32)
    packed = Int8.pack(w, axis=0)
    assert np.isfinite(packed.scale).all() and (packed.scale > 0).all() and (packed.codes >= 0).all()
    np.testing.assert_allclose(packed.array, w, rtol=1e-6, atol=1e-36)


def test_int8_of_float64_stores_float32_scales():
    packed = Int8.pack(RNG.standard_normal((3, 4)), axis=1)
    assert packed.scale.dtype == packed.array.dtype == np.float32


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_int8_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match=r"Int8.pack: the weight \(2,\) contains nan or infinity; train it again"):
        Int8.pack(np.array([1, value], np.float32), axis=0)


def test_int8_bytes():
    packed = Int8.pack(RNG.standard_normal((6, 4)).astype(np.float32), axis=1)
    assert packed.nbytes == 6 * 4 + 4 * 4
    assert sorted(packed.arrays()) == ["codes", "scale"]


# -- sparse ------------------------------------------------------------------------------------------------------------


@given(weights, st.floats(0, 1))
def test_sparse_gives_back_exactly_what_was_stored(w, kept):
    w = np.where(np.abs(w) > np.quantile(np.abs(w), 1 - kept), w, 0) if w.size else w
    sparse = Sparse.pack(w, axis=0)
    np.testing.assert_array_equal(sparse.array, w)
    assert sparse.nbytes == 4 * np.count_nonzero(w) + -(-w.size // 8)
    assert (sparse.shape, sparse.size, sparse.dtype, sparse.array.dtype) == (w.shape, w.size, np.float32, np.float32)


@given(weights)
def test_sparse_of_int8_stands_for_the_same(w):
    w = np.where(np.abs(w) > np.median(np.abs(w)), w, 0) if w.size else w
    codes = Int8.pack(w, axis=w.ndim - 1, grid=Grid(0.5, 3))
    sparse = Sparse.pack(codes, axis=0)
    np.testing.assert_array_equal(sparse.array, codes.array)
    assert (sparse.axis, sparse.grid) == (codes.axis, codes.grid)
    assert sparse.nbytes == np.count_nonzero(codes.codes) + -(-w.size // 8) + 4 * w.shape[-1]
    assert sparse.values.dtype == np.int8 and sorted(sparse.arrays()) == ["bits", "scale", "values"]


def test_sparse_of_float64_stores_float32():
    w = np.array([[0.1, 0.0], [0.0, -3.0]])
    sparse = Sparse.pack(w, axis=1)
    assert sparse.values.dtype == np.float32 and sparse.nbytes == 2 * 4 + 1
    np.testing.assert_array_equal(sparse.array, w.astype(np.float32))


# -- blocks ------------------------------------------------------------------------------------------------------------


@given(weights, st.floats(0, 1))
def test_blocks_give_back_exactly_what_was_stored(w, kept):
    w = np.where(np.abs(w) > np.quantile(np.abs(w), 1 - kept), w, 0) if w.size else w
    for axis in (0, w.ndim - 1):
        blocks = BlockSparse.pack(w, axis)
        np.testing.assert_array_equal(blocks.array, w)
        assert (blocks.shape, blocks.size, blocks.array.dtype) == (w.shape, w.size, np.float32)
        assert blocks.array.flags.c_contiguous
        codes = Int8.pack(w, axis, Grid(0.5, 3))
        packed = BlockSparse.pack(codes, axis)
        np.testing.assert_array_equal(packed.codes8.codes, codes.codes)
        np.testing.assert_array_equal(packed.array, codes.array)
        assert (packed.axis, packed.grid) == (axis, codes.grid)


@pytest.mark.parametrize("shape, axis, channels, count, size", [
    ((64, 64), 1, 64, 32, DEPTH * WIDTH),  # linear
    ((12, 40), 1, 4, 6, DEPTH * WIDTH),  # behind an image of 4 channels and 3 pixels
    ((64, 8, 3, 3), 0, 8, 36, DEPTH * WIDTH),  # convolution
    ((8, 10), 1, 8, 2, DEPTH * 10),  # narrower than a block
    ((3, 32), 1, 3, 1, 3 * WIDTH),  # less deep than one
])  # fmt: skip
def test_a_block_is_a_bit_and_its_weights(shape, axis, channels, count, size):
    w = np.zeros(shape, np.float32)
    empty = BlockSparse.pack(w, axis, channels=channels)
    assert empty.kept.size == count and empty.nbytes == -(-count // 8)
    w.flat[0] = 1
    one = BlockSparse.pack(w, axis, channels=channels)
    assert one.kept.sum() == 1 and one.nbytes == 4 * size + -(-count // 8)
    full = BlockSparse.pack(Int8.pack(np.ones(shape, np.float32), axis), axis, channels=channels)
    assert full.kept.all() and full.nbytes == w.size + -(-count // 8) + 4 * shape[axis]


def test_a_block_behind_an_image_is_some_channels_at_one_pixel():
    w = np.zeros((8 * 5, 3), np.float32)  # 8 channels, 5 pixels
    w[2 * 5 + 4, 1] = 1  # channel 2, pixel 4
    packed = BlockSparse.pack(w, 1, channels=8)
    assert np.argwhere(packed.kept).tolist() == [[0, 4, 0]]
    stored = np.zeros(w.shape, bool)
    stored.reshape(8, 5, 3)[:4, 4] = True
    np.testing.assert_array_equal(as_weight(packed.mask, 1, w.shape), stored)
    with pytest.raises(ValueError, match=r"7 channels do not divide the 40 inputs .*\(40, 3\); give those"):
        BlockSparse.pack(w, 1, channels=7)


# -- grid --------------------------------------------------------------------------------------------------------------


@given(finite, finite)
def test_grid_covers_the_range_and_holds_zero_exactly(a, b):
    low, high = min(a, b), max(a, b)
    grid = Grid.covering(low, high)
    assert grid.scale > 0 and grid.scale == float(np.float32(grid.scale)) and 0 <= grid.zero_point <= 255
    inside = np.linspace(low, high, 17).astype(np.float32)
    inside = np.append(inside, np.float32(0))
    rounded = grid.values(grid.codes(inside))
    assert rounded[-1] == 0
    assert np.abs(rounded - inside).max() <= grid.scale * 0.5001


def test_grid_of_known_ranges():
    assert Grid.covering(0.0, 255.0) == (1.0, 0)
    assert Grid.covering(-255.0, 0.0) == (1.0, 255)
    assert Grid.covering(2.0, 5.1) == (np.float32(5.1 / 255), 0)  # widened to contain 0
    assert Grid.covering(-1.0, 2.0) == (np.float32(3 / 255), 85)
    assert Grid.covering(0.0, 0.0) == (1.0, 0)
    assert Grid.covering(np.float32(-3e38), np.float32(3e38)).scale == pytest.approx(6e38 / 255)


@pytest.mark.parametrize("low, high", [(np.nan, 1.0), (0.0, np.inf), (-np.inf, np.inf)])
def test_grid_refuses_what_is_no_range(low, high):
    with pytest.raises(ValueError, match="is not finite; calibrate on data without nan or infinity"):
        Grid.covering(low, high)


def test_codes_round_halves_to_even_stay_in_range_and_make_nan_the_lowest():
    x = np.array([0.5, 1.5, 2.5, -1, 300, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(Grid(1.0, 0).codes(x), [0, 2, 2, 0, 255, 255, 0, 0])
    np.testing.assert_array_equal(Grid(0.5, 10).codes(x), [11, 13, 15, 8, 255, 255, 0, 0])
    assert Grid(0.5, 10).codes(x).dtype == np.uint8 and Grid(0.5, 10).values(np.uint8([12])) == [1.0]


# -- computing ---------------------------------------------------------------------------------------------------------


def on_grid(x, grid):
    """By hand: to the grid and back, in float64."""
    codes = np.clip(np.rint(x.astype(np.float64) / grid.scale) + grid.zero_point, 0, 255)
    return ((codes - grid.zero_point) * grid.scale).astype(np.float32)


def sparse_of_int8(w, axis, grid):
    return Sparse.pack(Int8.pack(w, axis, grid), axis)


def blocks_of_int8(w, axis, grid):
    return BlockSparse.pack(Int8.pack(w, axis, grid), axis, execution="blocks")


def blocks_of_floats(w, axis, grid):
    return BlockSparse.pack(w, axis, grid, execution="blocks")


GRID = Grid.covering(-2.0, 3.0)


@pytest.mark.parametrize(
    "pack, grid",
    [(Int8.pack, None), (Int8.pack, GRID), (Sparse.pack, None), (sparse_of_int8, None), (sparse_of_int8, GRID),
     (blocks_of_floats, None), (blocks_of_int8, None), (blocks_of_int8, GRID)],
)  # fmt: skip
def test_linear_and_conv_with_a_packed_weight(backend, pack, grid):
    x, w, b = (RNG.standard_normal(s).astype(np.float32) for s in ((7, 6), (6, 5), (5,)))
    weight = pack(w, 1, grid)
    rounded = x if grid is None else on_grid(x, grid)
    np.testing.assert_allclose(ops.linear(x, weight, b), rounded @ weight.array + b, rtol=1e-4, atol=1e-5)
    image, kernel = (RNG.standard_normal(s).astype(np.float32) for s in ((2, 3, 5, 5), (4, 3, 3, 3)))
    weight = pack(kernel, 0, grid)
    rounded = image if grid is None else on_grid(image, grid)
    expected = ops.conv2d.reference(rounded, weight.array, **CONV)
    np.testing.assert_allclose(ops.conv2d(image, weight, **CONV), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_blocks_on_integers_give_the_same_bits_on_both_backends(execution):
    x, w, image = (RNG.standard_normal(s).astype(np.float32) for s in ((7, 48), (48, 80), (2, 12, 6, 5)))
    w[8:40, :64] = 0
    linear = BlockSparse.pack(Int8.pack(w, 1, GRID), 1, execution=execution)
    conv = BlockSparse.pack(Int8.pack(w[:, :36].reshape(48, 12, 3, 1), 0, GRID), 0, execution=execution)
    how = {**CONV, "padding": (1, 0)}
    with use_backend("numba"):
        found = ops.linear(x, linear), ops.conv2d(image, conv, **how)
    with use_backend("numpy"):
        expected = ops.linear(x, linear), ops.conv2d(image, conv, **how)
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


def test_an_eager_call_skips_blocks_in_a_kernel():
    x, w = RNG.standard_normal((7, 48)).astype(np.float32), RNG.standard_normal((48, 80)).astype(np.float32)
    w[8:40] = 0
    packed = BlockSparse.pack(w, 1)
    with use_backend("numba"):
        ops.linear(x, packed)
    (run,) = packed._runs.values()
    assert run.program.kernels == ("product_blocks",)


@pytest.mark.parametrize("pack", [Int8.pack, BlockSparse.pack])
def test_a_packed_table_can_be_looked_up(backend, pack):
    table = RNG.standard_normal((6, 3)).astype(np.float32)
    packed, ids = pack(table, axis=1), np.array([[0, 5], [5, 2]])
    np.testing.assert_array_equal(ops.embedding(packed, ids), packed.array[ids])


def test_the_gradient_of_the_input_is_not_rounded_to_the_inputs_grid():
    w, g = RNG.standard_normal((6, 5)).astype(np.float32), RNG.standard_normal((7, 5)).astype(np.float32) * 1e-4
    weight = Int8.pack(w, 1, Grid.covering(0.0, 255.0))
    with use_backend("numpy"):
        np.testing.assert_allclose(ops.linear_input_grad(g, weight), g @ weight.array.T, rtol=1e-6, atol=1e-12)


def test_shape_errors_are_as_for_arrays():
    weight = Int8.pack(np.ones((6, 5), np.float32), axis=1)
    with pytest.raises(ValueError, match=r"linear: x is \(2, 4\), w is \(6, 5\): in_features differ \(4 != 6\)"):
        ops.linear(np.ones((2, 4), np.float32), weight)


def test_formats_are_compared_by_identity_and_cannot_be_changed():
    a, b = (Int8.pack(np.ones((2, 2), np.float32), axis=1) for _ in range(2))
    assert a == a and a != b and len({a, b}) == 2
    with pytest.raises(AttributeError):
        a.axis = 0  # type: ignore[misc]
    assert a.array is a.array


def test_a_format_states_all_that_the_seam_needs():
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Format,), {})()
