"""Losses: values by hand, gradients, extreme inputs, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.core.compare import RNG, near, tensor
from tinytorch import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss, Sigmoid, Tensor, log_softmax, nn
from tinytorch.core import training
from tinytorch.core.losses import answer_loss

pytestmark = pytest.mark.usefixtures("backend")


def test_mse_by_hand():
    p = Tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    loss = MSELoss()(p, Tensor([[0.0, 2.0], [5.0, 4.0]]))
    assert loss.item() == pytest.approx((1 + 0 + 4 + 1) / 4)
    loss.backward()
    np.testing.assert_allclose(p.grad, [[0.5, 0], [-1, 0.5]])


def test_mse_takes_plain_arrays_as_targets_and_refuses_other_shapes():
    assert MSELoss()(Tensor([1.0, 2.0]), np.array([1, 4])).item() == 2
    with pytest.raises(ValueError, match=r"MSELoss: predictions are \(3, 1\), targets are \(3,\): they must agree"):
        MSELoss()(Tensor(np.zeros((3, 1))), Tensor(np.zeros(3)))


def test_cross_entropy_by_hand():
    logits = Tensor([[0.0, math.log(3)], [0.0, 0.0]], requires_grad=True)  # probabilities 1/4 3/4, 1/2 1/2
    loss = CrossEntropyLoss()(logits, Tensor(np.array([1, 0])))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    loss.backward()
    np.testing.assert_allclose(logits.grad, [[0.125, -0.125], [-0.25, 0.25]], atol=1e-7)


def test_cross_entropy_with_smoothed_labels_by_hand():
    loss = CrossEntropyLoss(label_smoothing=0.2)(Tensor([[0.0, math.log(3)]]), [1])
    assert loss.item() == pytest.approx(-(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4)))
    assert CrossEntropyLoss(1.0)(Tensor([[2.0, 2.0]]), [0]).item() == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match=r"label_smoothing is 1.5; choose it from 0 to 1"):
        CrossEntropyLoss(1.5)


def test_cross_entropy_of_sequences_is_that_of_their_rows():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((2, 5, 7)), rng.integers(0, 7, (2, 5))
    rows = CrossEntropyLoss()(Tensor(logits.reshape(10, 7)), targets.reshape(10)).item()
    assert CrossEntropyLoss()(Tensor(logits), Tensor(targets)).item() == pytest.approx(rows)
    assert CrossEntropyLoss()(Tensor(logits), targets.astype(np.float32)).item() == pytest.approx(rows)


@pytest.mark.parametrize(
    ("targets", "error", "text"),
    [
        (np.array([0, 1, 2]), ValueError, r"logits are \(2, 3\), targets are \(3,\): targets must be \(2,\)"),
        (np.array([0.5, 1]), TypeError, "targets must be class numbers, these are fractions; use argmax first"),
        (np.array([0, 3]), IndexError, "CrossEntropyLoss.*3.*number of classes"),
        (np.array([-1, 0]), IndexError, "CrossEntropyLoss.*-1"),
    ],
)
def test_cross_entropy_refuses(targets, error, text):
    with pytest.raises(error, match=text):
        CrossEntropyLoss()(Tensor(np.zeros((2, 3))), targets)


def test_cross_entropy_stays_finite_for_extreme_logits():
    logits = Tensor([[1e4, -1e4, 0.0], [-1e30, 1e30, 0.0]], requires_grad=True)
    right = CrossEntropyLoss()(logits, [0, 1])
    assert right.item() == 0
    wrong = CrossEntropyLoss()(logits, [2, 2])
    assert wrong.item() == pytest.approx(0.5e30)
    wrong.backward()
    np.testing.assert_array_equal(logits.grad, [[0.5, 0, -0.5], [0, 0.5, -0.5]])


def test_binary_cross_entropy_by_hand():
    p = Tensor([0.25, 0.5], requires_grad=True)
    loss = BinaryCrossEntropyLoss()(p, Tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    loss.backward()
    np.testing.assert_allclose(p.grad, [-2, 1], rtol=1e-6)  # (p - t) / (p (1 - p)) / 2


def test_binary_cross_entropy_takes_class_numbers_and_soft_targets():
    p = Tensor([[0.25], [0.5]])
    assert BinaryCrossEntropyLoss()(p, np.array([[1], [0]])).item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert BinaryCrossEntropyLoss()(p[:1], [[0.5]]).item() == pytest.approx(-(math.log(0.25) + math.log(0.75)) / 2)


def test_certain_and_wrong_costs_100_and_its_gradient_is_not_nan():
    """A sigmoid reaches exactly 0 and 1 in float32; log 0 on the way back would poison every weight."""
    x = Tensor([[-200.0], [200.0], [200.0], [-200.0]], requires_grad=True)
    loss = BinaryCrossEntropyLoss()(Sigmoid()(x), Tensor([[1.0], [0.0], [1.0], [0.0]]))
    assert loss.item() == pytest.approx(50)
    loss.backward()
    assert np.isfinite(x.grad).all()


def test_nan_is_not_hidden():
    assert math.isnan(BinaryCrossEntropyLoss()(Tensor([float("nan")]), Tensor([1.0])).item())
    assert math.isnan(MSELoss()(Tensor([float("nan")]), Tensor([1.0])).item())
    assert math.isnan(CrossEntropyLoss()(Tensor([[float("nan"), 0.0]]), [1]).item())


def test_binary_cross_entropy_refuses_logits_and_other_shapes():
    with pytest.raises(ValueError, match="predictions reach from -1 to 2, probabilities are from 0 to 1; put"):
        BinaryCrossEntropyLoss()(Tensor([-1.0, 2.0]), Tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"predictions are \(2, 1\), targets are \(2,\): they must agree; reshape one"):
        BinaryCrossEntropyLoss()(Tensor(np.full((2, 1), 0.5)), Tensor([0.0, 1.0]))


def test_log_softmax_is_stable():
    y = log_softmax(Tensor([[1000.0, 1000.0 + math.log(3)]])).data
    np.testing.assert_allclose(np.exp(y), [[0.25, 0.75]], rtol=1e-4)
    np.testing.assert_allclose(np.exp(log_softmax(Tensor(np.zeros((2, 3))), dim=0).data), 0.5, rtol=1e-6)


def test_losses_have_the_courses_other_homes():
    assert training.CrossEntropyLoss is CrossEntropyLoss and training.MSELoss is MSELoss
    assert nn.BCELoss is BinaryCrossEntropyLoss


def test_the_loss_of_answers_is_that_of_the_last_places():
    logits, answers = tensor(3, 7, 5, requires_grad=True), Tensor(RNG.integers(0, 5, (3, 4)))
    wanted = CrossEntropyLoss()(logits[:, 3:], answers)
    near(answer_loss(logits, answers), wanted.data)
    gradients = []
    for loss in (wanted, answer_loss(logits, answers)):
        logits.zero_grad()
        loss.backward()
        gradients.append(logits.grad)
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-8)
    assert not gradients[1][:, :3].any()
