"""Folding batch norm: the same numbers with fewer layers, and what is left alone."""

import numpy as np
import pytest

from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Flatten, Linear, Sequential
from tinytorch.core.spatial import BatchNorm2d, Conv2d
from tinytorch.engine.block_sparse import BlockSparse
from tinytorch.engine.formats import Sparse
from tinytorch.perf.compression import block_prune, magnitude_prune
from tinytorch.perf.folding import fold_batch_norm
from tinytorch.perf.quantization import quantize
from tinytorch.perf.weighted import weighted_layers

X = np.random.default_rng(2).standard_normal((40, 3, 6, 6)).astype(np.float32)


def normed(bias=True):
    np.random.seed(1)
    norms = BatchNorm2d(8), BatchNorm2d(4)
    for norm in norms:
        n = norm.num_features
        norm.running_mean, norm.running_var = np.linspace(-1, 1, n, dtype="f4"), np.linspace(0.1, 3, n, dtype="f4")
        norm.gamma.data[...], norm.beta.data[...] = np.linspace(-2, 2, n), np.linspace(-1, 1, n)
    inner = Sequential(Conv2d(3, 8, 3, bias=bias), norms[0], ReLU())
    return Sequential(inner, Conv2d(8, 4, 1), norms[1], Flatten(), Linear(64, 5)).eval()


def test_the_answers_are_the_same_up_to_rounding():
    for bias in (True, False):
        model = normed(bias)
        folded = fold_batch_norm(model)
        assert not any(isinstance(layer, BatchNorm2d) for layer in folded.modules())
        assert sum(isinstance(layer, BatchNorm2d) for layer in model.modules()) == 2
        np.testing.assert_allclose(folded.predict(X), model.predict(X), rtol=1e-4, atol=1e-4)
        assert [one.name for one in weighted_layers(folded)] == [one.name for one in weighted_layers(model)]


@pytest.mark.parametrize("prune, kind", [(magnitude_prune, Sparse), (block_prune, BlockSparse)])
def test_what_is_stored_sparsely_stays_so(prune, kind):
    pruned = prune(normed(), 0.5, "layer")
    folded = fold_batch_norm(pruned)
    assert not any(isinstance(layer, BatchNorm2d) for layer in folded.modules())
    assert type(folded.layers[1].weight.format) is type(pruned.layers[1].weight.format) is kind
    np.testing.assert_allclose(folded.predict(X), pruned.predict(X), rtol=1e-4, atol=1e-4)


def test_quantising_folds_first_and_keeps_30_db():
    model = normed()
    changed = quantize(model, X)
    assert not any(isinstance(layer, BatchNorm2d) for layer in changed.modules())
    scales = changed.layers[0].layers[0].weight.format.scale
    folded = np.abs(fold_batch_norm(model).layers[0].layers[0].weight.data).max((1, 2, 3)) / 127
    np.testing.assert_allclose(scales, folded, rtol=1e-6)
    noise = np.square(changed.predict(X) - model.predict(X)).sum() / np.square(model.predict(X)).sum()
    assert noise < 1e-3  # 30 dB


def test_a_norm_that_follows_no_weight_or_a_shared_one_stays():
    np.random.seed(3)
    shared = Conv2d(3, 3, 1)
    model = Sequential(BatchNorm2d(3), shared, BatchNorm2d(3), shared, ReLU(), BatchNorm2d(3)).eval()
    folded = fold_batch_norm(model)
    assert sum(isinstance(layer, BatchNorm2d) for layer in folded.modules()) == 3
    np.testing.assert_array_equal(folded.predict(X), model.predict(X))
