"""Compiled kernels behind the seam: what is lowered is really used, and gives what the reference gives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from kernels import program, registry
from tests.engine.sampling import CASES, case, in_dtype, tolerance
from tests.tolerance import nmse
from tinytorch.engine import dispatch, ops
from tinytorch.engine.op import OPS
from tinytorch.engine.ops.activation import ActivationGrad, OverAxis, OverAxisGrad
from tinytorch.engine.ops.elementwise import Binary, Unary
from tinytorch.engine.ops.movement import Movement
from tinytorch.engine.ops.reduce import Expand
from tinytorch.engine.ops.update import Update

LOWERED = [name for name, format in registry.known() if format == "dense"]
COMPUTED = [name for name in LOWERED if not isinstance(OPS[name], Movement | Expand)]  # never in eager calls

RNG = np.random.default_rng(5)
CONV = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
IMAGE, MAPS, HALF = (8, 16, 16, 16), (8, 32, 16, 16), (8, 16, 8, 8)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def large(name):
    """Arrays and parameters large enough that compiled code is worth a call."""
    op, statistics = OPS[name], np.abs(normal(2, 16)) + np.float32(0.5)
    image, rows, ids = normal(*IMAGE), normal(512, 512), RNG.integers(0, 512, 512)
    shares = np.clip(np.abs(rows), np.float32(0.01), np.float32(0.99))
    heads, places = normal(2, 4, 128, 32), np.tile(RNG.permutation(128), (2, 1))
    pooled = ops.max_pool2d.reference(image, **POOL)
    table = {
        "matmul": ((rows, normal(512, 64)), {}),
        "linear": ((rows, normal(512, 64), normal(64)), {}),
        "linear_input_grad": ((normal(512, 64), normal(512, 64)), {}),
        "linear_weight_grad": ((rows, normal(512, 64)), {}),
        "conv2d": ((image, normal(32, 16, 3, 3), normal(32)), CONV),
        "conv2d_input_grad": ((normal(*MAPS), normal(32, 16, 3, 3)), {"shape": IMAGE, **CONV}),
        "conv2d_weight_grad": ((image, normal(*MAPS)), {"shape": (32, 16, 3, 3), **CONV}),
        "max_pool2d": ((image,), POOL),
        "max_pool2d_grad": ((normal(*HALF), image, pooled), POOL),
        "avg_pool2d": ((image,), POOL),
        "avg_pool2d_grad": ((normal(*HALF),), {"shape": IMAGE, **POOL}),
        "batch_stats": ((image,), {}),
        "batch_norm": ((image, normal(16), normal(16), statistics), {"eps": 1e-5}),
        "batch_norm_input_grad": ((image, normal(16), statistics), {"eps": 1e-5}),
        "batch_norm_train": ((image, normal(16), normal(16), ops.batch_stats.reference(image)), {"eps": 1e-5}),
        "batch_norm_train_input_grad": ((image, image[::-1], normal(16), statistics, normal(2, 16)), {"eps": 1e-5}),
        "running_stats_step": ((normal(16), statistics, np.abs(normal(16)), np.array([0.1, 1.5])), {}),
        "batch_norm_sums": ((image, image, statistics), {"eps": 1e-5}),
        "layer_norm": ((rows, normal(512), normal(512)), {"eps": 1e-5}),
        "layer_norm_input_grad": ((rows, rows, normal(512)), {"eps": 1e-5}),
        "layer_norm_sums": ((rows, rows), {"eps": 1e-5}),
        "cross_entropy": ((rows, ids), {"label_smoothing": 0.0}),
        "cross_entropy_grad": ((np.ones((), np.float32), rows, ids), {"label_smoothing": 0.0}),
        "binary_cross_entropy": ((shares, 1 - shares), {}),
        "binary_cross_entropy_grad": ((np.ones((), np.float32), shares, 1 - shares), {}),
        "sum_of_squares": ((rows, np.array(3.0)), {}),
        "scale_to_norm": ((rows, np.array(40.0)), {"max_norm": 2.0}),
        "compare": ((rows, rows[::-1].copy()), {"relation": ">="}),
        "dropout": ((rows, np.array(7)), {"p": 0.3}),
        "augment": (
            (np.arange(64 * 3 * 32 * 32).astype(np.uint8).reshape(64, 3, 32, 32), np.arange(64)[::-1],
             np.tile([2, -3, 1, 4, 31], (64, 1)), normal(2, 3)), {"mode": "reflect", "cutout": 8},
        ),
        "embedding": ((rows, ids), {}),
        "embedding_grad": ((rows, ids), {"shape": (512, 512)}),
        "sgd_step": ((rows, normal(512, 512), normal(512, 512), np.array([0.1, 0.9, 0.01, 0, 0])), {}),
        "average_step": ((rows, normal(512, 512), np.array([0.1])), {}),
        "adam_step": (
            (rows, normal(512, 512), normal(512, 512), np.abs(normal(512, 512)),
             np.array([0.01, 0.9, 0.999, 1e-8, 0.01, 1, 0.1, 0.001])), {},
        ),
        "attention": ((heads, heads, heads), {"causal": True, "scale": 0.2}),
        "attention_grad": ((heads, heads, heads, heads, heads), {"causal": True, "scale": 0.2}),
        "cached_attention": ((heads, heads, heads, places), {"scale": 0.2}),
        "cache_write": ((heads.copy(), heads[:, :, :64], places[:, :64]), {}),
        "rotary": ((heads, normal(128, 32), places), {"inverse": False}),
        "sum": ((rows,), {"axis": (0,), "keepdims": False}),
        "sum_to": ((rows,), {"shape": (512,)}),
        "max": ((rows,), {"axis": (1,), "keepdims": True}),
        "min": ((rows,), {"axis": (0,), "keepdims": True}),
        "where": ((rows > 0, rows, rows), {}),
        "clip": ((rows,), {"low": -1.0, "high": 1.0}),
        "pow": ((rows,), {"exponent": 2}),
    }  # fmt: skip
    if name in table:
        return table[name]
    if isinstance(op, OverAxis):
        return (rows,), {"axis": -1}
    if isinstance(op, OverAxisGrad):
        return (rows, op.normalise.reference(rows, axis=-1)), {"axis": -1}
    approximate = {"approximate": "none"} if name.startswith("gelu") else {}
    if isinstance(op, Binary | ActivationGrad):
        return (rows, np.abs(normal(512, 512)) + np.float32(0.1)), approximate
    if isinstance(op, Unary):
        return (np.abs(rows) + np.float32(0.1),), approximate
    raise KeyError(f"{name} has a lowering: add large inputs for it to this table")


def copies(arrays):
    return [None if a is None else a.copy() for a in arrays]


def test_what_is_lowered_is_an_op():
    assert set(LOWERED) <= OPS.keys()
    assert {"linear", "conv2d", "relu", "linear_weight_grad", "conv2d_weight_grad"} <= set(COMPUTED)


@pytest.mark.parametrize("name", COMPUTED)
def test_large_inputs_are_computed_by_the_kernel(name):
    arrays, params = large(name)
    expected = copies(arrays)
    out = OPS[name].reference(*expected, **params)
    assert registry.program(name, arrays, params) is not None, "the kernel declined"
    with dispatch.use_backend("numba"):
        result = OPS[name](*arrays, **params)
    assert nmse(result, out) <= tolerance(OPS[name])
    for got, wanted in zip(arrays, expected):  # the updated state of an optimizer; other inputs are as they were
        assert got is None or nmse(got, wanted) <= tolerance(OPS[name])


@pytest.mark.parametrize("name", COMPUTED)
def test_small_inputs_give_the_same(monkeypatch, name):
    """As in a plan, where no work is too small for a kernel. One error over all samples: a single number may cancel."""
    monkeypatch.setattr(registry, "Builder", lambda eager: program.Builder())
    results, references, taken = [], [], 0
    for i in [i for other, i in CASES if other == name]:
        op, arrays, params = case(name, i)
        arrays = in_dtype(op, arrays, np.float32)
        run = registry.program(name, arrays, params)
        if run is None:
            continue
        expected = in_dtype(op, arrays, np.float32)
        out = np.asarray(op.reference(*expected, **params))
        result = run(*arrays)
        assert (result.shape, result.dtype) == (out.shape, out.dtype)
        if isinstance(op, Update):  # the state changes too
            result, out = (np.concatenate([a.ravel() for a in group if a is not None]) for group in (arrays, expected))
        results.append(result.ravel())
        references.append(out.ravel())
        taken += 1
    assert taken, "the kernel takes none of the samples"
    assert nmse(np.concatenate(results), np.concatenate(references)) <= tolerance(OPS[name])


@pytest.mark.parametrize("name", ["relu", "exp", "add", "linear", "matmul"])
@pytest.mark.parametrize("dtype", [np.float64, ">f4", np.int64])
def test_other_dtypes_are_declined_and_still_right(name, dtype):
    if name in ("relu", "exp") and dtype is np.int64:
        with pytest.raises(TypeError, match="it needs a floating type"):
            OPS[name](np.ones(3, np.int64))
        return
    arrays = tuple(np.abs(a * 10).astype(dtype) for a in large(name)[0][:2])
    with dispatch.use_backend("numba"):
        result = OPS[name](*arrays)
    np.testing.assert_array_equal(result, OPS[name].reference(*arrays))


def test_misaligned_data_are_right():
    memory = bytearray(4 * 4096 + 1)
    x = np.frombuffer(memory, np.float32, 4096, offset=1)
    x[:] = RNG.standard_normal(4096)
    assert not x.flags.aligned
    with dispatch.use_backend("numba"):
        for op, expected in ((ops.tanh, np.tanh(x)), (partial(ops.add, x), x + x)):
            aligned_first = op(x.copy())
            np.testing.assert_allclose(op(x), expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(aligned_first, expected, rtol=1e-5, atol=1e-6)
