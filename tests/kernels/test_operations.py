"""How many operations steps say they execute, counted by hand: as many as the mathematics, or for a reason fewer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels import attention_tiles, machine, program, registry, toom_cook
from tests.kernels.running import normal
from tinytorch.engine import dispatch, ops
from tinytorch.engine.block_sparse import BlockSparse
from tinytorch.engine.dispatch import Executed, use_backend
from tinytorch.engine.formats import Grid, Int8, Sparse

GRID = Grid(0.05, 128)
PLAIN = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def executed(op: Any, *arrays: Any, **params: Any) -> Executed:
    return dispatch.executed(op, arrays, params, op.flops(op(*arrays, **params), *arrays, **params))


def halved(k: int, n: int) -> np.ndarray:
    """A weight half of whose blocks are zero: those where the number of the block's row and column is even."""
    w, rows, columns = normal(k, n), np.arange(k)[:, None] // 4, np.arange(n) // 32
    w[(rows + columns) % 2 == 0] = 0
    return w


@pytest.fixture(autouse=True)
def compiled():
    with use_backend("numba"):
        yield


@pytest.mark.parametrize("m, k, n", [(1, 4, 3), (7, 33, 70), (5000, 8, 10)])
def test_a_dense_product(m, k, n):
    found = executed(ops.linear, normal(m, k), normal(k, n), normal(n))
    assert (found.kernels[-1], found.operations, found.arithmetic) == ("product", 2 * m * k * n, "float32")


@pytest.mark.parametrize("m, k, n", [(1, 8, 3), (7, 33, 70), (5000, 8, 10)])
def test_a_product_of_integers(m, k, n):
    found = executed(ops.linear, normal(m, k), Int8.pack(normal(k, n), 1, GRID), normal(n))
    assert found == (("quantize_image", "product_int8"), 2 * m * k * n, "int8")


def test_half_of_the_blocks():
    x, w = normal(16, 64), halved(64, 64)
    assert executed(ops.linear, x, BlockSparse.pack(w, 1)) == (("product_blocks",), 16 * 64 * 64, "float32")
    codes = BlockSparse.pack(Int8.pack(w, 1, GRID), 1)
    assert executed(ops.linear, x, codes) == (("quantize_image", "product_blocks_int8"), 16 * 64 * 64, "int8")


def test_what_only_fills_up_blocks_is_not_counted():
    """6 of 10 columns deep and wide: a block of 4 x 32 has 4 x 10 weights, the last only 2 x 10."""
    w = normal(6, 10)
    w[:4] = 0
    for weight, arithmetic in ((w, "float32"), (Int8.pack(w, 1, GRID), "int8")):
        packed = BlockSparse.pack(weight, 1, execution="blocks")
        found = executed(ops.linear, normal(3, 6), packed)
        assert (found.operations, found.arithmetic) == (2 * 3 * 2 * 10, arithmetic)


def test_a_weight_that_is_computed_densely():
    found = executed(ops.linear, normal(3, 8), Sparse.pack(halved(8, 40), 1))
    assert (found.kernels, found.operations) == (("product",), 2 * 3 * 8 * 40)


class Counted:
    """A number that counts what is done with numbers of its kind."""

    done = 0

    def _count(self, other: object) -> Counted:
        Counted.done += 1
        return Counted()

    __add__ = __sub__ = __mul__ = __rmul__ = __radd__ = _count


@pytest.mark.parametrize("transform, inputs, said", [
    (toom_cook.of_data, 6, toom_cook.OF_DATA), (toom_cook.of_three, 3, toom_cook.OF_THREE),
    (toom_cook.of_four, 4, toom_cook.OF_FOUR), (toom_cook.four_results, 6, toom_cook.FOUR_RESULTS),
    (toom_cook.three_results, 6, toom_cook.THREE_RESULTS),
])  # fmt: skip
def test_the_operations_of_transforms(transform, inputs, said):
    Counted.done = 0
    transform.py_func(*[Counted() for _ in range(inputs)])
    assert Counted.done == said


