"""Parameters and FLOPs: exact integers, worked out by hand, and the model as it was."""

from __future__ import annotations

import numpy as np
import pytest

import profiler
from tinytorch import BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, Sequential, Tensor, datasets, models
from tinytorch.core.layers import Packed
from tinytorch.engine import dispatch
from tinytorch.engine.dispatch import backend as current
from tinytorch.engine.formats import Int8, Sparse

pytestmark = pytest.mark.usefixtures("backend")

# multiply-adds of linear and convolution layers, twice; then activations, pools and sigmoids as their ops declare
BY_HAND = {
    "perceptron": (3, 2 * 2 + 4),
    "xor": (17, 2 * (2 * 4 + 4) + 4 + 4),
    "mlp": (6570, 2 * (64 * 64 + 64 * 32 + 32 * 10) + 64 + 32),
    "cnn": (6090, 2 * (16 * 9 * 64 + 32 * 144 * 16 + 1280) + 16 * 64 + 16 * 16 * 4 + 32 * 16 + 32 * 4 * 4),
}
DATA = {"perceptron": "clusters", "xor": "xor", "mlp": "digits", "cnn": "digits-images"}


def gpt(vocabulary, width, layers, tokens, rotary):
    """Parameters, and FLOPs of so many tokens: products, then norms (8 a number), GELUs (8), sums, turned pairs."""
    parameters = 2 * vocabulary * width + layers * (12 * width**2 + 13 * width) + 2 * width
    products = 2 * width * (layers * 12 * width + vocabulary) + layers * 4 * width * tokens
    others = (2 * layers + 1) * 8 * width + layers * (8 * 4 * width + 2 * width + 2 * 3 * width * rotary)
    return parameters, tokens * (products + others)


def test_transformers_by_hand():
    small, large = models.transformer(), models.gpt_shakespeare()
    parameters, flops = gpt(28, 64, 2, 17, rotary=False)
    ids = np.zeros((1, 17), int)
    assert profiler.parameters(small) == parameters + 32 * 64  # positions are learned, and then added
    assert profiler.flops(small, ids) == flops + 17 * 64
    assert profiler.flops(small, np.repeat(ids, 3, 0)) == 3 * profiler.flops(small, ids)
    assert (profiler.parameters(large), profiler.flops(large, np.zeros((1, 64), int))) == gpt(66, 128, 4, 64, True)


@pytest.mark.parametrize("name", BY_HAND)
def test_milestone_nets_by_hand(name):
    model, x = models.MODELS[name](), datasets.load(DATA[name]).x_test
    assert (profiler.parameters(model), profiler.flops(model, x[:1])) == BY_HAND[name]
    assert profiler.flops(model, x[:7]) == 7 * BY_HAND[name][1]


def test_stride_padding_dilation_and_groups_count():
    x = np.zeros((2, 4, 9, 9), np.float32)
    assert profiler.flops(Conv2d(4, 8, 3, stride=2, padding=1), x) == 2 * 2 * 8 * 25 * 4 * 9
    assert profiler.flops(Conv2d(4, 8, 3, dilation=2), x) == 2 * 2 * 8 * 25 * 4 * 9
    assert profiler.flops(Conv2d(4, 8, 3, groups=4), x) == 2 * 2 * 8 * 49 * 9


def test_shared_parameters_count_once_and_shared_work_twice():
    tied = Linear(3, 3)
    assert profiler.parameters(Sequential(tied, tied)) == 12
    assert profiler.flops(Sequential(tied, tied), np.zeros((1, 3))) == 2 * profiler.flops(tied, np.zeros((1, 3)))


def test_a_model_of_any_make_is_counted_without_knowing_its_class():
    class Odd(Layer):
        def __init__(self):
            self.w = Tensor(np.ones((3, 5)), requires_grad=True)

        def forward(self, a, b):
            return (a @ self.w) * b

    assert profiler.flops(Odd(), np.ones((2, 3)), Tensor(np.ones((2, 5)))) == 2 * 2 * 3 * 5 + 10
    assert profiler.parameters(Odd()) == 15


def test_counting_leaves_the_model_its_modes_and_the_backend_alone():
    model = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2), Dropout(0.5))
    model[1].eval()
    before, chosen = model.state_dict(), current()
    np.random.seed(0)
    profiler.flops(model, np.ones((2, 1, 5, 5)))
    drawn = np.random.random()
    np.random.seed(0)
    assert drawn == np.random.random()
    assert [layer.training for layer in model.modules()] == [True, True, False, True] and current() == chosen
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(ValueError, match="conv2d"):
        profiler.flops(model, np.ones((2, 3, 5, 5)))
    assert model.training and not model[1].training and current() == chosen


@pytest.mark.parametrize("pack", [Int8.pack, Sparse.pack])
def test_packed_weights_cost_what_they_stand_for(pack):
    """FLOPs are those of the mathematics, whatever is left out or computed on integers."""
    model, x = Sequential(Conv2d(2, 4, 3, groups=2), Flatten(), Linear(36, 5)), np.ones((3, 2, 5, 5))
    dense = profiler.flops(model, x)
    for layer, axis in ((model[0], 0), (model[2], 1)):
        layer.weight.data[np.abs(layer.weight.data) < 0.1] = 0
        layer.weight = Packed(pack(layer.weight.data, axis=axis))
    assert profiler.flops(model, x) == dense == 3 * 2 * (4 * 9 * 9 + 36 * 5)


def test_training_mode_does_not_count():
    """Statistics of the batch and masks of dropout are no part of an answer; and the model trains on as before."""
    model = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2), Dropout(0.5))
    x = np.ones((2, 1, 5, 5))
    training, evaluating = profiler.flops(model.train(), x), profiler.flops(model.eval(), x)
    assert training == evaluating == 2 * 2 * 9 * 9 * 2 + 4 * 2 * 2 * 9
    with profiler.record(model.train()) as recording:
        model(Tensor(x))
    assert {row.op for row in recording.rows} >= {"batch_stats", "batch_norm_train", "dropout"}


def test_attention_to_a_cache_costs_more_with_every_token():
    """The shapes of its arrays are the same each time; how much of the cache is read is not."""
    model, at_the_seam = models.transformer(), []
    with (
        profiler.record(model) as recording,
        dispatch.watch(lambda e: at_the_seam.append(e.op.flops(e.out, *e.arrays, **e.params))),
    ):
        model.generate(np.arange(4), 5, temperature=0)
    assert [row.flops for row in recording.rows] == at_the_seam
    one_layer = [row.flops for row in recording.rows if row.op == "cached_attention" and "blocks.0" in row.layer]
    assert one_layer == [4 * 64 * (1 + 2 + 3 + 4), *(4 * 64 * (5 + i) for i in range(4))]
