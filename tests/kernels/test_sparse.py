"""Products that skip blocks: f32 equal to rounding, integers to the bit, whatever is kept; and what plans say of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import registry, simd, sparse
from kernels.program import Builder
from tests.kernels import naive, test_int8
from tests.kernels.running import RNG, layouts, normal, run
from tests.kernels.test_int8 import CONV, IN, OUT, codes_of, convolved, leave
from tests.tolerance import NMSE_REDUCTION, nmse

DEPTH, WIDTH = 4, 32  # of the blocks drawn here, as `engine/block_sparse.py` has them
KEPT = (0.0, 0.3, 1.0)


class Weight(NamedTuple):
    """What a lowering asks of a block-sparse weight."""

    array: np.ndarray
    codes: test_int8.Weight | None = None
    execution: str = "blocks"

    def integers(self, op_name: str) -> test_int8.Weight | None:
        return self.codes


def drawn(inputs: int, positions: int, outputs: int, kept: float) -> np.ndarray:
    """bool (inputs, positions, outputs): blocks that are kept."""
    blocks = RNG.random((-(-inputs // DEPTH), positions, -(-outputs // WIDTH))) < kept
    return blocks.repeat(DEPTH, 0).repeat(WIDTH, 2)[:inputs, :, :outputs]


def floats(*shape: int, kept: float, execution: str = "blocks") -> Weight:
    """Of a linear layer (k, n), or of a convolution (O, C, kh, kw)."""
    return Weight(normal(*shape) * mask(shape, kept), execution=execution)


def integers(*shape: int, kept: float, execution: str = "blocks") -> Weight:
    codes = test_int8.weight(*shape, axis=1 if len(shape) == 2 else 0)
    codes = codes._replace(codes=codes.codes * mask(shape, kept))
    return Weight(codes.codes.astype(np.float32), codes, execution)


def mask(shape: tuple[int, ...], kept: float) -> np.ndarray:
    if len(shape) == 2:
        return drawn(shape[0], 1, shape[1], kept)[:, 0]
    o, c, kh, kw = shape
    return drawn(c, kh * kw, o, kept).reshape(c, kh, kw, o).transpose(3, 0, 1, 2)


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("n", (1, simd.LANES + 3, 2 * WIDTH, 3 * WIDTH + 5))
@pytest.mark.parametrize("k", (1, 4, 37, 64))
def test_linear(k, n, kept):
    w, codes, bias = floats(k, n, kept=kept), integers(k, n, kept=kept), normal(n)
    for m in (1, 3, 4, 2 * simd.HEIGHTS[0] + 5):
        x = normal(m, k)
        y = run("linear", x, w, bias, format="blocks", activation="relu")
        assert nmse(y, np.maximum(x.astype(np.float64) @ w.array + bias, 0)) < NMSE_REDUCTION
        sums = (codes_of(x, IN).astype(np.int64) - IN.zero_point) @ codes.codes.codes.astype(np.int64)
        for grid in (None, OUT):
            y = run("linear", x, codes, bias, format="blocks", grid=grid)
            np.testing.assert_array_equal(y, leave(sums, codes.codes, bias, False, grid))


@pytest.mark.parametrize("k", (sparse.K_BLOCK + 1, 2 * sparse.K_BLOCK + 40))
def test_long_sums_go_in_parts(k):
    w, x = floats(k, WIDTH + 1, kept=0.9), normal(5, k)
    for b in (None, normal(WIDTH + 1)):
        y = run("linear", x, w, b, format="blocks")
        assert nmse(y, x.astype(np.float64) @ w.array + (0 if b is None else b)) < NMSE_REDUCTION


def test_a_panel_with_nothing_and_one_with_all():
    w = floats(40, 2 * WIDTH, kept=1)
    w.array[:, :WIDTH] = 0
    x, bias = normal(9, 40), normal(2 * WIDTH)
    y = run("linear", x, w, bias, format="blocks")
    np.testing.assert_array_equal(y[:, :WIDTH], np.broadcast_to(bias[:WIDTH], (9, WIDTH)))
    assert nmse(y, x.astype(np.float64) @ w.array + bias) < NMSE_REDUCTION


def test_every_layout_and_rank():
    w, x = floats(6, 5, kept=0.6), normal(4, 3, 6)
    expected = x.astype(np.float64) @ w.array
    for other in layouts(x):
        assert nmse(run("linear", other, w, None, format="blocks"), expected) < NMSE_REDUCTION
    for other in layouts(x[0]):
        assert nmse(run("linear", other, w, None, format="blocks"), expected[0]) < NMSE_REDUCTION


small, pair = st.integers(1, 3), st.tuples(st.integers(1, 2), st.integers(1, 3))


@given(
    n=st.integers(1, 2), c=st.integers(1, 9), o=st.integers(1, 2 * WIDTH), kernel=st.tuples(small, small), stride=pair,
    dilation=pair, padding=st.tuples(st.integers(0, 2), st.integers(0, 2)), extra=st.tuples(small, small),
    kept=st.sampled_from(KEPT),
)  # fmt: skip
def test_any_convolution(n, c, o, kernel, stride, dilation, padding, extra, kept):
    h, wd = (dilation[i] * (kernel[i] - 1) + extra[i] for i in (0, 1))
    where = {"stride": stride, "padding": padding, "dilation": dilation}
    x, bias = normal(n, c, h, wd), normal(o)
    w, codes = floats(o, c, *kernel, kept=kept), integers(o, c, *kernel, kept=kept)
    y = run("conv2d", x, w, bias, format="blocks", groups=1, **where)
    assert nmse(y, naive.conv2d(x, w.array, bias, **where)) < NMSE_REDUCTION
    sums = convolved(codes_of(x, IN), codes.codes, stride, padding, dilation)
    for grid in (None, OUT):
        y = run("conv2d", x, codes, bias, format="blocks", groups=1, activation="relu", grid=grid, **where)
        np.testing.assert_array_equal(y.transpose(0, 2, 3, 1), leave(sums, codes.codes, bias, True, grid))


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("size", (2, 6, 7))
def test_pooled_convolution(size, kept):
    x, where = normal(2, 8, size, size + 2), {**CONV, "padding": (1, 1)}
    w, codes = floats(WIDTH + 1, 8, 3, 3, kept=kept), integers(WIDTH + 1, 8, 3, 3, kept=kept)
    half = (slice(None), slice(None), slice(0, size // 2 * 2), slice(0, (size + 2) // 2 * 2))

    def largest(y: np.ndarray) -> np.ndarray:
        n, c, h, wd = y[half].shape
        return y[half].reshape(n, c, h // 2, 2, wd // 2, 2).max((3, 5))

    expected = naive.conv2d(x, w.array, None, (1, 1), (1, 1), (1, 1))
    y = run("conv2d", x, w, None, format="blocks", pool=True, **where)
    assert nmse(y, largest(expected)) < NMSE_REDUCTION
    sums = convolved(codes_of(x, IN), codes.codes, (1, 1), (1, 1), (1, 1)).transpose(0, 3, 1, 2)
    y = run("conv2d", x, codes, None, format="blocks", pool=True, grid=OUT, **where)
    np.testing.assert_array_equal(
        y.transpose(0, 2, 3, 1), leave(largest(sums).transpose(0, 2, 3, 1), codes.codes, None, False, OUT)
    )


def test_a_result_inside_a_border():
    x, w = normal(1, 4, 5, 5), floats(6, 4, 3, 3, kept=0.5)
    y = run("conv2d", x, w, None, format="blocks", margin=(1, 2), **{**CONV, "padding": (1, 1)})
    assert nmse(y, naive.conv2d(x, w.array, None, (1, 1), (1, 1), (1, 1))) < NMSE_REDUCTION


def test_nan_reaches_what_reads_it_and_nothing_else():
    w, x = floats(8, 2 * WIDTH, kept=1), normal(1, 8)
    w.array[:4, WIDTH:] = 0
    x[0, 1] = np.nan
    y = run("linear", x, w, None, format="blocks")
    assert np.isnan(y[0, :WIDTH]).all() and np.isfinite(y[0, WIDTH:]).all()


def remark(w: Weight, x: np.ndarray, op: str = "linear", eager: bool = False, **params) -> tuple[str, str] | None:
    """The kernel of the last step, and what is said about it."""
    build = Builder(eager)
    out = registry.lowering(op, "blocks")(build, build.input(x.shape), w, None, **params)
    return None if out is None else (build.steps[-1].kernel.name, build.remarks[id(build.steps[-1])])


def test_dense_where_that_is_quicker():
    """A fixed share of blocks below and above the break-even."""
    few, most = floats(64, WIDTH, kept=1, execution="measured"), floats(64, WIDTH, kept=1, execution="measured")
    few.array[:32] = 0
    assert remark(few, normal(8, 64)) == ("product_blocks", "blocks kept 50 %")
    assert remark(most, normal(8, 64)) == ("product", "dense: 100 % of its blocks are kept")
    for way, said in (("dense", ("product", "dense: 50 % of its blocks are kept")),
                      ("blocks", ("product_blocks", "blocks kept 50 %"))):  # fmt: skip
        assert remark(few._replace(execution=way), normal(8, 64)) == said
    assert remark(few._replace(execution="dense"), normal(8, 64), eager=True) is None


def test_single_rows_of_bytes_skip_less_readily():
    w = integers(64, WIDTH, kept=1, execution="measured")
    w.codes.codes[:8] = 0  # 88 % are left
    kernels = [remark(w, normal(m, 64))[0] for m in (1, 3, 4, 64)]
    assert kernels == ["product_int8", "product_int8", "product_blocks_int8", "product_blocks_int8"]


def test_groups_are_dense_and_on_integers_declined():
    x, how = normal(1, 8, 5, 5), {**CONV, "groups": 2}
    w = floats(4, 4, 3, 3, kept=0.3)
    assert nmse(run("conv2d", x, w, None, format="blocks", **how),
                run("conv2d", x, w.array, None, **how)) < NMSE_REDUCTION  # fmt: skip
    assert run("conv2d", x, integers(4, 4, 3, 3, kept=0.3), None, format="blocks", **how) is None
    assert registry.program("linear", (normal(0, 8), floats(8, 2, kept=1), None), {}, "blocks") is None


def test_the_longest_sums_on_integers():
    w = integers(sparse.int8.LONGEST + 1, 1, kept=0)
    assert run("linear", normal(1, sparse.int8.LONGEST + 1), w, None, format="blocks") is None
