"""Pruning: how much goes, which part, in every format and order, and what is refused."""

import numpy as np
import pytest

from tinytorch import models
from tinytorch.core.activations import ReLU, Softmax
from tinytorch.core.layers import Flatten, Layer, Linear, Packed, Sequential
from tinytorch.core.spatial import AvgPool2d, BatchNorm2d, Conv2d, MaxPool2d
from tinytorch.engine.block_sparse import BlockSparse, by_channels, summed
from tinytorch.engine.formats import Int8, Sparse
from tinytorch.perf.compression import block_prune, channel_prune, magnitude_prune, measure_sparsity
from tinytorch.perf.quantization import quantize
from tinytorch.perf.weighted import weighted_layers


def mlp_and_data():
    np.random.seed(5)
    return models.mlp(), np.random.default_rng(6).standard_normal((20, 64)).astype(np.float32)


def cnn_and_data():
    np.random.seed(5)
    return models.cnn(), np.random.default_rng(6).standard_normal((20, 1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.95])
def test_exactly_the_share_asked_for_is_zero(scope, sparsity):
    model, _ = mlp_and_data()
    pruned = magnitude_prune(model, sparsity, scope)
    assert measure_sparsity(pruned) == pytest.approx(sparsity, abs=1e-3)
    assert measure_sparsity(model) == 0
    kept = [np.abs(layer.weight.data[layer.weight.data != 0]).min() for layer in pruned.layers[::2]]
    gone = [np.abs(a.weight.data[b.weight.data == 0]) for a, b in zip(model.layers[::2], pruned.layers[::2])]
    for layer_kept, layer_gone in zip(kept, gone):
        bound = min(kept) if scope == "global" else layer_kept
        assert layer_gone.size == 0 or layer_gone.max() <= bound


def test_each_layer_loses_the_same_share_or_the_weakest_loses_most():
    model, _ = mlp_and_data()
    model.layers[0].weight.data *= 0.01
    by_layer, overall = (magnitude_prune(model, 0.5, scope) for scope in ("layer", "global"))
    assert np.count_nonzero(by_layer.layers[0].weight.data) == 64 * 64 // 2
    assert np.count_nonzero(overall.layers[0].weight.data) < 64 * 64 // 4


def test_sparse_is_chosen_only_where_it_is_smaller():
    model, x = mlp_and_data()
    assert not isinstance(magnitude_prune(model, 0.02).layers[0].weight, Packed)  # a bit a weight costs 1/32
    assert isinstance(magnitude_prune(model, 0.2).layers[0].weight.format, Sparse)
    int8 = quantize(model, x)
    slightly, clearly = (magnitude_prune(int8, share, "layer").layers[0].weight.format for share in (0.1, 0.3))
    assert isinstance(slightly, Int8)  # here it costs 1/8
    assert isinstance(clearly, Sparse)
    assert clearly.nbytes < slightly.nbytes


def test_pruning_a_quantised_model_is_exact():
    model, x = mlp_and_data()
    int8 = quantize(model, x)
    pruned = magnitude_prune(int8, 0.5)
    for old, new in zip(int8.layers[::2], pruned.layers[::2]):
        kept = new.weight.data != 0
        np.testing.assert_array_equal(new.weight.data[kept], old.weight.data[kept])
        assert new.weight.format.grid == old.weight.format.grid
    assert np.isfinite(pruned.predict(x)).all()


def test_pruning_twice_goes_on_where_it_stopped():
    model, _ = mlp_and_data()
    twice = magnitude_prune(magnitude_prune(model, 0.3), 0.6)
    np.testing.assert_array_equal(twice.layers[0].weight.data, magnitude_prune(model, 0.6).layers[0].weight.data)


