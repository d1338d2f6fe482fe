"""Declaring ops: complete or not at all, each name once; and the error texts of all shape rules."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tinytorch.engine import ops
from tinytorch.engine.op import OPS, REQUIRED, Op, Sample, Spec, broadcast, snake_case


class Halve(Op):
    """A complete op, for the tests below."""

    gradient = None

    def shape(self, x):
        return Spec(x.shape, x.dtype)

    def reference(self, x):
        return x / 2

    def flops(self, out, x):
        return 1

    def samples(self, rng):
        yield Sample((np.ones(3),))


@pytest.fixture
def registered():
    """OPS as it was, afterwards."""
    before = dict(OPS)
    yield OPS
    OPS.clear()
    OPS.update(before)


def test_an_op_registers_under_its_name(registered):
    op = Halve()
    assert registered["halve"] is op and repr(op) == "<op halve>"
    assert op(np.full(2, 4.0)).tolist() == [2, 2]


@pytest.mark.parametrize("rule", REQUIRED)
def test_half_declared_op_is_refused(registered, rule):
    parts = {k: v for k, v in vars(Halve).items() if k in REQUIRED and k != rule}
    half = type("Quarter", (Op,), parts)
    with pytest.raises(TypeError, match=f"op Quarter: {rule} not declared; an op states all of shape, reference, grad"):
        half()
    assert "quarter" not in registered


def test_op_declared_twice_is_refused(registered):
    Halve()
    with pytest.raises(TypeError, match="op halve: declared twice, by Halve and Halve"):
        Halve()
    clash = type("Other", (Halve,), {"name": "relu"})
    with pytest.raises(TypeError, match="op relu: declared twice, by ReLU and Other"):
        clash()


def test_every_public_op_is_registered_under_a_name_in_snake_case():
    for name, op in OPS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name) and op.name == name
        assert getattr(ops, {"abs": "absolute"}.get(name, name)) is op
        assert type(op).__doc__, f"{name} says nothing about what it computes"


def test_snake_case():
    assert [snake_case(n) for n in ("Add", "MaxPool2dGrad", "Conv2d")] == ["add", "max_pool2d_grad", "conv2d"]


def test_sample_parameters_cannot_be_shared_by_accident():
    with pytest.raises(TypeError):
        Sample((np.ones(1),)).params["axis"] = 0  # type: ignore[index]


def test_broadcast_names_the_axis():
    a, b = Spec((4, 3, 5), np.dtype("f4")), Spec((2, 5), np.dtype("f4"))
    with pytest.raises(ValueError, match=r"mul: a is \(4, 3, 5\), b is \(2, 5\): they differ on axis -2 \(3 != 2\)"):
        broadcast("mul", a, b)
    assert broadcast("mul", a, Spec((1, 5), np.dtype("f4"))) == (4, 3, 5)


def f(*shape):
    return np.zeros(shape, np.float32)


def ints(*values):
    return np.array(values, np.int64)


CONV = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
BYTES, CROP = np.zeros((5, 3, 2, 2), np.uint8), {"mode": "zeros", "cutout": 0}
EPS = {"eps": 1e-5}
HEADS = {"causal": True, "scale": 1.0}

# op, arrays, parameters, error, what its text says
ERRORS = [
    ("add", (f(3, 4), f(5)), {}, ValueError, r"add: a is \(3, 4\), b is \(5,\): they differ on axis -1 \(4 != 5\); re"),
    ("div", (f(3), f(2)), {}, ValueError, r"div: a is \(3,\), b is \(2,\)"),
    ("maximum", (f(3), f(2)), {}, ValueError, r"maximum: a is \(3,\)"),
    ("compare", (f(3), f(2)), {"relation": "=="}, ValueError, r"compare: a is \(3,\)"),
    ("compare", (f(3), f(3)), {"relation": "<>"}, ValueError, "unknown relation '<>'; known: ==, !=, <, <=, >, >="),
    ("where", (f(3), f(3), f(3)), {}, TypeError, "where: condition is float32, it must be bool: compare first"),
    ("where", (f(3) > 0, f(3), f(2)), {}, ValueError, r"where: a is \(3,\), b is \(2,\)"),
    ("where", (f(2) > 0, f(3), f(3)), {}, ValueError, r"where: a is \(2,\), b is \(3,\)"),
    ("clip", (f(3),), {"low": None, "high": None}, ValueError, "neither low nor high is given; give at least one"),
    ("exp", (ints(1, 2),), {}, TypeError, "exp: x is int64; it needs a floating type: make it float32 first"),
    ("relu", (ints(1, 2),), {}, TypeError, "relu: x is int64"),
    ("gelu", (f(3),), {"approximate": "erf"}, ValueError, "unknown approximate='erf'; known: none, tanh"),
    ("softmax", (f(3, 4),), {"axis": 2}, ValueError, r"softmax: x is \(3, 4\), it has no axis 2; choose one below 2"),
    ("log_softmax", (f(),), {"axis": -1}, ValueError, r"log_softmax: x is \(\), it has no axis -1"),
    ("relu_grad", (f(3), f(4)), {}, ValueError, r"relu_grad: g is \(3,\), the saved array is \(4,\); pass forward's"),
    ("softmax_grad", (f(3), f(4)), {"axis": 0}, ValueError, r"softmax_grad: g is \(3,\)"),
    ("matmul", (f(3, 4), f(5, 2)), {}, ValueError, r"matmul: a is \(3, 4\), b is \(5, 2\): inner sizes differ \(4 != "),
    ("matmul", (f(3), f(3, 2)), {}, ValueError, r"matmul: a is \(3,\), b is \(3, 2\): both need two axes; reshape the"),
    ("matmul", (f(2, 3, 4), f(5, 4, 1)), {}, ValueError, r"leading axes \(2,\) and \(5,\) do not broadcast"),
    ("linear", (f(32, 784), f(128, 785)), {}, ValueError,
     r"linear: x is \(32, 784\), w is \(128, 785\): in_features differ \(784 != 128\); flatten x or change the layer'"),
    ("linear", (f(3, 4), f(4)), {}, ValueError, r"w is \(4,\): w must be \(in_features, out_features\)"),
    ("linear", (f(3, 4), f(4, 5), f(4)), {}, ValueError, r"linear: b is \(4,\), w is \(4, 5\): the bias must be \(5,"),
    ("linear_input_grad", (f(3, 4), f(2, 5)), {}, ValueError, r"out_features differ \(4 != 5\); pass forward's w"),
    ("linear_weight_grad", (f(3, 4), f(2, 5)), {}, ValueError, r"x is \(3, 4\), g is \(2, 5\): rows differ; pass forw"),
    ("conv2d", (f(2, 3, 8, 8), f(4, 2, 3, 3)), CONV, ValueError,
     r"conv2d: x is \(2, 3, 8, 8\), w is \(4, 2, 3, 3\), groups is 1: in_channels differ \(3 != 2\); change the layer"),
    ("conv2d", (f(3, 8, 8), f(4, 3, 3, 3)), CONV, ValueError, r"x is \(3, 8, 8\): it must be \(batch, channels, heigh"),
    ("conv2d", (f(2, 3, 8, 8), f(4, 3, 3)), CONV, ValueError, r"w is \(4, 3, 3\): it must be \(out_channels, in_ch"),
    ("conv2d", (f(2, 4, 8, 8), f(3, 2, 3, 3)), {**CONV, "groups": 2}, ValueError,
     "3 output channels do not split into 2 groups"),
    ("conv2d", (f(2, 4, 8, 8), f(3, 2, 3, 3)), {**CONV, "groups": 0}, ValueError, "groups is 0: it must be at least 1"),
    ("conv2d", (f(2, 3, 8, 8), f(4, 3, 3, 3), f(3)), CONV, ValueError, r"b is \(3,\).* the bias must be \(4,\)"),
    ("conv2d", (f(2, 3, 2, 8), f(4, 3, 3, 3)), CONV, ValueError,
     r"x is \(2, 3, 2, 8\), padded to 2x8: the kernel reaches over 3x3; pad more or use a smaller kernel"),
    ("conv2d", (f(2, 3, 8, 8), f(4, 3, 3, 3)), {**CONV, "stride": (0, 1)}, ValueError, "stride and dilation must be a"),
    ("conv2d", (f(2, 3, 8, 8), f(4, 3, 3, 3)), {**CONV, "padding": (-1, 0)}, ValueError, "padding at least 0"),
    ("conv2d_input_grad", (f(1, 4, 6, 5), f(4, 3, 3, 3)), {"shape": (1, 3, 8, 8), **CONV}, ValueError,
     r"conv2d_input_grad: g is \(1, 4, 6, 5\), the convolution gave \(1, 4, 6, 6\)"),
    ("conv2d_weight_grad", (f(1, 3, 8, 8), f(2, 4, 6, 6)), {"shape": (4, 3, 3, 3), **CONV}, ValueError,
     r"conv2d_weight_grad: g is \(2, 4, 6, 6\), the convolution gave \(1, 4, 6, 6\)"),
    ("max_pool2d", (f(2, 3, 8),), POOL, ValueError, r"max_pool2d: x is \(2, 3, 8\): it must be \(batch, channels"),
    ("max_pool2d", (f(1, 1, 1, 4),), POOL, ValueError, "the kernel reaches over 2x2"),
    ("avg_pool2d", (f(1, 1, 4, 4),), {**POOL, "padding": (2, 0)}, ValueError, "more than half the kernel"),
    ("max_pool2d", (np.zeros((1, 1, 4, 4), int),), POOL, TypeError, "max_pool2d: x is int64; it needs a floating type"),
    ("max_pool2d_grad", (f(1, 1, 3, 3), f(1, 1, 4, 4), f(1, 1, 3, 3)), POOL, ValueError,
     r"g is \(1, 1, 3, 3\), the pooling gave \(1, 1, 2, 2\)"),
    ("max_pool2d_grad", (f(1, 1, 2, 2), f(1, 1, 4, 4), f(1, 1, 3, 3)), POOL, ValueError, r"y is \(1, 1, 3, 3\): they "),
    ("avg_pool2d_grad", (f(1, 1, 2, 3),), {"shape": (1, 1, 4, 4), **POOL}, ValueError, r"the pooling gave \(1, 1, 2, "),
    ("batch_stats", (f(4),), {}, ValueError, r"batch_stats: x is \(4,\): it must be \(batch, channels, ...\)"),
    ("batch_stats", (f(0, 3),), {}, ValueError, "the mean of no elements is undefined; skip empty batches"),
    ("batch_norm", (f(2, 3), f(4), f(3), f(2, 3)), EPS, ValueError,
     r"batch_norm: x is \(2, 3\), gamma is \(4,\): channels differ \(3 != 4\); change the layer's num_features"),
    ("batch_norm", (f(2, 3), f(3), f(3), f(3)), EPS, ValueError, r"stats is \(3,\): it must be \(2, 3\)"),
    ("batch_norm", (f(2, 3), f(), f(3), f(2, 3)), EPS, ValueError, r"gamma is \(\): channels differ \(3 != 1\)"),
    ("batch_norm_sums", (f(2, 4), f(2, 3), f(2, 3)), EPS, ValueError, r"batch_norm_sums: g is \(2, 4\), x is \(2, 3\)"),
    ("batch_norm_train", (f(2, 3), f(4), f(3), f(2, 3)), EPS, ValueError, r"batch_norm_train: x is \(2, 3\), gamma is"),
    ("batch_norm_train_input_grad", (f(2, 3), f(2, 3), f(3), f(2, 3), f(2, 4)), EPS, ValueError, "channels differ"),
    ("attention", (f(2, 3, 4), f(2, 3, 4), f(2, 3, 4)), HEADS, ValueError,
     r"attention: q is \(2, 3, 4\): it must be \(batch, heads, positions, width\); reshape it or add the missing axes"),
    ("attention", (f(1, 2, 3, 4), f(1, 2, 3, 4), f(1, 2, 5, 4)), HEADS, ValueError, "each key needs one value"),
    ("attention", (f(1, 2, 3, 4), f(1, 3, 3, 4), f(1, 3, 3, 4)), HEADS, ValueError,
     r"q is \(1, 2, 3, 4\), k is \(1, 3, 3, 4\): only the numbers of positions may differ; split both into the same"),
    ("attention", (f(1, 2, 3, 4), f(1, 2, 2, 4), f(1, 2, 2, 4)), HEADS, ValueError,
     r"causal attention needs a key for every query \(3 > 2\); give the keys of all positions so far"),
    ("attention", (f(1, 2, 3, 4), f(1, 2, 0, 4), f(1, 2, 0, 4)), HEADS, ValueError, "attention to no key is undefined"),
    ("attention", (np.zeros((1, 2, 3, 4), int),) * 3, HEADS, TypeError, "attention: x is int64; it needs a floating"),
    ("attention_grad", (f(1, 2, 2, 4), *(f(1, 2, 3, 4),) * 4), HEADS, ValueError,
     r"attention_grad: g is \(1, 2, 2, 4\), q is \(1, 2, 3, 4\): pass what forward gave"),
    ("cached_attention", (f(2, 2, 1, 4), *(f(2, 2, 8, 4),) * 2, ints(3, 4)), {"scale": 1.0}, ValueError,
     r"cached_attention: x is \(2, 2, 1, 4\), positions are \(2,\): they must be \(2, 1\), one for each new token of"),
    ("cached_attention", (f(1, 2, 1, 4), *(f(1, 2, 8, 4),) * 2, ints([8])), {"scale": 1.0}, IndexError,
     r"cached_attention: id 8 at position \(0, 0\) is outside 0..7; the capacity of the cache is 8"),
    ("cache_write", (f(1, 2, 8, 4), f(1, 2, 4), ints([0])), {}, ValueError, r"both must be \(batch, heads, posit"),
    ("cache_write", (f(1, 2, 8, 4), f(1, 3, 1, 4), ints([0])), {}, ValueError,
     r"cache is \(1, 2, 8, 4\), new is \(1, 3, 1, 4\): only the numbers of positions may differ; make the cache for"),
    ("cache_write", (f(1, 2, 8, 4), f(1, 2, 1, 4), f(1, 1)), {}, TypeError, "positions are float32: they must be int"),
    ("cache_write", (f(1, 2, 8, 4), f(1, 2, 1, 4), ints([-1])), {}, IndexError, "cache_write: id -1 at position"),
    ("rotary", (f(1, 2, 3, 5), f(8, 5), ints([0, 1, 2])), {"inverse": False}, ValueError,
     r"rotary: x is \(1, 2, 3, 5\), table is \(8, 5\): x must be \(batch, heads, positions, width\) of an even width"),
    ("rotary", (f(1, 2, 1, 4), f(8, 4), ints([8])), {"inverse": False}, IndexError, "rotary: id 8 at position"),
    ("layer_norm", (f(2, 3), f(4), f(3)), EPS, ValueError,
     r"layer_norm: x is \(2, 3\), gamma is \(4,\): it must be as long as the last axis of x"),
    ("layer_norm_input_grad", (f(2, 4), f(2, 3), f(3)), EPS, ValueError, "they must agree; pass forward's x"),
    ("layer_norm_sums", (f(2, 4), f(2, 3)), EPS, ValueError, "they must agree; pass forward's x"),
    ("sum", (f(2, 3),), {"axis": (2,), "keepdims": False}, ValueError,
     r"sum: x is \(2, 3\), it has no axis 2; axes go from -2 to 1"),
    ("sum", (f(2, 3),), {"axis": (1, -1), "keepdims": False}, ValueError, r"\(1, -1\) names one axis of \(2, 3\) twic"),
    ("max", (f(0, 3),), {"axis": None, "keepdims": False}, ValueError, r"max: x is \(0, 3\): max of no elements is un"),
    ("min", (f(3, 0),), {"axis": (1,), "keepdims": False}, ValueError, "min of no elements is undefined"),
    ("sum_to", (f(2, 3),), {"shape": (2,)}, ValueError, r"sum_to: \(2,\) cannot have been broadcast to \(2, 3\)"),
    ("expand", (f(2, 3),), {"shape": (2, 4)}, ValueError, r"expand: x is \(2, 3\), it does not broadcast to \(2, 4\)"),
    ("reshape", (f(3, 4),), {"shape": (5, 2)}, ValueError, r"reshape: x is \(3, 4\) with 12 elements, \(5, 2\) has 10"),
    ("reshape", (f(3, 4),), {"shape": (-3, -4)}, ValueError, "has a negative size; give all sizes"),
    ("transpose", (f(3, 4),), {"axes": (0, 0)}, ValueError, r"axes \(0, 0\) do not order the 2 axes of x \(3, 4\)"),
    ("transpose", (f(3, 4),), {"axes": (0,)}, ValueError, "name each axis once"),
    ("getitem", (f(3, 4),), {"index": 3}, IndexError, r"getitem: x is \(3, 4\), index 3: index 3 is out of bounds"),
    ("getitem", (f(3, 4),), {"index": ([0, 7],)}, IndexError, "index 7 is out of bounds"),
    ("getitem_grad", (f(2),), {"index": 1, "shape": (3, 4)}, ValueError, r"g is \(2,\), the index picks \(4,\)"),
    ("concat", (), {"axis": 0}, ValueError, "concat: no arrays given; give at least one"),
    ("concat", (f(3, 4), f(3, 5)), {"axis": 0}, ValueError, r"array 0 is \(3, 4\), array 1 is \(3, 5\): only axis 0 m"),
    ("concat", (f(3, 4), f(3)), {"axis": 0}, ValueError, r"array 1 is \(3,\)"),
    ("concat", (f(3, 4), f(3, 4)), {"axis": 2}, ValueError, "they have no axis 2; choose one below 2"),
    ("dropout", (f(3), np.array(1)), {"p": 1.5}, ValueError, "dropout: p is 1.5, it is a probability: choose it"),
    ("dropout", (f(3), f()), {"p": 0.5}, TypeError, r"key is \(\) float32: it must be one int64; draw a new one"),
    ("augment", (f(5, 1, 2, 2), ints(1), np.zeros((1, 5), int), f(2, 1)), CROP, TypeError,
     r"augment: images are \(5, 1, 2, 2\) float\d+: they must be \(N, C, H, W\) uint8; keep the bytes of the data set"),
    ("augment", (BYTES, ints(1), np.zeros((1, 4), int), f(2, 3)), CROP, ValueError,
     r"draws are \(1, 4\), affine is \(2, 3\): they must be \(n,\), \(n, 5\) and \(2, 3\), for images \(5, 3, 2, 2\)"),
    ("augment", (BYTES, ints(1), np.zeros((1, 5), int), f(2, 3)), {**CROP, "mode": "wrap"}, ValueError,
     "augment: unknown mode 'wrap'; known: zeros, reflect"),
    ("augment", (BYTES, ints(1, 5), np.zeros((2, 5), int), f(2, 3)), CROP, IndexError,
     r"augment: id 5 at position \(1,\) is outside 0..4; the number of images is 5: check how the ids were made"),
    ("embedding", (f(5, 2), f(3)), {}, TypeError, "ids are float32: they must be integers; convert them with astype"),
    ("embedding", (f(5,), ints(1)), {}, ValueError, r"table is \(5,\): it must be \(vocabulary, width\)"),
    ("embedding", (f(5, 2), ints(1, 5, 2)), {}, IndexError,
     r"embedding: id 5 at position \(1,\) is outside 0..4; the vocabulary size is 5: check how the ids were made"),
    ("embedding", (f(5, 2), ints(-1)), {}, IndexError, r"id -1 at position \(0,\) is outside 0..4"),
    ("embedding_grad", (f(3, 2), ints(1, 2)), {"shape": (5, 2)}, ValueError, r"g must be \(2, 2\); pass forward's ids"),
    ("cross_entropy", (f(3, 4), ints(0, 1)), {"label_smoothing": 0.0}, ValueError,
     r"logits are \(3, 4\), targets are \(2,\): they must be \(N, classes\) and \(N,\); reshape longer inputs"),
    ("cross_entropy", (f(0, 4), ints()), {"label_smoothing": 0.0}, ValueError, "mean over no rows is undefined"),
    ("cross_entropy", (f(2, 4), f(2)), {"label_smoothing": 0.0}, TypeError, "integer class numbers, not one-hot rows"),
    ("cross_entropy", (f(2, 4), ints(0, 4)), {"label_smoothing": 0.0}, IndexError,
     r"cross_entropy: id 4 at position \(1,\) is outside 0..3; the number of classes is 4"),
    ("cross_entropy", (f(2, 4), ints(-1, 0)), {"label_smoothing": 0.1}, IndexError, "id -1 at position"),
    ("cross_entropy_grad", (f(2), f(2, 4), ints(0, 1)), {"label_smoothing": 0.0}, ValueError, r"gradient must be \(\)"),
    ("binary_cross_entropy", (f(3, 1), f(3)), {}, ValueError,
     r"binary_cross_entropy: p is \(3, 1\) float\d+, t is \(3,\) float\d+: they must agree; reshape one"),
    ("binary_cross_entropy", (f(0), f(0)), {}, ValueError, r"p is \(0,\): the mean over nothing is undefined; skip em"),
    ("binary_cross_entropy", (ints(0, 1), ints(0, 1)), {}, TypeError, "entropy: x is int64; it needs a floating type"),
    ("binary_cross_entropy_grad", (f(2), f(2), f(2)), {}, ValueError, r"g is \(2,\): the loss is one number, g must b"),
    ("sum_of_squares", (f(3), f(2)), {}, ValueError,
     r"sum_of_squares: squares are \(2,\) float\d+, they must be \(\) float64; pass what sum_of_squares gave"),
    ("sum_of_squares", (ints(1), None), {}, TypeError, "sum_of_squares: x is int64; it needs a floating type"),
    ("scale_to_norm", (f(3), np.float32(1)), {"max_norm": 1.0}, ValueError, r"squares are \(\) float32, they must be"),
    ("sgd_step", (f(3), f(4), None, np.zeros(5)), {}, ValueError, r"sgd_step: w is \(3,\), g is \(4,\): they must agr"),
    ("average_step", (f(3), f(4), np.zeros(1)), {}, ValueError, r"average_step: w is \(3,\), g is \(4,\): they must"),
    ("running_stats_step", (f(3), f(3), f(3), np.zeros(2)), {}, ValueError,
     r"running_stats_step: mean is \(3,\), var is \(3,\), stats are \(3,\): they must be \(C,\), \(C,\) and \(2, C\)"),
    ("adam_step", (f(3), f(3), f(3), f(2), np.zeros(8)), {}, ValueError, r"adam_step: w is \(3,\), state 1 is \(2,\)"),
]  # fmt: skip


@pytest.mark.parametrize("name, arrays, params, error, text", ERRORS)
def test_bad_input_is_named(backend, name, arrays, params, error, text):
    with pytest.raises(error, match=text):
        OPS[name](*arrays, **params)


def test_every_op_that_combines_inputs_has_a_tested_error():
    """Ops of one input of any shape cannot be given a wrong one, or share their rule with one that is tested."""
    share = {
        "sub", "mul", "power", "log", "sqrt", "sign", "pow", "sigmoid", "tanh", "sigmoid_grad", "tanh_grad",
        "gelu_grad", "log_softmax_grad", "batch_norm_input_grad",
    }  # fmt: skip
    anything = {"abs", "neg", "cast"}
    assert OPS.keys() - {name for name, *_ in ERRORS} == share | anything
