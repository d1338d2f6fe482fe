"""Every op that PyTorch has, with its gradients, in both precisions and on both backends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.oracle.against import compare, of, torch
from tinytorch import Tensor
from tinytorch.engine import ops
from tinytorch.engine.op import OPS

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("backend")]
F = torch.nn.functional
precisions = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape))


def positive(*shape: int) -> np.ndarray:
    return np.asarray(RNG.uniform(0.3, 3, shape))


def halves(*shape: int) -> np.ndarray:
    """Multiples of a half, so that many are equal."""
    return np.round(normal(*shape) * 2) / 2


def ids(below: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, below, shape)


X, WIDE, IMAGE = normal(3, 5), normal(40, 300), normal(2, 4, 9, 8)
MASK = normal(3, 5) > 0

REDUCTIONS = {"sum": torch.sum, "max": torch.amax, "min": torch.amin}


def power(exponent: float, x: torch.Tensor) -> torch.Tensor:
    return x**exponent


# Name of the op, its parameters, the arrays, and PyTorch's function of tensors.
Case = tuple[str, dict[str, Any], tuple[np.ndarray, ...], Callable[..., torch.Tensor]]
CASES: list[Case] = [
    ("add", {}, (normal(4, 1, 5), normal(3, 1)), torch.add),
    ("sub", {}, (normal(3, 5), normal(5)), torch.sub),
    ("mul", {}, (normal(3, 5), normal()), torch.mul),
    ("div", {}, (normal(3, 5), positive(3, 1)), torch.div),
    ("maximum", {}, (halves(9, 9), halves(9)), torch.maximum),
    ("power", {}, (positive(3, 5), normal(5)), torch.pow),
    ("where", {}, (MASK, X, normal(5)), torch.where),
    ("neg", {}, (WIDE,), torch.neg),
    ("exp", {}, (WIDE,), torch.exp),
    ("log", {}, (positive(40, 300),), torch.log),
    ("sqrt", {}, (positive(40, 300),), torch.sqrt),
    ("abs", {}, (halves(9, 9),), torch.abs),
    ("relu", {}, (halves(40, 300),), torch.relu),
    ("sigmoid", {}, (WIDE * 20,), torch.sigmoid),
    ("tanh", {}, (WIDE * 5,), torch.tanh),
    ("clip", {"low": -0.5, "high": 1.0}, (halves(9, 9),), lambda x: torch.clamp(x, -0.5, 1.0)),
    ("clip", {"low": None, "high": 0.0}, (halves(9, 9),), lambda x: torch.clamp(x, max=0.0)),
    ("cast", {"dtype": "float64"}, (X,), lambda x: x.double()),
    ("transpose", {"axes": (2, 0, 1)}, (normal(2, 3, 4),), lambda x: x.permute(2, 0, 1)),
    ("reshape", {"shape": (4, 6)}, (normal(2, 3, 4),), lambda x: x.reshape(4, 6)),
    ("expand", {"shape": (4, 3, 5)}, (normal(3, 1),), lambda x: x.expand(4, 3, 5)),
    ("sum_to", {"shape": (3, 1)}, (normal(4, 3, 5),), lambda x: x.sum_to_size(3, 1)),
    ("concat", {"axis": 1}, (normal(2, 3), normal(2, 1), normal(2, 4)), lambda *xs: torch.cat(xs, 1)),
    ("getitem", {"index": (slice(None, None, 2), 1)}, (X,), lambda x: x[::2, 1]),
    ("getitem", {"index": ([0, 2, 0],)}, (X,), lambda x: x[[0, 2, 0]]),
    ("getitem", {"index": MASK}, (X,), lambda x: x[torch.tensor(MASK)]),
    ("embedding", {}, (normal(7, 4), ids(7, 5, 3)), lambda table, i: F.embedding(i, table)),
    ("matmul", {}, (normal(2, 1, 3, 4), normal(5, 4, 2)), torch.matmul),
    ("matmul", {}, (normal(65, 33), normal(33, 47)), torch.matmul),
    ("linear", {}, (normal(37, 65), normal(65, 33), normal(33)), lambda x, w, b: F.linear(x, w.T, b)),
    ("linear", {}, (normal(2, 3, 4), normal(4, 5)), lambda x, w: F.linear(x, w.T)),
    ("linear", {}, (normal(128, 784), normal(784, 70), normal(70)), lambda x, w, b: F.linear(x, w.T, b)),
    ("layer_norm", {"eps": 1e-5}, (normal(7, 37), normal(37), normal(37)), lambda x, *wb: F.layer_norm(x, (37,), *wb)),
    ("layer_norm", {"eps": 0.1}, (normal(2, 3, 4), X[0, :4], X[1, :4]), lambda x, *wb: F.layer_norm(x, (4,), *wb, 0.1)),
    *[("attention", {"causal": causal, "scale": 0.3}, (normal(2, 3, t, 8), normal(2, 3, 17, 8), normal(2, 3, 17, 8)),
       partial(F.scaled_dot_product_attention, is_causal=causal, scale=0.3))
      for causal, t in ((False, 5), (False, 17), (True, 17))],
    ("binary_cross_entropy", {}, (RNG.uniform(0.01, 0.99, (40, 30)), RNG.uniform(0, 1, (40, 30))),
     F.binary_cross_entropy),
    *[("pow", {"exponent": e}, (positive(3, 5),), partial(power, e)) for e in (2, 3, -1, 0.5, 0, 1)],
    *[("pow", {"exponent": e}, (halves(9, 9),), partial(power, e)) for e in (0, 1, 2, 3)],
    *[("gelu", {"approximate": form}, (WIDE,), partial(F.gelu, approximate=form)) for form in ("none", "tanh")],
    *[(name, {"axis": axis}, (normal(4, 5, 6) * 10,), partial(getattr(F, name), dim=axis))
      for name, axis in product(("softmax", "log_softmax"), (-1, 0, 1))],
    *[(name, {"axis": axis, "keepdims": keep}, (halves(4, 5, 6),), partial(f, dim=axis, keepdim=keep))
      for (name, f), axis, keep in product(REDUCTIONS.items(), ((0,), (-1, 0), (0, 1, 2)), (False, True))],
]  # fmt: skip

SMOOTHING = (0.0, 0.1, 1.0)

# Forward ops that have no counterpart here, and why.
NO_COUNTERPART = {
    "batch_norm": "compared below, where the statistics get no gradient",
    "batch_norm_train": "compared together with batch_stats, below",
    "batch_stats": "no gradient, compared together with batch_norm_train, below",
    "cache_write": "in place, without a gradient",
    "cached_attention": "no gradient; compared with attention, in test_decoding",
    "rotary": "no such function there; its gradient is compared with finite differences",
    "dropout": "its masks are random; known answers of the generator are in test_dropout",
    "augment": "no gradient, compared with padding, slicing and flipping there, in test_augmentation_against_torch",
    "compare": "no gradient, and NumPy's own comparison",
    "sign": "no gradient, and NumPy's own sign",
    "sum_of_squares": "no gradient, compared as part of clipping, in test_training_against_torch",
    "scale_to_norm": "likewise",
}


@precisions
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_op(case, dtype):
    name, params, arrays, theirs = case
    if name == "cast" and dtype is np.float32:
        arrays = tuple(a.astype(np.float32) for a in arrays)
        dtype = np.float64
    compare(dtype, arrays, of(OPS[name], **params), theirs)


def test_every_op_is_compared_or_excused():
    below = {name for name in OPS if name.startswith(("conv2d", "max_pool2d", "avg_pool2d", "cross_entropy"))}
    # As trajectories, in test_training_against_torch and test_recipes_against_torch.
    updates = {"sgd_step", "adam_step", "average_step", "running_stats_step"}
    backward = {name for name in OPS if name.endswith(("_grad", "_sums"))}  # by way of their forward op
    assert OPS.keys() - backward - below - updates - NO_COUNTERPART.keys() == {case[0] for case in CASES}


# -- images ------------------------------------------------------------------------------------------------------------


@precisions
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride, padding, dilation, groups", [
    (1, 0, 1, 1), (1, 1, 1, 1), ((2, 1), 1, 1, 1), (1, (2, 0), 1, 1), (2, 2, (2, 3), 1), (1, 1, 1, 2), (2, 1, 1, 4),
    ((3, 2), (0, 1), (1, 2), 2),
])  # fmt: skip
def test_conv2d(dtype, bias, stride, padding, dilation, groups):
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    pair = {k: v if isinstance(v, tuple) else (v, v) for k, v in how.items()}
    arrays = [IMAGE, normal(8, 4 // groups, 3, 2), *([normal(8)] if bias else [])]
    compare(dtype, arrays, of(ops.conv2d, **pair, groups=groups), lambda *t: F.conv2d(*t, **how, groups=groups))


@precisions
@pytest.mark.parametrize("x, w", [
    ((1, 1, 1, 1), (1, 1, 1, 1)), ((3, 5, 9, 11), (37, 5, 3, 3)), ((2, 17, 8, 8), (16, 17, 5, 5)),
    ((8, 16, 14, 14), (32, 16, 3, 3)), ((2, 8, 6, 6), (4, 8, 1, 1)),
])  # fmt: skip
def test_conv2d_shapes(dtype, x, w):
    how = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    compare(dtype, [normal(*x), normal(*w), normal(w[0])], of(ops.conv2d, **how), F.conv2d)


@precisions
@pytest.mark.parametrize("kernel, stride, padding", [
    ((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1)), ((3, 3), (1, 1), (1, 0)), ((1, 4), (3, 2), (0, 2)),
])  # fmt: skip
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_pooling(dtype, name, kernel, stride, padding):
    """Halves: many windows hold their maximum twice, and the first one in row-major order must get the gradient."""
    params = {"kernel": kernel, "stride": stride, "padding": padding}
    compare(
        dtype, [halves(2, 5, 9, 8)], of(OPS[name], **params), lambda x: getattr(F, name)(x, kernel, stride, padding)
    )


@precisions
def test_pooling_of_nan(dtype):
    x = normal(1, 2, 4, 4)
    x[0, 0, 1, 1] = np.nan
    params = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    compare(dtype, [x], of(ops.max_pool2d, **params), lambda t: F.max_pool2d(t, 2))


@precisions
@pytest.mark.parametrize("shape", [(2, 4, 9, 8), (6, 5), (3, 17, 4, 4), (2, 1, 2, 2)])
def test_batch_norm_of_a_training_batch(dtype, shape):
    """Gradients flow through mean and variance too."""

    def ours(x, gamma, beta):
        stats = Tensor(ops.batch_stats(x.data), dtype=x.dtype)
        return of(ops.batch_norm_train, eps=1e-5)(x, gamma, beta, stats)

    arrays = [normal(*shape) * 3 + 5, normal(shape[1]), normal(shape[1])]
    compare(dtype, arrays, ours, lambda x, gamma, beta: F.batch_norm(x, None, None, gamma, beta, training=True))


@precisions
def test_batch_norm_with_given_statistics(dtype):
    mean, var = normal(4), positive(4)
    stats = Tensor(np.stack([mean, var]), dtype=dtype)

    def theirs(x, gamma, beta):
        given = [torch.tensor(v, dtype=x.dtype) for v in (mean, var)]
        return F.batch_norm(x, *given, gamma, beta, training=False, eps=1e-3)

    compare(dtype, [IMAGE, normal(4), normal(4)], lambda *xs: of(ops.batch_norm, eps=1e-3)(*xs, stats), theirs)


# -- loss --------------------------------------------------------------------------------------------------------------


@precisions
@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("rows, classes", [(5, 3), (33, 37), (1, 2), (128, 10)])
def test_cross_entropy(dtype, smoothing, rows, classes):
    compare(
        dtype,
        [normal(rows, classes) * (1 if rows == 1 else 5), ids(classes, rows)],  # in one small loss all would cancel
        of(ops.cross_entropy, label_smoothing=smoothing),
        lambda x, t: F.cross_entropy(x, t, label_smoothing=smoothing),
    )


@precisions
def test_cross_entropy_of_certain_answers(dtype):
    x = np.array([[1000.0, 0.0, -1000.0], [-1000.0, 1000.0, 0.0]])
    for targets in (np.array([0, 1]), np.array([2, 0])):
        compare(dtype, [x, targets], of(ops.cross_entropy, label_smoothing=0.0), F.cross_entropy)