def test_fast_transforms():
    """8 x 8 results are 4 tiles of 4 x 4: for each 36 products, and 12 + 10 transforms."""
    found = executed(ops.conv2d, normal(2, 64, 8, 8), normal(32, 64, 3, 3), None, **PLAIN)
    weights, tiles = 64 * 32 * 9 * 13, 2 * 4
    assert found.kernels[-1] == "winograd"
    assert found.operations == weights + tiles * (2 * 36 * 64 * 32 + 12 * 22 * 64 + 10 * 16 * 32)
    assert found.operations < 2 * 2 * 64 * 32 * 64 * 9 / 2


def test_few_channels():
    found = executed(ops.conv2d, normal(2, 1, 8, 8), normal(16, 1, 3, 3), None, **PLAIN)
    assert (found.kernels[-1], found.operations) == ("narrow", 2 * 2 * 64 * 16 * 9)


def test_depthwise_leaves_out_the_padding():
    """Of 5 x 5 windows of 3 x 3, 2 rows or columns of windows lack one of three: 13 of 15 taps each way."""
    found = executed(ops.conv2d, normal(2, 8, 5, 5), normal(8, 1, 3, 3), None, **{**PLAIN, "groups": 8})
    assert (found.kernels[-1], found.operations) == ("depthwise", 2 * 2 * 8 * 13 * 13)


def test_groups():
    how = {**PLAIN, "padding": (0, 0), "groups": 2}
    found = executed(ops.conv2d, normal(2, 8, 5, 5), normal(6, 4, 1, 1), None, **how)
    assert found.operations == 2 * 2 * 25 * 6 * 4


def test_attention_leaves_out_what_is_masked():
    """64 queries go in groups of 16, for scores in groups of a panel: the keys up to the last that one of them sees."""
    q, k, v = (normal(1, 2, 64, 8) for _ in range(3))
    wide = attention_tiles.WIDE
    scores = wide * sum(range(wide, 64 + 1, wide))
    found = executed(ops.attention, q, k, v, causal=True, scale=1.0)
    assert found == (("attend",), 2 * 2 * 8 * (scores + 16 * (16 + 32 + 48 + 64)), "float32")
    assert executed(ops.attention, q, k, v, causal=False, scale=1.0).operations == 4 * 2 * 64 * 64 * 8
    out = ops.attention(q, k, v, causal=False, scale=1.0)
    assert executed(ops.attention_grad, q, out, q, k, v, causal=False, scale=1.0).operations == 10 * 2 * 64 * 64 * 8
    counted = attention_tiles.counts(64, 64, True, attention_tiles.KEYS)
    assert counted == (scores, 16 * (16 + 32 + 48 + 64), 16 * (64 + 48 + 32 + 16))


def test_the_reference_runs_no_kernel():
    assert executed(ops.relu, normal(3, 2)) == ((), 6, "float32")
    with use_backend("numpy"):
        assert executed(ops.linear, normal(3, 8), normal(8, 4)) == ((), 2 * 3 * 8 * 4, "float32")
        found = executed(ops.linear, normal(3, 8), Int8.pack(normal(8, 4), 1, GRID))
        assert found == ((), 2 * 3 * 8 * 4, "int8")


def test_ops_that_are_no_products_execute_their_flops():
    x = normal(400, 1000)
    found = executed(ops.tanh, x)
    assert found == (("tanh",), ops.tanh.flops(x, x), "float32")


def test_a_checked_op_says_what_it_runs():
    table, ids = normal(300, 64), np.arange(256)
    assert executed(ops.embedding, table, ids).kernels == ("embedding",)


def test_every_kernel_with_integers_says_so():
    """A step of a kernel whose name ends in int8 that forgot to say so would be compared with the wrong ceiling."""
    registry.known()
    names = [name for name in machine.KERNELS if name.endswith("int8")]
    assert sorted(names) == ["product_blocks_int8", "product_int8"]


def test_a_step_that_says_nothing_executes_nothing_of_its_own():
    build = program.Builder()
    registry.lowering("relu")(build, build.input((3,)))
    assert [(step.operations, step.arithmetic) for step in build.steps] == [(0, "float32")]
