"""Tensor: what it holds, how it is shown, made and copied, on both backends."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.compare import RNG, equal, tensor
from tinytorch import Tensor

pytestmark = [pytest.mark.usefixtures("backend"), pytest.mark.filterwarnings("error")]

SHAPES = [(3, 4), (1,), (), (0, 3), (2, 3, 4)]


@pytest.mark.parametrize(
    "data, dtype",
    [
        (3, np.float32),
        (2.5, np.float32),
        (True, np.float32),
        ([1, 2], np.float32),
        ([[1.0, 2.0], [3.0, 4.0]], np.float32),
        ([], np.float32),
        (np.float64(2), np.float32),
        (np.zeros(3), np.float32),
        (np.zeros(3, np.float16), np.float32),
        (np.zeros(3, np.float32), np.float32),
        (np.zeros(3, np.int64), np.int64),
        (np.zeros(3, np.uint8), np.uint8),
        (np.zeros(3, bool), np.bool_),
        (np.int32(2), np.int32),
    ],
)
def test_dtype_is_float32_or_that_of_an_integer_array(data, dtype):
    t = Tensor(data)
    assert t.dtype == dtype and t.shape == np.shape(data)
    assert not t.requires_grad and t.grad is None and t.is_leaf and t.grad_fn is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, bool, "float64"])
def test_dtype_is_kept_when_asked_for(dtype):
    for data in (1, [1, 0], np.ones((2, 2)), Tensor([1.0])):
        assert Tensor(data, dtype=dtype).dtype == np.dtype(dtype)


def test_a_tensor_of_a_tensor_keeps_its_dtype_and_drops_its_history():
    x = Tensor([1.0], requires_grad=True, dtype=np.float64)
    y = Tensor(x * 2)
    assert y.dtype == np.float64 and y.is_leaf and not y.requires_grad
    assert Tensor(x, dtype=np.float32).dtype == np.float32


def test_an_integer_array_that_requires_gradients_becomes_float32():
    x = Tensor(np.array([1, 2, 3]), requires_grad=True)
    assert x.dtype == np.float32 and x.requires_grad
    assert Tensor.arange(3, requires_grad=True).dtype == np.float32
    with pytest.raises(TypeError, match="only floating tensors can require gradients, this one is int64"):
        Tensor([1, 2], requires_grad=True, dtype=np.int64)


@pytest.mark.parametrize("data", [None, "three", ["a"], [None], [1 + 2j], object(), [[1, 2], [3]], {1: 2}])
@pytest.mark.parametrize("dtype", [None, np.float32])
def test_what_is_no_number_is_refused(data, dtype):
    with pytest.raises(
        TypeError, match=r"^Tensor: the data are (not an array of numbers|.*, not numbers; convert them)"
    ):
        Tensor(data, dtype=dtype)


def test_ragged_rows_are_named():
    with pytest.raises(TypeError, match="rows must have one length"):
        Tensor([[1, 2], [3]])


def test_attributes():
    x = tensor(2, 3, 4, requires_grad=True)
    assert (x.shape, x.size, x.ndim, len(x), x.dtype) == ((2, 3, 4), 24, 3, 2, np.float32)
    assert x.numpy() is x.data and x.requires_grad
    assert [row.shape for row in x] == [(3, 4)] * 2
    assert x.tolist() == x.data.tolist()
    with pytest.raises(TypeError, match="len: a tensor without axes has no length"):
        len(Tensor(1.0))
    with pytest.raises(TypeError, match="without axes"):
        iter(Tensor(1.0))


def test_item_and_conversions():
    assert Tensor([[2.5]]).item() == 2.5 and type(Tensor(2.5).item()) is float
    assert type(Tensor(np.array([3])).item()) is int
    assert float(Tensor([1.5])) == 1.5 and int(Tensor(3.7)) == 3 and bool(Tensor(1.0)) and not bool(Tensor([0.0]))
    with pytest.raises(
        ValueError, match=r"item: the tensor is \(2,\), only a single element has a value; index or red"
    ):
        Tensor([1.0, 2.0]).item()
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([1.0, 2.0]))


def test_array_protocol():
    x = tensor(2, 3)
    assert np.asarray(x) is x.data or np.shares_memory(np.asarray(x), x.data)
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    np.testing.assert_array_equal(np.exp(x), np.exp(x.data))
    np.testing.assert_array_equal(np.stack([x, x]), np.stack([x.data, x.data]))
    with pytest.raises(ValueError, match=r"[cC]opy"):
        np.array(x, np.float64, copy=False)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: Tensor([1, 2.5]), "Tensor([1. , 2.5], shape=(2,))"),
        (lambda: Tensor(1.0), "Tensor(1., shape=())"),
        (lambda: Tensor([]), "Tensor([], shape=(0,))"),
        (lambda: Tensor(np.array([1, 2])), "Tensor([1, 2], shape=(2,), dtype=int64)"),
        (lambda: Tensor([1.0], requires_grad=True), "Tensor([1.], shape=(1,), requires_grad=True)"),
        (lambda: Tensor([1.0], requires_grad=True) + 1, "Tensor([2.], shape=(1,), grad_fn=<AddBackward>)"),
        (lambda: Tensor([[1, 2], [3, 4]]), "Tensor([[1., 2.],\n        [3., 4.]], shape=(2, 2))"),
    ],
)
def test_repr(make, text):
    assert repr(make()) == text


def test_repr_of_a_large_tensor_is_short():
    assert len(repr(Tensor.zeros(1000, 1000))) < 500


# -- copies and constructors -------------------------------------------------------------------------------------------


def test_detach_clone_astype():
    x = tensor(2, 3, requires_grad=True)
    y = x.detach()
    assert y.data is x.data and not y.requires_grad
    z = x.clone()
    assert z.requires_grad and not np.shares_memory(z.data, x.data)
    equal(z, x.data)
    assert x.astype(np.float64).dtype == np.float64 and not x.astype(np.int32).requires_grad
    equal(Tensor([1.7, -1.7]).astype(int), [1, -1], np.int64)


def test_constructors():
    equal(Tensor.zeros(2, 3), np.zeros((2, 3)))
    equal(Tensor.ones((2, 3)), np.ones((2, 3)))
    equal(Tensor.zeros(), 0)
    assert Tensor.ones(2, requires_grad=True).requires_grad
    assert Tensor.randn(1000, 100, seed=0).data.std() == pytest.approx(1, abs=0.02)
    equal(Tensor.randn(3, seed=5), Tensor.randn(3, seed=5).data)
    np.random.seed(3)
    first = Tensor.randn(2, 2)
    np.random.seed(3)
    equal(Tensor.randn(2, 2), first.data)
    equal(Tensor.randn(seed=0) * 0, 0)
    equal(Tensor.arange(4), [0, 1, 2, 3], np.int64)
    equal(Tensor.arange(1, 3, 0.5), [1, 1.5, 2, 2.5])
    equal(Tensor.arange(3, dtype=np.float64), [0, 1, 2], np.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_method_takes_every_shape(shape):
    """Empty, of one element, without axes: values and gradients have the shapes they should."""
    x = Tensor(RNG.uniform(0.5, 2, shape), requires_grad=True)
    for f in (lambda t: t.exp(), lambda t: t.log(), lambda t: t.sqrt(), lambda t: t.abs(), lambda t: t**2,
              lambda t: t.clip(0.6, 1.5), lambda t: -t, lambda t: 2 / t, lambda t: t.flatten(), lambda t: t.T,
              lambda t: t.sum(), lambda t: t.unsqueeze(-1), lambda t: t.squeeze(), lambda t: t[...], lambda t: t + t,
              lambda t: t.astype(np.float64), lambda t: t.clone(), lambda t: t.detach() * t):  # fmt: skip
        y = f(x)
        x.zero_grad()
        y.backward(np.ones(y.shape))
        assert x.grad is not None and x.grad.shape == shape and x.grad.dtype == np.float32
        assert np.isfinite(x.grad).all()


def test_a_parameter_owns_its_data():
    given = np.ones(3, np.float32)
    parameter = Tensor(given, requires_grad=True)
    parameter.data += 1
    assert (given == 1).all()
    assert np.shares_memory(Tensor(given).data, given)
