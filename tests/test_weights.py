"""Weights in and out: what is on disk, and that a file which is wrong in any way leaves the model as it was."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tinytorch import SGD, BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Sequential, Tensor, models, weights
from tinytorch.core.layers import Packed
from tinytorch.engine.block_sparse import EXECUTIONS, BlockSparse
from tinytorch.engine.formats import Grid, Int8, Sparse
from tinytorch.weights import WeightsError

RNG = np.random.default_rng(0)


def net(hidden=4, outputs=3):
    return Sequential(Conv2d(1, hidden, 3), BatchNorm2d(hidden), ReLU(), Flatten(), Linear(hidden * 4, outputs))


def packed_net():
    """An int8 convolution with a grid, and a linear layer that is sparse and int8."""
    model = net()
    model[0].weight = Packed(Int8.pack(model[0].weight.data, axis=0, grid=Grid(0.25, 128)))
    pruned = model[4].weight.data * (RNG.random(model[4].weight.shape) > 0.6)
    model[4].weight = Packed(Sparse.pack(Int8.pack(pruned, axis=1, grid=Grid(0.5, 0)), axis=1))
    return model


def sparse_net():
    """Sparse float32, without a grid."""
    model = Sequential(Linear(20, 3))
    model[0].weight = Packed(Sparse.pack(np.where(RNG.random((20, 3)) > 0.5, model[0].weight.data, 0), axis=1))
    return model


def blocks_net(execution="measured"):
    """Block-sparse int8, as behind an image of 8 channels."""
    model = Sequential(Linear(24, 3))
    weight = model[0].weight.data
    weight[:12] = 0
    codes = Int8.pack(weight, axis=1, grid=Grid(0.5, 0))
    model[0].weight = Packed(BlockSparse.pack(codes, axis=1, channels=8, execution=execution))
    return model


def images(n=2):
    return RNG.standard_normal((n, 1, 4, 4)).astype(np.float32)


def header_end(content):
    return 8 + struct.unpack("<Q", content[:8])[0]


@pytest.fixture
def unchanged():
    """`unchanged(model)` now; after the test the model must hold the same tensors with the same values."""
    watched = []

    def watch(model):
        held = [(name, p, p.data, p.data.copy()) for name, p in model.named_parameters()]
        watched.append((model, held, {k: v.copy() for k, v in model.named_buffers()}))
        return model

    yield watch
    for model, held, buffers in watched:
        now = dict(model.named_parameters())
        assert len(now) == len(held)
        for name, parameter, data, value in held:
            assert now[name] is parameter and parameter.data is data, f"{name} was replaced"
            np.testing.assert_array_equal(data, value)
        for name, buffer in model.named_buffers():
            np.testing.assert_array_equal(buffer, buffers[name])


@pytest.mark.parametrize("make", [net, packed_net, *models.MODELS.values()])
def test_what_is_saved_comes_back_bit_by_bit(make, tmp_path):
    source, target = make(), make()
    size = weights.save(source, tmp_path / "w.safetensors")
    assert size == (tmp_path / "w.safetensors").stat().st_size
    weights.load(target, tmp_path / "w.safetensors")
    for (name, a), (_, b) in zip(source.state_dict().items(), target.state_dict().items(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_batch_norms_statistics_travel_too(tmp_path):
    source, target = net(), net()
    for _ in range(3):
        source(Tensor(images()))
    weights.save(source.eval(), tmp_path / "w.safetensors")
    weights.load(target.eval(), tmp_path / "w.safetensors")
    x = images()
    np.testing.assert_array_equal(source.predict(x), target.predict(x))


def test_packed_weights_keep_their_format_and_grid(tmp_path):
    source, target = packed_net().eval(), net().eval()
    weights.save(source, tmp_path / "w.safetensors")
    weights.load(target, tmp_path / "w.safetensors")
    int8, sparse = target[0].weight.format, target[4].weight.format
    assert isinstance(int8, Int8) and int8.grid == Grid(0.25, 128) and int8.axis == 0 and int8.codes.dtype == np.int8
    assert isinstance(sparse, Sparse) and sparse.grid == Grid(0.5, 0) and sparse.values.dtype == np.int8
    x = images()
    np.testing.assert_array_equal(source.predict(x), target.predict(x))


def test_sparse_float_weights_come_back(tmp_path):
    source, target = sparse_net(), Sequential(Linear(20, 3))
    weights.save(source, tmp_path / "w.safetensors")
    weights.load(target, tmp_path / "w.safetensors")
    assert target[0].weight.format.scale is None and target[0].weight.format.grid is None
    np.testing.assert_array_equal(target[0].weight.data, source[0].weight.data)


def test_dense_weights_load_into_a_packed_model(tmp_path):
    source, target = net(), packed_net()
    weights.save(source, tmp_path / "w.safetensors")
    weights.load(target, tmp_path / "w.safetensors")
    assert not any(isinstance(p, Packed) for p in target.parameters())
    np.testing.assert_array_equal(target[0].weight.data, source[0].weight.data)


def test_the_file_holds_what_the_formats_store_and_no_more(tmp_path):
    """Bytes on disk: the arrays, and a header of which nothing but names, shapes and metadata is made."""
    model = packed_net()
    size = weights.save(model, tmp_path / "w.safetensors")
    kept = int((model[4].weight.data != 0).sum())
    convolution, norm = 4 * 9 + 4 * 4 + 4 * 4, 4 * 4 * 4  # codes, scale, bias; gamma, beta, mean, var
    linear = kept + 48 // 8 + 3 * 4 + 3 * 4  # values, bits, scale, bias
    stored = convolution + norm + linear
    content = (tmp_path / "w.safetensors").read_bytes()
    assert size == len(content) == header_end(content) + stored
    dense = weights.save(net(), tmp_path / "d.safetensors")
    assert dense - header_end((tmp_path / "d.safetensors").read_bytes()) == 4 * (36 + 4 + 16 + 48 + 3)


def test_the_same_weights_make_the_same_file(tmp_path):
    model = packed_net()
    weights.save(model, tmp_path / "a")
    weights.save(model, tmp_path / "b")
    assert weights.sha256(tmp_path / "a") == weights.sha256(tmp_path / "b")


def test_loading_keeps_optimizers_and_shared_weights_valid(tmp_path):
    tied = Sequential(Linear(3, 3, bias=False), Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    weights.save(tied, tmp_path / "w.safetensors")
    tied[0].weight.data[...] = 0
    optimizer = SGD(tied.parameters(), lr=1.0)
    weights.load(tied, tmp_path / "w.safetensors")
    assert tied[1].weight is tied[0].weight and tied[0].weight.data.any()
    before = tied[0].weight.data.copy()
    tied(Tensor(np.ones((1, 3)))).sum().backward()
    optimizer.step()
    assert not (tied[0].weight.data == before).any(), "the optimizer holds another tensor than the model"


def test_a_shared_weight_stays_shared_when_it_becomes_packed(tmp_path):
    def tied():
        model = Sequential(Linear(3, 3, bias=False), Linear(3, 3, bias=False))
        model[1].weight = model[0].weight
        return model

    source, target = tied(), tied()
    source[0].weight = source[1].weight = Packed(Int8.pack(source[0].weight.data, axis=1))
    weights.save(source, tmp_path / "w.safetensors")
    weights.load(target, tmp_path / "w.safetensors")
    assert isinstance(target[0].weight, Packed) and target[1].weight is target[0].weight


def test_shapes_come_from_the_file_only_when_asked(tmp_path, unchanged):
    narrow, wide = net(hidden=2), net(hidden=4)
    weights.save(narrow, tmp_path / "w.safetensors")
    text = r"0.weight is float32 \(2, 1, 3, 3\) in the file, float32 \(4, 1, 3, 3\) in the model; build the same model"
    with pytest.raises(WeightsError, match=text):
        weights.load(unchanged(net(hidden=4)), tmp_path / "w.safetensors")
    weights.load(wide, tmp_path / "w.safetensors", resize=True)
    x = images()
    np.testing.assert_array_equal(narrow.eval().predict(x), wide.eval().predict(x))


def test_another_model_is_named(tmp_path, unchanged):
    weights.save(models.mlp(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"not the weights of this model: missing \[.*'1.gamma'.*\], unknown"):
        weights.load(unchanged(net()), tmp_path / "w.safetensors")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floating_dtypes_become_the_models(tmp_path, dtype):
    model, state = net(), net().state_dict()
    save_file({**state, "4.bias": state["4.bias"].astype(dtype)}, tmp_path / "w.safetensors")
    weights.load(model, tmp_path / "w.safetensors")
    assert model[4].bias.dtype == np.float32
    np.testing.assert_array_equal(model[4].bias.data, state["4.bias"].astype(dtype).astype(np.float32))


@pytest.mark.parametrize("name", ["4.bias", "1.running_var"])
def test_integers_are_no_weights(tmp_path, unchanged, name):
    state = net().state_dict()
    save_file({**state, name: state[name].astype(np.int32)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=rf"{name} is int32 \(\d,\) in the file, float32 \(\d,\) in the"):
        weights.load(unchanged(net()), tmp_path / "w.safetensors")


def test_no_file_and_no_safetensors(tmp_path, unchanged):
    model = unchanged(net())
    with pytest.raises(FileNotFoundError, match=r"none: there is no such weights file; the milestone"):
        weights.load(model, tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        weights.load(model, tmp_path)
    for content in (b"", b"{}", b"PK\x03\x04 a pickle", b"\xff" * 100, bytes(1000)):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(WeightsError, match=r"odd: not a whole safetensors file \(.*\); copy or save it again"):
            weights.load(model, tmp_path / "odd")


@pytest.mark.parametrize("make", [net, packed_net])
def test_a_file_cut_off_anywhere_is_refused(make, tmp_path, unchanged):
    good, bad = tmp_path / "good", tmp_path / "bad"
    weights.save(make(), good)
    content, model = good.read_bytes(), unchanged(net())
    for length in [*range(0, header_end(content) + 8), *range(header_end(content), len(content), 13), len(content) - 1]:
        bad.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            weights.load(model, bad)
    bad.write_bytes(content + b"\0")
    with pytest.raises(WeightsError):
        weights.load(model, bad)


def state_of(model):
    return {name: value.tobytes() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "good"
    weights.save(packed_net(), path)
    return path.read_bytes(), path.parent / "bad"


@given(st.data())
def test_a_flipped_bit_in_the_header_is_refused_or_harmless(whole_file, data):
    """Where it is not refused, all names, shapes and dtypes still are the model's; otherwise nothing was changed."""
    content, bad = whole_file
    at = data.draw(st.integers(0, header_end(content) - 1))
    bad.write_bytes(content[:at] + bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))]) + content[at + 1 :])
    model = net()
    before, shapes = state_of(model), {name: v.shape for name, v in model.state_dict().items()}
    try:
        weights.load(model, bad)
    except WeightsError:
        assert state_of(model) == before
    else:
        assert {name: v.shape for name, v in model.state_dict().items()} == shapes
        assert model.eval().predict(images()).shape == (2, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "int3"}, {"kind": None}, {"axis": 4}, {"axis": "x"}, {"axis": None}, {"grid": [0.1]},
        {"grid": [-1.0, 0]}, {"grid": [float("nan"), 0]}, {"grid": [0.1, 256]}, {"axis": 2},
    ],
)  # fmt: skip
def test_a_damaged_description_of_an_int8_weight_is_refused(change, tmp_path, unchanged):
    damaged(tmp_path / "w", "0.weight", change)
    with pytest.raises(WeightsError, match=r"w: packed weight 0.weight is damaged \(.*\); copy or save it again"):
        weights.load(unchanged(net()), tmp_path / "w")


