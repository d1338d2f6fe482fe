"""The milestone networks, defined once; scripts, tasks and benchmarks all build them from here. How they are trained is
in `recipes.py`.

`tinytorch.models.cnn()` gives an untrained network whose start follows NumPy's global seed.
"""

from __future__ import annotations

from collections.abc import Callable

from tinytorch.core.activations import ReLU, Sigmoid, Tanh
from tinytorch.core.initializers import identity
from tinytorch.core.layers import Flatten, Layer, Linear, Scale, Sequential
from tinytorch.core.spatial import BatchNorm2d, Conv2d, MaxPool2d
from tinytorch.core.transformer import GPT


def perceptron() -> Sequential:
    """Two inputs, one unit: x (N, 2) -> probability (N, 1). Rosenblatt 1957."""
    return Sequential(Linear(2, 1), Sigmoid())


def xor() -> Sequential:
    """2-4-1: the smallest comfortable answer to Minsky and Papert 1969: x (N, 2) -> probability (N, 1)."""
    return Sequential(Linear(2, 4), Tanh(), Linear(4, 1), Sigmoid())


def mlp() -> Sequential:
    """64-64-32-10: flat 8x8 digits (N, 64) -> logits (N, 10). Rumelhart, Hinton and Williams 1986."""
    return Sequential(Linear(64, 64), ReLU(), Linear(64, 32), ReLU(), Linear(32, 10))


def cnn() -> Sequential:
    """Two convolutions and a linear layer: 8x8 digits (N, 1, 8, 8) -> logits (N, 10). LeCun et al. 1998."""
    return Sequential(
        Conv2d(1, 16, 3, padding=1),
        ReLU(),
        MaxPool2d(2),
        Conv2d(16, 32, 3, padding=1),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(128, 10),
    )


def mnist_mlp() -> Sequential:
    """784-128-64-10: flat 28x28 digits (N, 784) -> logits (N, 10). Rumelhart, Hinton and Williams 1986."""
    return Sequential(Linear(784, 128), ReLU(), Linear(128, 64), ReLU(), Linear(64, 10))


def cifar_cnn() -> Sequential:
    """Two convolutions with batch norm, two linear layers: images (N, 3, 32, 32) -> logits (N, 10)."""
    return Sequential(
        Conv2d(3, 64, 3, padding=1),
        BatchNorm2d(64),
        ReLU(),
        MaxPool2d(2),
        Conv2d(64, 128, 3, padding=1),
        BatchNorm2d(128),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(8192, 128),
        ReLU(),
        Linear(128, 10),
    )


def cifar_best() -> Sequential:
    """Seven convolutions, six of them in pairs: images (N, 3, 32, 32) -> logits (N, 10). After Jordan 2024, airbench94.

    The first sees patches of 2x2 and is to be whitened (`core.initializers`), so 31x31 are left, then 15, 7, 3 and 1.
    What differs: three quarters of its width, ReLU in place of GELU, batch norm with its scale.
    """
    return Sequential(
        Conv2d(3, 24, 2), ReLU(), *halving(24, 48), *halving(48, 192), *halving(192, 192),
        MaxPool2d(3), Flatten(), Linear(192, 10, bias=False), Scale(1 / 9),
    )  # fmt: skip


def halving(channels: int, filters: int) -> list[Layer]:
    """Two convolutions that begin as identities: (N, channels, H, W) -> (N, filters, H / 2, W / 2)."""
    first, second = (Conv2d(c, filters, 3, padding=1, bias=False) for c in (channels, filters))
    for layer in (first, second):
        identity(layer)
    return [first, MaxPool2d(2), BatchNorm2d(filters), ReLU(), second, BatchNorm2d(filters), ReLU()]


def transformer() -> GPT:
    """Two layers of width 64 for `datasets.reversal`: tokens (N, T) -> logits (N, T, 28). Vaswani et al. 2017.

    A letter stands where the string's end is so and so far away: so positions are learned, and T is at most 32.
    """
    return GPT(28, 64, 2, 4, 32)


def gpt_shakespeare() -> GPT:
    """Four layers of width 128, nanoGPT's size for two cores: characters (N, T) -> logits (N, T, 66), T at most 64.

    66: the 65 characters of tiny Shakespeare, and `<UNK>` as `CharTokenizer` has it.
    """
    return GPT(66, 128, 4, 4, 64, positions="rotary", start="pytorch")


# The nets of the milestones, which have pinned weights and a task in the competition.
MODELS: dict[str, Callable[[], Layer]] = {
    "perceptron": perceptron, "xor": xor, "mlp": mlp, "cnn": cnn, "transformer": transformer,
    "gpt-shakespeare": gpt_shakespeare, "mlp-mnist": mnist_mlp, "cnn-cifar10": cifar_cnn,
}  # fmt: skip
