"""Image layers: constructor checks, shapes, and batch norm in both modes. Ops are tested in tests/engine."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tolerance import GRADIENT_RELATIVE
from tinytorch import AvgPool2d, BatchNorm2d, Conv2d, MaxPool2d, Tensor

pytestmark = pytest.mark.usefixtures("backend")

RNG = np.random.default_rng(0)


def images(*shape, **options):
    return Tensor(RNG.standard_normal(shape), **options)


def test_conv2d_by_hand():
    layer = Conv2d(1, 1, 2)
    layer.weight.data[...] = [[[[1, 2], [3, 4]]]]
    layer.bias.data[...] = 10
    y = layer(Tensor(np.arange(9).reshape(1, 1, 3, 3)).astype(np.float32))
    np.testing.assert_array_equal(y.data[0, 0], [[37, 47], [67, 77]])  # 0 1 3 4 times 1 2 3 4, plus 10, and so on


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (2, 8, 5, 7)),
        ({"padding": 1}, (2, 8, 7, 9)),
        ({"stride": (2, 1), "padding": (0, 2)}, (2, 8, 3, 11)),
        ({"dilation": 2}, (2, 8, 3, 5)),
        ({"groups": 4, "bias": False}, (2, 8, 5, 7)),
    ],
)
def test_conv2d_shapes_and_gradients(options, expected):
    layer, x = Conv2d(4, 8, 3, **options), images(2, 4, 7, 9, requires_grad=True)
    y = layer(x)
    assert y.shape == expected
    y.sum().backward()
    assert x.grad.shape == x.shape and layer.weight.grad.shape == layer.weight.shape
    assert layer.weight.shape == (8, 4 // options.get("groups", 1), 3, 3)
    assert (layer.in_channels, layer.out_channels) == (4, 8)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="in_channels 3 and out_channels 4 must be multiples of groups 2; change one"):
        Conv2d(3, 4, 3, groups=2)
    with pytest.raises(TypeError, match=r"kernel_size: \(3, 2.5\) must be an integer or a pair of integers"):
        Conv2d(1, 1, (3, 2.5))
    with pytest.raises(ValueError, match=r"in_channels differ \(2 != 3\); change the layer's in_channels"):
        Conv2d(3, 4, 3)(images(1, 2, 8, 8))
    with pytest.raises(ValueError, match=r"BatchNorm2d: x is \(2, 3, 4, 4\): it must be \(batch, 2, height, width\)"):
        BatchNorm2d(2)(images(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"BatchNorm2d: x is \(1, 2, 1, 1\): one value a channel has no variance"):
        BatchNorm2d(2)(images(1, 2, 1, 1))


def test_pooling_by_hand():
    x = Tensor(np.array([[[[1.0, 2, 5, 3], [4, 3, 1, 0], [7, 0, 2, 2], [1, 1, 2, 6]]]]))
    np.testing.assert_array_equal(MaxPool2d(2)(x).data[0, 0], [[4, 5], [7, 6]])
    np.testing.assert_array_equal(AvgPool2d(2)(x).data[0, 0], [[2.5, 2.25], [2.25, 3]])
    assert MaxPool2d(2, stride=1)(x).shape == (1, 1, 3, 3) and MaxPool2d(3, 2, 1)(x).shape == (1, 1, 2, 2)
    assert repr(MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"


def test_batch_norm_in_training_normalises_and_keeps_running_statistics():
    layer = BatchNorm2d(3, eps=1e-5, momentum=0.1)
    layer.gamma.data[...], layer.beta.data[...] = [1, 2, 0.5], [0, -1, 3]
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = (RNG.standard_normal((4, 3, 5, 6)) * [[[[3]], [[1]], [[2]]]] + 7).astype(np.float32)
        y = layer(Tensor(x)).data
        batch_mean, biased = x.mean((0, 2, 3), np.float64), x.var((0, 2, 3), np.float64)
        hat = (x - batch_mean[:, None, None]) / np.sqrt(biased + 1e-5)[:, None, None]
        expected = hat * layer.gamma.data[:, None, None] + layer.beta.data[:, None, None]
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        # PyTorch's rule: the batch is normalised by its biased variance, the running one takes the unbiased
        mean = 0.9 * mean + 0.1 * batch_mean
        var = 0.9 * var + 0.1 * biased * (120 / 119)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-5)


def test_batch_norm_in_evaluation_uses_and_leaves_running_statistics():
    layer = BatchNorm2d(2).eval()
    layer.running_mean[...], layer.running_var[...] = [1, -1], [4, 0.25]
    x = images(3, 2, 4, 4)
    y = layer(x).data
    expected = (x.data - [[[1]], [[-1]]]) / np.sqrt(np.array([[[4]], [[0.25]]]) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layer.running_mean, [1, -1])
    np.testing.assert_array_equal(layer.running_var, [4, 0.25])
    np.testing.assert_allclose(layer(x[:1]).data, y[:1], rtol=1e-6)  # an image's answer does not depend on its batch
    assert layer(images(1, 2, 1, 1)).shape == (1, 2, 1, 1)


def test_batch_norm_buffers_are_saved_with_the_state_but_not_trained():
    layer = BatchNorm2d(2)
    layer(images(4, 2, 3, 3))
    assert [name for name, _ in layer.named_parameters()] == ["gamma", "beta"]
    assert layer.weight is layer.gamma and layer.bias is layer.beta
    fresh = BatchNorm2d(2)
    fresh.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(fresh.running_mean, layer.running_mean)
    np.testing.assert_array_equal(fresh.running_var, layer.running_var)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("wanted", ["x", "gamma", "beta"])
def test_batch_norm_gradients_match_finite_differences(wanted, training):
    """Through mean and variance of the batch too, which is where a hand-written backward usually goes wrong."""
    layer = BatchNorm2d(3)
    for name in ("gamma", "beta"):
        setattr(layer, name, Tensor(RNG.uniform(0.5, 2, 3), requires_grad=True, dtype=np.float64))
    layer.running_mean, layer.running_var = RNG.standard_normal(3), RNG.uniform(0.5, 2, 3)
    layer.train(training)
    x = Tensor(RNG.standard_normal((4, 3, 2, 5)), requires_grad=True, dtype=np.float64)
    weights = Tensor(RNG.standard_normal(x.shape), dtype=np.float64)
    target = x if wanted == "x" else getattr(layer, wanted)

    def loss():
        y = layer(x)
        return (y * y * weights).sum()

    loss().backward()
    direction, step, base = RNG.standard_normal(target.shape), 1e-6, target.data
    slopes = []
    for sign in (1, -1):
        target.data = base + sign * step * direction
        slopes.append(loss().item())
    numeric = (slopes[0] - slopes[1]) / (2 * step)
    assert np.vdot(target.grad, direction) == pytest.approx(numeric, rel=GRADIENT_RELATIVE, abs=1e-7)