def block_norms(weighted):
    """Mean square of each block, and which blocks are zero."""
    values = by_channels(weighted.layer.weight.data.astype(np.float64), weighted.out_axis, weighted.channels)
    size = summed(np.ones_like(values))
    return summed(values**2) / size, summed(values != 0) == 0, size


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.6])
def test_the_weakest_blocks_go(scope, sparsity):
    """As many as fit into the share; none that is left is weaker than one that is gone."""
    model, _ = cnn_and_data()
    pruned = block_prune(model, sparsity, scope)
    assert measure_sparsity(model) == 0
    both = list(zip(weighted_layers(model), weighted_layers(pruned)))
    measured = [(block_norms(old), block_norms(new)) for old, new in both]
    for group in [measured] if scope == "global" else [[one] for one in measured]:
        norms, gone, size = (np.concatenate([each.ravel() for each in parts]) for parts in (
            [old[0] for old, _ in group], [new[1] for _, new in group], [old[2] for old, _ in group]))  # fmt: skip
        share = size[gone].sum() / size.sum()
        assert share <= sparsity < share + size.max() / size.sum()
        assert not gone.any() or norms[gone].max() <= norms[~gone].min()
    for old, new in both:
        kept = new.layer.weight.data != 0
        np.testing.assert_array_equal(new.layer.weight.data[kept], old.layer.weight.data[kept])


def test_every_layer_keeps_a_block():
    model, x = mlp_and_data()
    model.layers[2].weight.data *= 1e-6
    pruned = block_prune(model, 0.999)
    assert all(np.count_nonzero(one.layer.weight.data) for one in weighted_layers(pruned))
    assert pruned.predict(x).shape == (20, 10)


def test_blocks_are_stored_where_that_is_smaller():
    model, x = cnn_and_data()
    assert not any(isinstance(one.layer.weight, Packed) for one in weighted_layers(block_prune(model, 0.0)))
    pruned = block_prune(model, 0.5, "layer")
    formats = [one.layer.weight.format for one in weighted_layers(pruned)]
    assert all(type(format) is BlockSparse for format in formats)
    assert [format.channels for format in formats] == [1, 16, 32]  # behind the image: its channels
    for integers in (quantize(pruned, x), block_prune(quantize(model, x), 0.5, "layer")):
        for format, before in zip([one.layer.weight.format for one in weighted_layers(integers)], formats):
            assert type(format) is BlockSparse and format.scale is not None and format.grid is not None
            assert format.nbytes < before.nbytes / 2


def test_channels_leave_blocks():
    """Output channels of one layer are input channels of the next: blocks are formed anew from what is left."""
    model, x = cnn_and_data()
    pruned = channel_prune(block_prune(model, 0.5, "layer"), 0.25)
    formats = [one.layer.weight.format for one in weighted_layers(pruned)]
    assert [type(format) for format in formats] == [BlockSparse] * 3
    assert [(format.shape, format.channels) for format in formats] == [
        ((12, 1, 3, 3), 1), ((24, 12, 3, 3), 12), ((96, 10), 24)
    ]  # fmt: skip
    assert np.isfinite(pruned.predict(x)).all()


def test_channels_are_really_gone():
    model, x = cnn_and_data()
    pruned = channel_prune(model, 0.25)
    shapes = [layer.weight.shape for layer in pruned.layers if hasattr(layer, "weight")]
    assert shapes == [(12, 1, 3, 3), (24, 12, 3, 3), (96, 10)]
    assert pruned.predict(x).shape == (20, 10)
    assert model.layers[0].weight.shape == (16, 1, 3, 3)


def silence(layer, channels):
    """Make output channels of a layer contribute nothing."""
    axis = 0 if isinstance(layer, Conv2d) else 1
    index = [slice(None)] * layer.weight.ndim
    index[axis] = channels
    layer.weight.data[tuple(index)] = 0
    layer.bias.data[channels] = 0


@pytest.mark.parametrize("first", ["plain", "int8", "sparse"])
def test_removing_silent_channels_changes_no_answer(first):
    model, x = cnn_and_data()
    silence(model.layers[0], [1, 5, 6, 15])
    silence(model.layers[3], [0, 2, 4, 6, 8, 31, 30, 29])
    model.eval()
    if first == "int8":
        model = quantize(model, x)
    elif first == "sparse":
        model = magnitude_prune(model, 0.3)
    pruned = channel_prune(model, 0.25)
    np.testing.assert_allclose(pruned.predict(x), model.predict(x), rtol=1e-4, atol=1e-5)
    kinds = {
        type(a.weight.format) if isinstance(a.weight, Packed) else None for a in pruned.layers if hasattr(a, "weight")
    }
    assert kinds == {{"plain": None, "int8": Int8, "sparse": Sparse}[first]}


