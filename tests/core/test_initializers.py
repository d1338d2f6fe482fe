"""Starts of convolutions: what they give for real arrays, and which layers cannot start so."""

import numpy as np
import pytest

from tinytorch.core.initializers import identity, whitening
from tinytorch.core.spatial import Conv2d
from tinytorch.core.tensor import Tensor


def test_identity_passes_the_channels_on_and_leaves_the_other_filters_as_they_were():
    np.random.seed(0)
    layer = Conv2d(3, 5, 3, padding=1, bias=False)
    before = layer.weight.data[3:].copy()
    identity(layer)
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7)).astype(np.float32)
    y = layer(Tensor(x)).data
    np.testing.assert_array_equal(y[:, :3], x)
    np.testing.assert_array_equal(layer.weight.data[3:], before)


@pytest.mark.parametrize(
    "layer",
    [Conv2d(4, 3, 3), Conv2d(3, 8, 2), Conv2d(4, 8, 3, groups=2)],
    ids=["fewer filters than channels", "no middle", "groups"],
)
def test_identity_refuses_what_has_none(layer):
    before = layer.weight.data.copy()
    with pytest.raises(ValueError, match=r"identity: weight is .* one group, and as many filters as channels"):
        identity(layer)
    np.testing.assert_array_equal(layer.weight.data, before)


def test_whitened_patches_are_uncorrelated_and_of_one_size():
    rng = np.random.default_rng(1)
    smooth = np.cumsum(np.cumsum(rng.standard_normal((60, 3, 12, 10)), axis=2), axis=3)  # neighbours are alike
    x = (smooth / smooth.std()).astype(np.float32)
    layer = Conv2d(3, 24, 2)
    whitening(layer, x, eps=0)
    y = layer(Tensor(x)).data.transpose(1, 0, 2, 3).reshape(24, -1).astype(np.float64)
    np.testing.assert_allclose(y[:12] @ y[:12].T / y.shape[1], np.eye(12), atol=1e-2)  # float32 of sizes 1e4 apart
    np.testing.assert_array_equal(y[12:], -y[:12])
    assert not layer.weight.requires_grad and layer.bias.requires_grad and not layer.bias.data.any()


def test_eps_keeps_weak_patterns_from_being_blown_up():
    x = np.ones((5, 3, 8, 8), np.float32)  # patches that do not vary at all but for their size
    layer = Conv2d(3, 24, 2)
    whitening(layer, x, eps=0.25)
    assert np.abs(layer.weight.data).max() <= 1 / np.sqrt(0.25) + 1e-6


@pytest.mark.parametrize(
    ("layer", "shape"), [(Conv2d(3, 23, 2), (4, 3, 8, 8)), (Conv2d(3, 24, 2), (4, 1, 8, 8))], ids=["filters", "x"]
)
def test_whitening_says_how_many_filters_it_needs(layer, shape):
    with pytest.raises(ValueError, match=r"whitening: weight is .* a patch has 12 values, so 24 filters are needed"):
        whitening(layer, np.zeros(shape, np.float32))
