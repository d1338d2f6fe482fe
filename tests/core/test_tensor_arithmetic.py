"""Arithmetic, comparison, products and reductions of tensors, on both backends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, mutually_broadcastable_shapes

from tests.core.compare import RNG, equal, near, tensor
from tinytorch import Tensor

pytestmark = [pytest.mark.usefixtures("backend"), pytest.mark.filterwarnings("error")]


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
}
RELATIONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def positive(*shape, dtype=np.float32):
    return RNG.uniform(0.5, 2, shape).astype(dtype)


@pytest.mark.parametrize("symbol", OPERATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic_with_tensors_numbers_and_arrays_on_both_sides(symbol, dtype):
    f, a, b = OPERATORS[symbol], positive(3, 4, dtype=dtype), positive(4, dtype=dtype)
    x, y = Tensor(a, dtype=dtype), Tensor(b, dtype=dtype)
    near(f(x, y), f(a, b), dtype)
    near(f(x, b), f(a, b), dtype)
    near(f(b, x), f(b, a), dtype)
    for number in (2, 0.5, True, np.float64(0.3), np.float32(1.5), np.int64(3)):
        near(f(x, number), f(a, dtype(number)), dtype)
        near(f(number, x), f(dtype(number), a), dtype)
    near(f(x, [1, 2, 3, 4]), f(a, np.array([1, 2, 3, 4], dtype)), dtype)
    near(f([1, 2, 3, 4], x), f(np.array([1, 2, 3, 4], dtype), a), dtype)


@pytest.mark.parametrize("symbol", RELATIONS)
def test_comparison_gives_bools(symbol):
    f, a, b = RELATIONS[symbol], np.array([1.0, 2.0, np.nan], np.float32), np.array([2.0, 2.0, 2.0], np.float32)
    for left, right in ((Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b)), (Tensor(a), 2), (Tensor(a), [2, 2, 2])):
        equal(f(left, right), f(a, b), bool)
    equal(f(2, Tensor(a)), f(2, a), bool)
    assert not f(Tensor(a, requires_grad=True), b).requires_grad


def test_float64_keeps_its_precision_beside_arrays_and_numbers():
    x = Tensor([1.0], dtype=np.float64)
    third = 1 / 3
    for y in (
        x * third,
        x * np.array([third]),
        [third] * x,
        x * np.float64(third),
        x * Tensor(third, dtype=np.float64),
    ):
        assert y.dtype == np.float64 and y.item() == third
    assert (Tensor([[1.0]], dtype=np.float64) @ np.array([[third]])).item() == third


def test_integers_and_bools():
    i, b = Tensor(np.array([1, 2, 3])), Tensor(np.array([True, False, True]))
    equal(i + i, [2, 4, 6], np.int64)
    equal(i * 2, [2, 4, 6], np.int64)
    equal(10 - i, [9, 8, 7], np.int64)
    equal(i / 2, [0.5, 1, 1.5])
    equal(1 / Tensor(np.array([1, 2])), [1, 0.5])
    equal(i / i, [1, 1, 1])
    equal(i + 0.5, [1.5, 2.5, 3.5])
    equal(i * Tensor([0.5, 0.5, 0.5]), [0.5, 1, 1.5])
    equal(Tensor([0.5, 0.5, 0.5]) * i, [0.5, 1, 1.5])
    equal(b * 2, [2, 0, 2], np.int64)
    equal(1 - b, [0, 1, 0], np.int64)
    equal(b * 0.5, [0.5, 0, 0.5])
    equal(b * Tensor([1.0, 2.0, 3.0]), [1, 0, 3])
    equal(i.sum(), 6, np.int64)
    equal(b.sum(), 2, np.int64)
    equal((i == Tensor(np.array([1, 0, 3]))).sum(), 2, np.int64)
    near(b.mean(), 2 / 3)
    near(i.mean(), 2)
    equal(i**2, [1, 4, 9])
    equal(i.max(), 3, np.int64)
    equal(Tensor(np.array([0, 5], np.uint8)).min(), 0, np.uint8)
    equal(-i, [-1, -2, -3], np.int64)


def test_a_scalar_of_another_precision_does_not_change_the_dtype():
    x = Tensor([0.25, 4.0])
    equal(x ** np.float64(0.5), [0.5, 2])
    equal(x.pow(np.int64(2)), [0.0625, 16])
    equal(x.clip(np.float64(0.5), np.float64(2)), [0.5, 2])


def test_unary():
    a = positive(3, 4)
    x = Tensor(a)
    near(-x, -a)
    near(x.exp(), np.exp(a))
    near(x.log(), np.log(a))
    near(x.sqrt(), np.sqrt(a))
    near(abs(-x), a)
    near((-x).abs(), a)
    near(x.pow(3), a**3)
    near(x.pow(Tensor(a)), a**a)
    near(x.clip(1, 1.5), np.clip(a, 1, 1.5))
    near(x.clip(max=1), np.clip(a, None, 1))
    near(x.clamp(min=1), np.clip(a, 1, None))
    with pytest.raises(ValueError, match="clip: neither low nor high is given"):
        x.clip()


def test_ieee_edges_come_without_warnings():
    x = Tensor([0.0, 1.0, -1.0])
    equal(1 / x, [np.inf, 1, -1])
    equal(x / 0, [np.nan, np.inf, -np.inf])
    equal(x.log(), [-np.inf, 0, np.nan])
    equal(x.sqrt(), [0, 1, np.nan])
    equal(x**-1, [np.inf, 1, -1])
    equal(x**0.5, [0, 1, np.nan])
    equal(Tensor([1000.0]).exp(), [np.inf])
    equal(Tensor([np.nan, 1.0]).max(), np.nan)


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4), st.sampled_from("+-*/"), st.data())
def test_broadcasting_is_that_of_numpy_and_gradients_fit(shapes, symbol, data):
    f = OPERATORS[symbol]
    elements = st.floats(0.5, 4, width=32)
    a, b = (data.draw(arrays(np.float32, shape, elements=elements)) for shape in shapes.input_shapes)
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = f(x, y)
    near(z, f(a, b))
    z.sum().backward()
    da, db = {"+": (1, 1), "-": (1, -1), "*": (b, a), "/": (1 / b, -a / b**2)}[symbol]
    for t, slope in ((x, da), (y, db)):
        whole = np.broadcast_to(slope, z.shape).astype(np.float64)
        extra = whole.ndim - t.ndim
        summed = whole.sum(tuple(range(extra)))
        axes = tuple(i for i, n in enumerate(t.shape) if n == 1)
        assert t.grad is not None and t.grad.shape == t.shape and t.grad.dtype == np.float32
        np.testing.assert_allclose(t.grad, summed.sum(axes, keepdims=True), rtol=1e-4, atol=1e-4)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"add: a is \(2, 3\), b is \(2,\): they differ on axis -1 \(3 != 2\)"):
        tensor(2, 3) + tensor(2)
    with pytest.raises(ValueError, match="compare"):
        tensor(2, 3) == tensor(2)  # noqa: B015


@pytest.mark.parametrize(
    "a, b", [((3, 4), (4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((4,), (2, 4, 3)),
             ((2, 3, 4), (4,)), ((0, 4), (4, 2)), ((3, 0), (0, 2)), ((1, 1), (1, 1)), ((5, 1, 2, 3), (4, 3, 2))]
)  # fmt: skip
def test_matmul_is_that_of_numpy(a, b):
    x, y = tensor(*a), tensor(*b)
    expected = x.data @ y.data
    for product in (x @ y, x.matmul(y), x @ y.data, x.data @ y):
        near(product, expected)


def test_matmul_errors():
    with pytest.raises(ValueError, match=r"matmul: a is \(3, 4\), b is \(5, 2\): inner sizes differ \(4 != 5\)"):
        tensor(3, 4) @ tensor(5, 2)
    with pytest.raises(ValueError, match=r"a number has no matrix product; use \*"):
        tensor(3, 4) @ 2


# -- reductions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "var"])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), [1]])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(name, axis, keepdims):
    x = tensor(2, 3, 4)
    expected = getattr(np, name)(x.data, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims)
    near(getattr(x, name)(axis, keepdims), expected)
    near(getattr(x, name)(axis=axis, keepdims=keepdims), expected)


def test_reductions_of_little():
    near(Tensor(2.0).sum(), 2)
    near(Tensor([2.0]).mean(), 2)
    near(Tensor.zeros(0, 3).sum(), 0)
    near(Tensor.zeros(0, 3).sum(0), np.zeros(3))
    near(Tensor.zeros(0, 3).max(1), np.zeros(0))
    equal(Tensor.zeros(0, 3).mean(), np.nan)
    equal(Tensor.zeros(0, 3).mean(0), [np.nan] * 3)
    near(Tensor.zeros(0, 3).mean(1), np.zeros(0))
    with pytest.raises(ValueError, match="max of no elements is undefined"):
        Tensor.zeros(0, 3).max()
    with pytest.raises(ValueError, match=r"sum: x is \(2, 3\), it has no axis 2"):
        tensor(2, 3).sum(2)


def test_argmax():
    x = Tensor([[1, 5, 2], [7, 0, 3]])
    equal(x.argmax(), 3, np.int64)
    equal(x.argmax(1), [1, 0], np.int64)