def test_batch_norm_and_pools_between_follow():
    np.random.seed(7)
    model = Sequential(
        Sequential(Conv2d(2, 8, 3), BatchNorm2d(8), ReLU(), AvgPool2d(2)),
        Conv2d(8, 4, 1),
        MaxPool2d(2),
        Flatten(),
        Linear(4, 6),
        ReLU(),
        Linear(6, 3),
    )
    conv, norm = model.layers[0].layers[:2]
    norm.running_mean = np.arange(8, dtype=np.float32)
    norm.running_var = np.linspace(1, 2, 8, dtype=np.float32)
    silence(conv, [0, 3])
    norm.running_mean[[0, 3]] = norm.beta.data[[0, 3]] = 0
    model.eval()
    x = np.random.default_rng(8).standard_normal((5, 2, 7, 7)).astype(np.float32)
    pruned = channel_prune(model, 0.25)
    assert [name for name, _ in pruned.named_parameters()] == [name for name, _ in model.named_parameters()]
    np.testing.assert_array_equal(pruned.layers[0].layers[1].running_mean, [1, 2, 4, 5, 6, 7])
    assert pruned.layers[4].weight.shape == (3, 5)
    assert pruned.layers[6].weight.shape == (5, 3)
    assert pruned.predict(x).shape == (5, 3)
    only_first = channel_prune(Sequential(*model.layers[0].layers, model.layers[1]), 0.25)
    before = Sequential(*model.layers[0].layers, model.layers[1]).eval().predict(x)
    np.testing.assert_allclose(only_first.eval().predict(x), before, rtol=1e-4, atol=1e-5)


def test_one_channel_always_remains():
    np.random.seed(1)
    pruned = channel_prune(models.xor(), 0.99)
    assert pruned.layers[0].weight.shape == (2, 1)


def test_a_model_whose_order_is_unknown_is_refused():
    class Own(Layer):
        def __init__(self):
            self.a, self.b = Linear(2, 3), Linear(3, 1)

    with pytest.raises(TypeError, match=r"channel_prune: Own is no Sequential, .*prune it by magnitude"):
        channel_prune(Own(), 0.5)
    with pytest.raises(ValueError, match="Softmax after layer 0 mixes channels"):
        channel_prune(Sequential(Linear(2, 4), Softmax(), Linear(4, 1)), 0.5)
    with pytest.raises(ValueError, match="layer 1 has 2 groups; prune it by magnitude"):
        channel_prune(Sequential(Conv2d(1, 4, 3), Conv2d(4, 4, 3, groups=2)), 0.5)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_impossible_shares(share):
    model, _ = mlp_and_data()
    with pytest.raises(ValueError, match=r"magnitude_prune: sparsity is .*from 0 up to below 1"):
        magnitude_prune(model, share)
    with pytest.raises(ValueError, match=r"block_prune: sparsity is .*from 0 up to below 1"):
        block_prune(model, share)
    with pytest.raises(ValueError, match=r"channel_prune: fraction is .*from 0 up to below 1"):
        channel_prune(model, share)


def test_unknown_scope_and_models_without_weights():
    model, _ = mlp_and_data()
    with pytest.raises(ValueError, match="unknown scope 'rows'; known: global, layer"):
        magnitude_prune(model, 0.5, "rows")
    with pytest.raises(ValueError, match="block_prune: unknown scope 'rows'; known: global, layer"):
        block_prune(model, 0.5, "rows")
    with pytest.raises(ValueError, match="Sequential has no Linear or Conv2d layer"):
        magnitude_prune(Sequential(ReLU()), 0.5)
    assert measure_sparsity(Sequential(ReLU())) == 0
