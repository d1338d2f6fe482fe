"""What memory is for: every byte found once, and what is counted as held for backward is what becomes free."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from profiler.holdings import Holdings, holdings
from tinytorch import (
    SGD,
    Adam,
    AdamW,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Tensor,
    models,
    no_grad,
)
from tinytorch.core.layers import Packed
from tinytorch.engine.formats import Int8, Sparse

pytestmark = pytest.mark.usefixtures("backend")


def images(n, *shape):
    return np.random.default_rng(0).random((n, *shape), np.float32)


def strided():
    return Sequential(Conv2d(3, 16, 3, stride=2, padding=1), BatchNorm2d(16), ReLU(), Dropout(0.3), MaxPool2d(2),
                      Flatten(), Linear(16 * 8 * 8, 10))  # fmt: skip


def text(n, t, vocabulary):
    return np.arange(n * t).reshape(n, t) % vocabulary


NETS = {
    "mlp": (models.mnist_mlp, images(900, 784)),
    "cnn": (models.cnn, images(100, 1, 8, 8)),
    "cifar_cnn": (models.cifar_cnn, images(4, 3, 32, 32)),
    "strided": (strided, images(40, 3, 32, 32)),
    "transformer": (models.transformer, text(24, 17, 28)),
    "gpt_shakespeare": (models.gpt_shakespeare, text(2, 64, 66)),
}


@pytest.mark.parametrize("name", NETS)
def test_what_is_held_for_backward_is_what_deleting_the_loss_frees(name):
    """Within 1 %, and never less: what is more are Python's own objects, which are few for a megabyte."""
    (build, data), loss_fn = NETS[name], CrossEntropyLoss()
    model, x = build(), Tensor(data)
    y = Tensor(np.zeros(data.shape if data.dtype.kind == "i" else len(data), np.int64))
    loss_fn(model(x), y)  # what is made once is made
    tracemalloc.start(1)
    try:
        loss = loss_fn(model(x), y)
        held = holdings(model, None, loss, given=(x, y)).activation_bytes
        before = tracemalloc.get_traced_memory()[0]
        del loss
        freed = before - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held > 1_000_000
    assert held <= freed <= 1.01 * held


def test_a_linear_net_by_hand():
    model = Sequential(Linear(4, 3), ReLU(), Linear(3, 2))
    x = Tensor(np.ones((5, 4)))
    loss = model(x).sum()
    held = holdings(model, SGD(model.parameters()), loss, given=[x])
    assert held == Holdings(
        parameter_bytes=4 * (12 + 3 + 6 + 2), activation_bytes=4 * (15 + 15 + 10 + 1), gradient_bytes=0
    )
    assert holdings(model, None, loss).activation_bytes == 4 * (20 + 15 + 15 + 10 + 1)  # x, unless it is the caller's
    loss.backward()
    assert holdings(model, None, loss).gradient_bytes == held.parameter_bytes


def test_views_count_their_memory_once_and_whole():
    x = Tensor(np.ones((10, 100)), requires_grad=True)
    y = x * 2.0
    z = y.reshape(1000)[3:5].reshape(2, 1) + Tensor(np.ones((2, 1)))
    held = holdings(None, None, z, given=[x])
    assert held.activation_bytes == 4 * (1000 + 2 + 2) + 4  # y, z, the ones, the number 2
    wide = np.broadcast_to(np.ones((1, 8), np.float32), (1000, 8))
    assert holdings(None, None, Tensor(wide)).activation_bytes == 32


def test_shared_parameters_and_gradients_count_once():
    tied = Linear(8, 8)
    model = Sequential(tied, ReLU(), tied)
    model(Tensor(np.ones((2, 8)))).sum().backward()
    assert holdings(model).parameter_bytes == holdings(model).gradient_bytes == 4 * 72


@pytest.mark.parametrize("make, moments, settings", [
    (lambda p: SGD(p, lr=0.1), 0, 5), (lambda p: SGD(p, lr=0.1, momentum=0.9), 1, 5), (Adam, 2, 8), (AdamW, 2, 8),
])  # fmt: skip
def test_optimizers_hold_their_moments_and_settings(make, moments, settings):
    model = models.mlp()
    optimizer = make(model.parameters())
    assert holdings(model, optimizer).optimizer_bytes == 0
    model(Tensor(np.ones((2, 64)))).sum().backward()
    optimizer.step()
    held = holdings(model, optimizer)
    assert held.optimizer_bytes == moments * held.parameter_bytes + 8 * settings
    assert holdings(None, optimizer).optimizer_bytes == held.optimizer_bytes


def test_buffers_are_what_layers_hold_beside_parameters():
    assert holdings(BatchNorm2d(16)).buffer_bytes == 2 * 4 * 16
    assert holdings(models.transformer()).buffer_bytes == 0
    assert holdings(models.gpt_shakespeare()).buffer_bytes == 4 * 64 * 32  # one table of angles for four layers


@pytest.mark.parametrize("pack", [Int8.pack, Sparse.pack])
def test_packed_weights_count_what_they_store(pack):
    model = Sequential(Linear(64, 32))
    full = holdings(model).parameter_bytes
    model[0].weight.data[np.abs(model[0].weight.data) < 0.1] = 0
    format = pack(model[0].weight.data, axis=1)
    model[0].weight = Packed(format)
    held = holdings(model)
    assert held.parameter_bytes == format.nbytes + 4 * 32 < full
    assert held.buffer_bytes == 4 * 64 * 32  # the array it stands for, which it keeps


def test_nothing_is_recorded_without_gradients():
    model = models.mlp()
    with no_grad():
        y = model(Tensor(np.ones((2, 64))))
    assert holdings(model, None, y).activation_bytes == y.data.nbytes


def test_looking_keeps_nothing_alive():
    class Kept(np.ndarray):
        alive = 0

        def __del__(self):
            Kept.alive -= 1

    class Odd(Layer):
        def __init__(self):
            Kept.alive = 1
            self.tables = [{"a": np.zeros(4, np.float32).view(Kept)}, ("text", 3)]

    model = Odd()
    assert holdings(model).buffer_bytes == 16
    model.tables.clear()
    assert Kept.alive == 0