@pytest.mark.parametrize(
    "change",
    [{"shape": [16, 4]}, {"shape": [-16, -3]}, {"shape": [10**9, 10**9]}, {"shape": 3}, {"shape": []}, {"shape": [48]}],
)
def test_a_damaged_description_of_a_sparse_weight_is_refused(change, tmp_path, unchanged):
    damaged(tmp_path / "w", "4.weight", change)
    with pytest.raises(WeightsError, match=r"4.weight"):
        weights.load(unchanged(net()), tmp_path / "w")


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_blocks_come_back_as_they_were(execution, tmp_path):
    model, other = blocks_net(execution), Sequential(Linear(24, 3))
    weights.save(model, tmp_path / "w")
    weights.load(other, tmp_path / "w")
    before, after = model[0].weight.format, other[0].weight.format
    assert isinstance(after, BlockSparse) and after.nbytes == before.nbytes == 12 * 3 + 1 + 4 * 3
    assert (after.axis, after.grid, after.channels, after.execution) == (1, before.grid, 8, execution)
    np.testing.assert_array_equal(after.array, before.array)


@pytest.mark.parametrize(
    "change",
    [{"channels": 7}, {"channels": 0}, {"channels": -8}, {"channels": None}, {"channels": 3}, {"axis": 0},
     {"execution": "fast"}, {"execution": None}, {"shape": [24, 4]}, {"shape": [-24, 3]}, {"kind": "sparse"}],
)  # fmt: skip
def test_a_damaged_description_of_blocks_is_refused(change, tmp_path, unchanged):
    damaged(tmp_path / "w", "0.weight", change, blocks_net())
    with pytest.raises(WeightsError, match=r"packed weight 0.weight is damaged"):
        weights.load(unchanged(Sequential(Linear(24, 3))), tmp_path / "w")


