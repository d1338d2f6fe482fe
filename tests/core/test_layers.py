"""Layers: what is found inside a model, state in and out, modes, and packed weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tinytorch import Dropout, Flatten, Layer, Linear, ReLU, Sequential, Tensor, nn
from tinytorch.core.layers import Packed
from tinytorch.engine import dispatch
from tinytorch.engine.formats import Int8

pytestmark = pytest.mark.usefixtures("backend")

RNG = np.random.default_rng(0)


class Nested(Layer):
    """Layers in every kind of container, made without super().__init__()."""

    def __init__(self):
        self.first = Linear(2, 3)
        self.blocks = [Linear(3, 3), (ReLU(), [Linear(3, 4)])]
        self.heads = {"a": Linear(4, 1, bias=False), "b": {"deep": Linear(4, 2)}}
        self.scale = Tensor([2.0], requires_grad=True)
        self.not_a_layer = ["text", 3, None]

    def forward(self, x):
        x = self.blocks[0](self.first(x))
        x = self.blocks[1][1][0](self.blocks[1][0](x))
        return self.heads["a"](x) * self.scale + self.heads["b"]["deep"](x)


NESTED_NAMES = [
    "scale", "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias", "blocks.1.1.0.weight",
    "blocks.1.1.0.bias", "heads.a.weight", "heads.b.deep.weight", "heads.b.deep.bias",
]  # fmt: skip


def test_parameters_are_found_in_all_containers_without_super_init():
    model = Nested()
    assert [name for name, _ in model.named_parameters()] == NESTED_NAMES
    assert sum(p.size for p in model.parameters()) == 1 + 9 + 12 + 16 + 4 + 10
    model(Tensor(RNG.standard_normal((5, 2)))).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_modules_are_named_depth_first_each_once():
    names = [name for name, _ in Nested().named_modules()]
    assert names == ["", "first", "blocks.0", "blocks.1.0", "blocks.1.1.0", "heads.a", "heads.b.deep"]


def test_a_shared_layer_or_weight_counts_once():
    shared = Linear(2, 2)
    model = Sequential(shared, ReLU(), shared)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    tied = Sequential(Linear(3, 3, bias=False), Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    assert [name for name, _ in tied.named_parameters()] == ["0.weight"]
    assert len(tied.parameters()) == 1
    x = Tensor(RNG.standard_normal((4, 3)))
    tied(x).sum().backward()
    w, ones = tied[0].weight.data, np.ones((4, 3))
    expected = x.data.T @ (ones @ w.T) + (x.data @ w).T @ ones  # the sum of both uses
    np.testing.assert_allclose(tied[0].weight.grad, expected, rtol=1e-4)


def test_models_that_hold_each_other_end():
    a, b = Linear(1, 1), Linear(1, 1)
    a.other, b.other = b, a
    assert [name for name, _ in a.named_modules()] == ["", "other"]


def test_state_goes_out_as_copies_and_comes_back():
    source, target = Nested(), Nested()
    x = Tensor(RNG.standard_normal((3, 2)))
    state = source.state_dict()
    assert list(state) == NESTED_NAMES
    target.load_state_dict(state)
    np.testing.assert_array_equal(target(x).data, source(x).data)
    state["scale"][...] = 100
    assert source.scale.item() == 2 and target.scale.item() == 2


def test_loading_keeps_tensors_so_that_optimizers_stay_valid():
    model = Linear(2, 2)
    weight, data = model.weight, model.weight.data
    model.load_state_dict(Linear(2, 2).state_dict())
    assert model.weight is weight and model.weight.data is data


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda s: s.pop("0.bias"), KeyError, r"missing \['0.bias'\], unknown nothing; build the model with"),
        (lambda s: s.update(extra=np.zeros(1)), KeyError, r"missing nothing, unknown \['extra'\]"),
        (lambda s: s.update({"1.weight": np.zeros((3, 3))}), ValueError,
         r"1.weight is \(3, 3\) in the state, \(3, 1\) in the model; build the model with"),
    ],
)  # fmt: skip
def test_a_wrong_state_is_refused_whole(change, error, text):
    model = Sequential(Linear(2, 3), Linear(3, 1))
    before, state = model.state_dict(), Sequential(Linear(2, 3), Linear(3, 1)).state_dict()
    change(state)
    with pytest.raises(error, match=text):
        model.load_state_dict(state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_state_may_hold_tensors_and_lists():
    model = Linear(2, 1)
    model.load_state_dict({"weight": Tensor([[1.0], [2.0]]), "bias": [3]})
    assert model(Tensor([[10.0, 100.0]])).item() == 213


def test_train_and_eval_reach_every_layer():
    model = Sequential(Dropout(0.5), Sequential(Dropout(0.5)))
    assert model.training and model[1][0].training
    assert model.eval() is model
    assert not any(layer.training for layer in model.modules())
    model.train()
    assert all(layer.training for layer in model.modules())
    assert Dropout.training, "the mode of one model must not be the mode of all"


def test_linear_computes_x_w_plus_b():
    layer = Linear(3, 2)
    x = RNG.standard_normal((4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(Tensor(x)).data, x @ layer.weight.data + layer.bias.data, rtol=1e-5, atol=1e-6)
    assert (layer.in_features, layer.out_features) == (3, 2) and layer.weight.shape == (3, 2)
    assert Linear(3, 2, bias=False).bias is None
    with pytest.raises(ValueError, match=r"linear: x is \(4, 5\), w is \(3, 2\): in_features differ"):
        layer(Tensor(np.zeros((4, 5))))


def test_the_start_follows_numpys_seed_and_its_bound():
    np.random.seed(3)
    a = Linear(100, 50)
    np.random.seed(3)
    b = Linear(100, 50)
    np.testing.assert_array_equal(a.weight.data, b.weight.data)
    assert 0.09 < np.abs(a.weight.data).max() <= 0.1 and a.weight.data.dtype == np.float32


def test_dropout_keeps_the_mean_and_is_seeded():
    x = Tensor(np.ones((100, 100)))
    y = Dropout(0.25, seed=1)(x).data
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 0.02 and abs((y == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(y, Dropout(0.25, seed=1)(x).data)
    assert not (y == Dropout(0.25, seed=2)(x).data).all()
    np.testing.assert_array_equal(Dropout(1.0)(x).data, 0)
    assert Dropout(0.5).eval()(x) is x and Dropout(0)(x) is x and Dropout(0.9)(x, training=False) is x
    with pytest.raises(ValueError, match=r"Dropout: p is 1\.5, it is a probability: choose it from 0 to 1"):
        Dropout(1.5)


def test_dropout_passes_gradients_where_it_kept():
    x = Tensor(np.ones((8, 8)), requires_grad=True)
    y = Dropout(0.5, seed=0)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.data)


def test_flatten_and_sequential():
    x = Tensor(RNG.standard_normal((2, 3, 4, 5)))
    assert Flatten()(x).shape == (2, 60) and Flatten(2)(x).shape == (2, 3, 20)
    listed, spread = Sequential([Flatten(), ReLU()]), Sequential(Flatten(), ReLU())
    np.testing.assert_array_equal(listed(x).data, spread(x).data)
    assert len(listed) == 2 and isinstance(listed[1], ReLU) and [type(v) for v in listed] == [Flatten, ReLU]
    assert Sequential()(x) is x


def test_a_layer_without_forward_says_so():
    class Empty(Layer):
        pass

    with pytest.raises(TypeError, match=r"Empty: no forward\(\) defined; define forward\(self, x\) in the class"):
        Empty()(Tensor([1.0]))


def test_repr_shows_the_tree():
    assert repr(Sequential(Linear(2, 3, bias=False), ReLU())) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=False)\n  (1): ReLU()\n)"
    )


def test_predict_takes_and_gives_arrays_and_records_nothing():
    layer = Linear(2, 2)
    y = layer.predict(np.ones((1, 2), np.float32))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, layer(Tensor(np.ones((1, 2)))).data)


def test_scopes_name_the_innermost_layer_while_someone_watches():
    model = Sequential(Linear(2, 2), Sequential(ReLU()))
    seen = []
    with dispatch.watch(lambda event: seen.append(event.scope)):
        model(Tensor(np.ones((1, 2))))
    assert seen == [model[0], model[1][0]]
    assert not dispatch.scopes


def test_a_packed_weight_stands_for_its_array_and_takes_no_gradient():
    model = Sequential(Linear(4, 3))
    dense = model[0].weight.data.copy()
    packed = Packed(Int8.pack(dense, axis=1))
    model[0].weight = packed
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    np.testing.assert_allclose(packed.data, dense, atol=np.abs(dense).max() / 127)
    x = RNG.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), x @ packed.data + model[0].bias.data, rtol=1e-5, atol=1e-6)
    model(Tensor(x)).sum().backward()
    assert packed.grad is None and model[0].bias.grad is not None
    clone = copy.deepcopy(model)
    assert clone[0].weight.format is packed.format and clone[0].bias is not model[0].bias
    with pytest.raises(ValueError, match=r"\['0.weight'\] are packed weights; load into the unpacked model"):
        model.load_state_dict(model.state_dict())


def test_pytorchs_names_are_the_same_classes():
    assert nn.Module is Layer and nn.Linear is Linear and nn.Sequential is Sequential
