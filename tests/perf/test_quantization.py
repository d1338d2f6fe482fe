"""Quantisation: what is stored, where the grids come from, and that the copy still computes nearly the same."""

import copy

import numpy as np
import pytest

from tinytorch import models
from tinytorch.core.layers import Flatten, Linear, Packed, Sequential
from tinytorch.engine.formats import Int8, Sparse
from tinytorch.perf.compression import magnitude_prune
from tinytorch.perf.quantization import activation_grids, quantize

DATA = {"mlp": (64,), "cnn": (1, 8, 8), "xor": (2,)}


def made(name):
    np.random.seed(3)
    model = models.MODELS[name]()
    model.eval()
    return model, np.random.default_rng(4).standard_normal((50, *DATA[name])).astype(np.float32)


@pytest.fixture(params=DATA)
def model_and_data(request):
    return made(request.param)


def test_weights_become_int8_and_the_original_stays(model_and_data):
    model, x = model_and_data
    before = model.state_dict()
    changed = quantize(model, x)
    for (name, old), (_, new) in zip(model.named_modules(), changed.named_modules()):
        if hasattr(new, "weight"):
            assert isinstance(new.weight.format, Int8), name
            assert new.weight.format.codes.dtype == np.int8
            assert not isinstance(old.weight, Packed)
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_answer_keeps_30_db(model_and_data):
    model, x = model_and_data
    expected, actual = model.predict(x), quantize(model, x).predict(x)
    noise = np.square(actual - expected).sum() / np.square(expected).sum()
    assert 0 < noise < 1e-3  # 30 dB


def test_grids_cover_what_each_layer_saw():
    model, x = made("mlp")
    first, _, second = model.layers[:3]
    grids = activation_grids(model, x)
    low, high = x.min(), x.max()
    assert grids[id(first)].scale == pytest.approx((high - low) / 255, rel=1e-6)
    assert grids[id(second)].zero_point == 0  # after a ReLU nothing is negative
    assert set(grids) == {id(layer) for layer in model.layers if isinstance(layer, Linear)}


def test_a_percentile_narrows_the_grid_and_weights_only_has_none():
    model, x = made("mlp")
    wide, narrow = (quantize(model, x, percentile=p).layers[0].weight.format.grid for p in (100, 99))
    assert narrow.scale < 0.9 * wide.scale
    assert quantize(model, x, activations=False).layers[0].weight.format.grid is None


def test_a_layer_used_twice_covers_both_inputs():
    shared = Linear(2, 2, bias=False)
    shared.weight.data[...] = [[10, 0], [0, 10]]
    model = Sequential(shared, shared)
    grid = activation_grids(model, np.ones((1, 2), np.float32))[id(shared)]
    assert grid.scale == pytest.approx(10 / 255, rel=1e-6)


def test_quantising_a_pruned_model_keeps_its_zeros_and_stays_sparse():
    model, x = made("mlp")
    pruned = magnitude_prune(model, 0.5)
    changed = quantize(pruned, x)
    for old, new in zip(pruned.layers[::2], changed.layers[::2]):
        assert isinstance(new.weight.format, Sparse)
        assert new.weight.format.values.dtype == np.int8
        assert not new.weight.data[old.weight.data == 0].any()
    assert np.isfinite(changed.predict(x)).all()


def test_quantising_twice_changes_nothing_more():
    model, x = made("cnn")
    once = quantize(model, x)
    twice = quantize(once, x)
    for a, b in zip(once.parameters(), twice.parameters()):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-6)


def test_the_copy_can_be_copied():
    model, x = made("mlp")
    changed = quantize(model, x)
    np.testing.assert_array_equal(copy.deepcopy(changed).predict(x), changed.predict(x))


@pytest.mark.parametrize("percentile", [50, 0, 101, float("nan")])
def test_percentiles_that_cannot_be(percentile):
    model, x = made("xor")
    with pytest.raises(ValueError, match=r"quantize: percentile is .*choose it above 50"):
        quantize(model, x, percentile=percentile)


def test_data_and_models_that_cannot_be_quantised():
    model, x = made("xor")
    with pytest.raises(ValueError, match=r"calibration data are .*no samples; give at least one"):
        quantize(model, x[:0])
    with pytest.raises(ValueError, match="not finite; calibrate on data without nan"):
        quantize(model, np.full_like(x, np.nan))
    with pytest.raises(ValueError, match="Sequential has no Linear or Conv2d layer"):
        quantize(Sequential(Flatten()), x)
