"""Shapes and indices of tensors, and the gradients of slices, on both backends."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from tests.core.compare import RNG, equal, tensor
from tinytorch import Tensor

pytestmark = [pytest.mark.usefixtures("backend"), pytest.mark.filterwarnings("error")]


def test_reshape_view_flatten():
    x = tensor(2, 3, 4)
    for shape in ((6, 4), (24,), (-1,), (2, -1), (4, 3, 2, 1), (-1, 3, 4)):
        expected = x.data.reshape(shape)
        for y in (x.reshape(*shape), x.reshape(shape), x.reshape(list(shape)), x.view(*shape), x.view(shape)):
            equal(y, expected)
    equal(x.flatten(), x.data.ravel())
    equal(x.flatten(1), x.data.reshape(2, 12))
    equal(Tensor(1.0).flatten(), [1])
    equal(Tensor([1.0]).reshape(()), 1)
    equal(Tensor.zeros(0, 3).reshape(3, 0), np.zeros((3, 0)))
    equal(Tensor.zeros(0, 3).reshape(-1, 3), np.zeros((0, 3)))


@pytest.mark.parametrize("shape, text", [
    ((5, -1), "with 12 elements, (5, -1): the -1 cannot be worked out; give all sizes"),
    ((-1, -1), "the -1 cannot be worked out"),
    ((5, 2), "with 12 elements, (5, 2) has 10; the counts must agree"),
    ((-3, -4), "has a negative size"),
])  # fmt: skip
def test_reshape_errors(shape, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        tensor(3, 4).reshape(shape)
    with pytest.raises(ValueError, match="cannot be worked out"):
        Tensor.zeros(0, 3).reshape(0, -1)


def test_transpose_and_permute():
    x, m = tensor(2, 3, 4), tensor(2, 3)
    equal(m.T, m.data.T)
    equal(x.T, x.data.swapaxes(-1, -2))
    equal(m.transpose(), m.data.T)
    equal(m.transpose(0, 1), m.data.T)
    equal(x.transpose(0, 2), x.data.swapaxes(0, 2))
    equal(x.transpose(-1, 0), x.data.swapaxes(-1, 0))
    equal(x.transpose(2, 0, 1), x.data.transpose(2, 0, 1))
    equal(x.permute(2, 0, 1), x.data.transpose(2, 0, 1))
    equal(x.permute((0, -1, 1)), x.data.transpose(0, 2, 1))
    assert Tensor([1.0, 2.0]).T.shape == (2,) and Tensor(1.0).T.shape == ()
    for bad in ((0, 3), (0,), (0, 1, 2, 3)):
        with pytest.raises(ValueError, match="transpose: "):
            x.transpose(*bad)
    with pytest.raises(ValueError, match="name each axis once"):
        x.permute(0, 0, 1)


def test_squeeze_unsqueeze_expand():
    x = tensor(1, 3, 1)
    assert x.squeeze().shape == (3,) and x.squeeze(0).shape == (3, 1) and x.squeeze(-1).shape == (1, 3)
    assert x.squeeze(1).shape == (1, 3, 1)
    assert [x.unsqueeze(i).shape for i in (0, 1, 3, -1)] == [(1, 1, 3, 1), (1, 1, 3, 1), (1, 3, 1, 1), (1, 3, 1, 1)]
    assert Tensor(1.0).unsqueeze(0).shape == (1,) and Tensor([[1.0]]).squeeze().shape == ()
    equal(x.expand(2, 3, 4), np.broadcast_to(x.data, (2, 3, 4)))
    with pytest.raises(ValueError, match="squeeze: there is no axis 3; axes go from -3 to 2"):
        x.squeeze(3)
    with pytest.raises(ValueError, match="unsqueeze: there is no axis 5; axes go from -4 to 3"):
        x.unsqueeze(5)


# -- indexing ----------------------------------------------------------------------------------------------------------

INDICES = [
    1, -1, (0, 2), slice(1, None), slice(None, None, -2), (slice(None), 1), (..., 0), None, (None, ..., None),
    [0, 2, 0], np.array([[0, 1], [2, 2]]), ([0, 1], [2, 3]), (slice(None), [1, 1]),
    np.arange(12).reshape(3, 4) % 2 == 0, np.array([True, False, True]), (), np.int64(2), slice(3, 3),
    ((0, 0),), True, False, np.array(1),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indices_and_their_gradients(index):
    x = tensor(3, 4, requires_grad=True)
    y = x[index]
    equal(y, x.data[index])
    g = RNG.standard_normal(y.shape).astype(np.float32)
    y.backward(g)
    expected = np.zeros((3, 4), np.float32)
    np.add.at(expected, index, g)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, expected, rtol=1e-6)


@given(st.data(), st.sampled_from([(5,), (3, 4), (2, 3, 2), (1, 1), (0, 2)]))
def test_slices_and_their_gradients(data, shape):
    x = Tensor(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), requires_grad=True)
    index = data.draw(basic_indices(shape, allow_newaxis=True))
    y = x[index]
    equal(y, x.data[index])
    y.sum().backward()
    expected = np.zeros(shape, np.float32)
    expected[index] = 1
    np.testing.assert_array_equal(x.grad, expected)


def test_tensors_as_indices():
    x = tensor(3, 4)
    ids, mask = Tensor(np.array([2, 0])), x > 0
    equal(x[ids], x.data[[2, 0]])
    equal(x[:, ids], x.data[:, [2, 0]])
    equal(x[mask], x.data[mask.data])


@pytest.mark.parametrize("index", [3, (0, 0, 0), [7], "a", 1.5, Tensor([0.0])])
def test_bad_indices_name_the_shape(index):
    with pytest.raises(IndexError, match=r"getitem: x is \(3, 4\), index"):
        tensor(3, 4)[index]


def test_setitem():
    x = Tensor.zeros(2, 3)
    x[0] = 1
    x[1, 1:] = Tensor([2.0, 3.0])
    x[x == 0] = -1
    equal(x, [[1, 1, 1], [-1, 2, 3]])
    with pytest.raises(
        RuntimeError, match=r"setitem: this tensor requires gradients; write to \.data, or inside no_grad"
    ):
        tensor(2, requires_grad=True)[0] = 1