def damaged(path, name, change, model=None):
    weights.save(model or packed_net(), path)
    arrays, packed = weights.read(path)
    packed[name] = {**packed[name], **change}
    save_file(arrays, path, {weights.METADATA: json.dumps(packed)})


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        ("0.weight.scale", lambda a: a[:1]),
        ("0.weight.codes", lambda a: a.astype(np.int16)),
        ("4.weight.values", lambda a: a[:1]),
        ("4.weight.values", lambda a: a.astype(np.float32)),
        ("4.weight.bits", lambda a: a[:-1]),
        ("4.weight.bits", lambda a: a ^ 1),
        ("4.weight.scale", lambda a: a.astype(np.float64)),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(entry, change, tmp_path, unchanged):
    weights.save(packed_net(), tmp_path / "w")
    arrays, packed = weights.read(tmp_path / "w")
    arrays[entry] = np.ascontiguousarray(change(arrays[entry]))
    save_file(arrays, tmp_path / "w", {weights.METADATA: json.dumps(packed)})
    with pytest.raises(WeightsError, match="is damaged"):
        weights.load(unchanged(net()), tmp_path / "w")


@pytest.mark.parametrize("metadata", ["[]", "null", "3", "{", '{"0.weight": 3}', '{"0.weight": {"grid": null}}'])
def test_metadata_that_make_no_sense_are_refused(metadata, tmp_path, unchanged):
    weights.save(packed_net(), tmp_path / "w")
    save_file(load_file(tmp_path / "w"), tmp_path / "w", {weights.METADATA: metadata})
    with pytest.raises(WeightsError):
        weights.load(unchanged(net()), tmp_path / "w")


def test_the_pinned_references_load_and_are_good():
    """The competition's weights: made by the milestones with --save, from the default seed."""
    from tinytorch import datasets

    references = weights.Path(__file__).parents[1] / "mlperf" / "references"
    for name, data, floor in (
        ("perceptron", "clusters", 0.95), ("xor", "xor", 1.0), ("mlp", "digits", 0.97), ("cnn", "digits-images", 0.98),
    ):  # fmt: skip
        model, split = models.MODELS[name](), datasets.load(data)
        weights.load(model, references / f"{name}.safetensors")
        y = model.predict(split.x_test)
        predicted = y[:, 0] > 0.5 if y.shape[1] == 1 else y.argmax(1)
        assert (predicted == split.y_test).mean() >= floor, name
