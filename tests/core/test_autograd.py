"""The tape: right gradients, each node once, linear cost, and what is recorded when."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import tinytorch
from tinytorch import Tensor, enable_autograd, no_grad
from tinytorch.core import autograd
from tinytorch.core.tensor import apply
from tinytorch.engine import ops

pytestmark = pytest.mark.usefixtures("backend")

RNG = np.random.default_rng(0)


def leaf(*values, dtype=None):
    return Tensor(np.array(values, np.float64), requires_grad=True, dtype=dtype)


@pytest.fixture
def visits(monkeypatch):
    """The names of the nodes that backward asks for gradients, in order."""
    names: list[str] = []
    original = autograd.Node.gradients

    def counting(node, g):
        names.append(node.name)
        return original(node, g)

    monkeypatch.setattr(autograd.Node, "gradients", counting)
    return names


# -- values ------------------------------------------------------------------------------------------------------------


def test_chain_rule():
    x = leaf(2.0, 3.0)
    y = ((x * x + 1) / x).sum()  # x + 1/x
    y.backward()
    np.testing.assert_allclose(x.grad, [1 - 1 / 4, 1 - 1 / 9], rtol=1e-6)
    assert y.grad is None, "results keep no gradient unless asked to"


def test_diamond():
    x = leaf(3.0)
    a = x * 2
    (a * a + a * x).backward(np.ones(1))  # 4x^2 + 2x^2
    assert x.grad.item() == 36


def test_a_tensor_used_twice_by_one_op():
    x = leaf(3.0)
    (x * x).backward()
    assert x.grad.item() == 6


def test_gradients_accumulate_over_backwards_and_are_cleared():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    first = x.grad
    y.backward()
    np.testing.assert_array_equal(x.grad, [4, 8])
    np.testing.assert_array_equal(first, [2, 4])  # an array handed out is not written to
    (3 * x).sum().backward()
    np.testing.assert_array_equal(x.grad, [7, 11])
    x.zero_grad()
    assert x.grad is None


def test_gradients_are_arrays_of_their_own():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    g = np.ones(2, np.float32)
    (x + y).backward(g)
    x.grad += 1
    np.testing.assert_array_equal(y.grad, [1, 1])
    np.testing.assert_array_equal(g, [1, 1])
    z = leaf(1.0)
    z.backward(g[:1])
    z.grad += 1
    assert g[0] == 1


def test_gradient_of_a_broadcast_sum_can_be_written():
    x = Tensor.ones(2, 3, requires_grad=True)
    x.sum().backward()
    x.grad *= 2
    np.testing.assert_array_equal(x.grad, np.full((2, 3), 2))


def test_dtypes_of_gradients_are_those_of_their_tensors():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0, dtype=np.float64)
    z = (x * y).sum()
    assert z.dtype == np.float64
    z.backward()
    assert x.grad.dtype == np.float32 and y.grad.dtype == np.float64


def test_equal_maxima_share_the_gradient():
    x = leaf(1.0, 3.0, 3.0)
    x.max().backward()
    np.testing.assert_array_equal(x.grad, [0, 0.5, 0.5])
    x = leaf(1.0, 1.0, 2.0)
    x.min().backward()
    np.testing.assert_array_equal(x.grad, [0.5, 0.5, 0])


def test_maximum_of_equals_shares_the_gradient():
    a, b = leaf(1.0, 2.0, 3.0), leaf(1.0, 3.0, 2.0)
    apply(ops.maximum, a, b).sum().backward()
    np.testing.assert_array_equal(a.grad, [0.5, 0, 1])
    np.testing.assert_array_equal(b.grad, [0.5, 1, 0])


def test_max_pool_gives_the_gradient_to_the_first_maximum():
    x = Tensor(np.array([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 1, 2, 2), requires_grad=True)
    tinytorch.MaxPool2d(2)(x).backward(np.full((1, 1, 1, 1), 5))
    np.testing.assert_array_equal(x.grad.reshape(2, 2), [[0, 5], [0, 0]])


def test_pow_at_zero():
    for exponent, expected in ((0, [0, 0]), (1, [1, 1]), (2, [0, 4]), (3, [0, 12])):
        x = leaf(0.0, 2.0)
        (x**exponent).sum().backward()
        np.testing.assert_array_equal(x.grad, expected)


def test_numbers_and_arrays_take_no_gradient():
    x = leaf(1.0, 2.0)
    y = 2**x + np.array([1.0, 2.0]) * x
    y.sum().backward()
    np.testing.assert_allclose(x.grad, np.log(2) * 2**x.data + [1, 2], rtol=1e-6)


# -- cost --------------------------------------------------------------------------------------------------------------


def test_doubling_2000_times_is_linear():
    x = y = Tensor(np.array(1.0), requires_grad=True, dtype=np.float64)
    for _ in range(2000):
        y = (y + y) * 0.5
    started = time.perf_counter()
    y.backward()
    assert time.perf_counter() - started < 1  # walking each path would take 2^2000 steps
    assert x.grad == 1
    z = x
    for _ in range(1000):
        z = z + z
    x.zero_grad()
    z.backward()
    assert x.grad == 2.0**1000


def test_residual_chain_visits_each_node_once(visits):
    x = y = leaf(1.0)
    for _ in range(12):
        y = y + y * 0.5
    y.backward()
    assert visits == ["AddBackward", "MulBackward"] * 12
    np.testing.assert_allclose(x.grad, 1.5**12, rtol=1e-6)


def test_a_node_waits_for_all_its_gradients(visits):
    """One use is near the result, the other far: a walk in the wrong order would visit x.exp() too soon."""
    x = leaf(0.5)
    shared = x.exp()
    far = shared
    for _ in range(5):
        far = -far
    (shared + far * shared).backward()
    assert visits.count("ExpBackward") == 1 and visits[-1] == "ExpBackward"
    e = np.exp(0.5)
    np.testing.assert_allclose(x.grad, e - 2 * e * e, rtol=1e-6)


def test_chain_deeper_than_the_recursion_limit():
    depth = 50_000
    assert depth > 10 * sys.getrecursionlimit()
    x = y = leaf(1.0)
    for _ in range(depth):
        y = -y
    y.backward()
    assert x.grad.item() == 1
    del y  # taking the chain apart must not recurse either


def test_the_tape_is_freed_with_its_result():
    x = leaf(1.0)
    y = x.exp()
    watched = weakref.ref(y)
    gc.disable()
    try:
        z = y * 2
        z.backward()
        del y
        assert watched() is not None, "the tape holds what backward needs"
        del z
        assert watched() is None, "without waiting for the garbage collector"
    finally:
        gc.enable()


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_nothing_is_recorded_without_a_reason():
    x, plain = leaf(1.0), Tensor([1.0])
    assert (plain * 2)._grad_fn is None and not (plain * 2).requires_grad
    assert (x > 0)._grad_fn is None and not (x > 0).requires_grad
    assert not x.detach().requires_grad and not (x.detach() * 2).requires_grad
    assert (plain * x).requires_grad and (x.detach() * x).requires_grad


def test_no_grad_as_context():
    x = leaf(1.0)
    with no_grad():
        y = x * 2
        with no_grad():
            pass
        z = x * 2  # the inner block must not switch the tape on again
    assert not y.requires_grad and not z.requires_grad and (x * 2).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).requires_grad


def test_no_grad_as_decorator():
    @no_grad()
    def predict(x, *, scale):
        """Predicts."""
        return x * scale

    x = leaf(1.0)
    assert not predict(x, scale=2).requires_grad and not predict(x, scale=2).requires_grad
    assert predict.__name__ == "predict" and predict.__doc__ == "Predicts."
    assert (x * 2).requires_grad


def test_no_grad_leaves_other_threads_alone():
    x, inside, done = leaf(1.0), threading.Event(), threading.Event()

    def predict():
        with no_grad():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=predict)
    thread.start()
    inside.wait(10)
    try:
        assert (x * 2).requires_grad
    finally:
        done.set()
        thread.join()


def test_writing_is_allowed_inside_no_grad():
    x = leaf(1.0, 2.0)
    with no_grad():
        x[0] = 5
    np.testing.assert_array_equal(x.data, [5, 2])


def test_retain_grad():
    x = leaf(3.0)
    y = x * 2
    z = y * y
    y.retain_grad()
    z.retain_grad()
    z.backward()
    assert (z.grad.item(), y.grad.item(), x.grad.item()) == (1, 12, 24)


def test_a_tensor_that_stopped_requiring_gradients_is_left_out():
    x, w = leaf(3.0), leaf(2.0)
    y = x * 2
    y.requires_grad = False
    (y * w).backward()
    assert x.grad is None and y.grad is None and w.grad.item() == 6


def test_gradients_only_for_those_who_want_them(visits):
    x, w = Tensor([[1.0, 2.0]]), Tensor([[1.0], [1.0]], requires_grad=True)
    events = []
    y = apply(ops.linear, x, w)
    with tinytorch.engine.dispatch.watch(events.append):
        y.backward()
    assert [e.op.name for e in events] == ["linear_weight_grad"], "the input's gradient would be thrown away"


def test_enable_autograd_is_there_for_course_code():
    assert enable_autograd() is None and enable_autograd(quiet=False) is None


# -- arguments and errors ----------------------------------------------------------------------------------------------


def test_backward_of_many_elements_wants_an_argument():
    x = leaf(1.0, 2.0)
    with pytest.raises(
        RuntimeError, match=r"backward: this tensor is \(2,\), so the gradient is not defined without an"
    ):
        (x * 2).backward()
    for gradient in (np.array([1.0, 2.0]), [1, 2], Tensor([1.0, 2.0]), (np.float32(1), 2)):
        x.zero_grad()
        (x * 2).backward(gradient)
        np.testing.assert_array_equal(x.grad, [2, 4])
        assert x.grad.dtype == np.float32
    (x * 2).backward(gradient=np.array([1, 1]))
    np.testing.assert_array_equal(x.grad, [4, 6])


def test_a_single_element_wants_none():
    for shape in ((), (1,), (1, 1)):
        x = Tensor(np.ones(shape), requires_grad=True)
        (x * 3).backward()
        assert x.grad.shape == shape and x.grad.item() == 3
    x.backward()  # of a leaf: d x / d x
    assert x.grad.item() == 4


def test_a_gradient_of_another_shape_is_refused():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"backward: gradient is \(2, 1\), the tensor is \(2,\): they must agree"):
        (x * 2).backward(np.ones((2, 1)))
    assert x.grad is None


def test_backward_without_history_is_refused():
    for make in (lambda: Tensor([1.0]), lambda: leaf(1.0).detach() * 2):
        with pytest.raises(
            RuntimeError, match=r"backward: this tensor \(1,\) does not require gradients; make an input"
        ):
            make().backward()
    with no_grad():
        y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match=r"and compute outside no_grad\(\)"):
        y.backward()


def test_an_op_without_gradient_is_refused_where_one_is_wanted():
    x = leaf(1.0)
    with pytest.raises(
        TypeError, match=r"sign: it has no gradient; call it inside no_grad\(\) or detach\(\) its inputs"
    ):
        apply(ops.sign, x)
    with no_grad():
        assert apply(ops.sign, x).item() == 1
    assert apply(ops.sign, x.detach()).item() == 1
