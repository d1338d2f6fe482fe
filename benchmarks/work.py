"""What is computed, without saying by whom: products, convolutions and their gradients, nets, training steps, chains.

Work is a few numbers; inputs and weights follow from them alone, so that every library's process makes the same.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from mlperf import tasks
from tinytorch import datasets, models
from tinytorch.core.layers import Linear, Sequential
from tinytorch.core.spatial import Conv2d
from tinytorch.engine.block_sparse import as_weight, by_channels, spread, summed

KERNEL_SIZE, PADDING = 3, 1  # of all convolutions here
NETS = ("perceptron", "xor", "mlp", "mlp-mnist", "cnn", "cnn-cifar10")
DATA = {"perceptron": "clusters", "xor": "xor", "mlp": "digits", "cnn": "digits-images"}
SHAPES = {"mlp-mnist": (784,), "cnn-cifar10": (3, 32, 32)}
QUERIES = 256  # inputs that exist for a net
LEARNING_RATE = 0.01


def numbers(*shape: int, seed: object = 0) -> np.ndarray:
    """Standard normal float32, the same in every process for the same shape and seed."""
    rng = np.random.default_rng(zlib.crc32(repr((shape, seed)).encode()))
    return rng.standard_normal(shape, np.float32)


@dataclass(frozen=True)
class Gemm:
    """a (size, size) @ b (size, size)."""

    size: int

    @property
    def flops(self) -> int:
        return 2 * self.size**3

    def __str__(self) -> str:
        return f"gemm {self.size}"

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return numbers(self.size, self.size, seed="a"), numbers(self.size, self.size, seed="b")


Part = Literal["forward", "input grad", "weight grad"]


@dataclass(frozen=True)
class Conv:
    """A 3 x 3 convolution with padding 1, or one of its gradients; activations lie channels-last in memory."""

    channels: int
    filters: int
    size: int
    batch: int
    part: Part = "forward"

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.filters * self.channels * (self.size * KERNEL_SIZE) ** 2

    def __str__(self) -> str:
        part = "" if self.part == "forward" else f" {self.part}"
        return f"conv {self.channels}-{self.filters} {self.size}x{self.size} batch {self.batch}{part}"

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """x (N,C,H,W), w (O,C,3,3), bias (O), g (N,O,H,W), gradient of the result; x and g channels-last in memory."""
        fan_in = self.channels * KERNEL_SIZE**2
        x = numbers(self.batch, self.size, self.size, self.channels, seed="x").transpose(0, 3, 1, 2)
        g = numbers(self.batch, self.size, self.size, self.filters, seed="g").transpose(0, 3, 1, 2)
        w = numbers(self.filters, self.channels, KERNEL_SIZE, KERNEL_SIZE, seed="w") / np.float32(fan_in**0.5)
        return x, w, numbers(self.filters, seed="bias"), g


@dataclass(frozen=True)
class Affine:
    """x (batch, inputs) @ w (inputs, outputs) + bias."""

    inputs: int
    outputs: int
    batch: int

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.inputs * self.outputs

    def __str__(self) -> str:
        return f"linear {self.inputs}-{self.outputs} batch {self.batch}"

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x (batch, inputs), w (inputs, outputs), bias (outputs)."""
        w = numbers(self.inputs, self.outputs, seed="w") / np.float32(self.inputs**0.5)
        return numbers(self.batch, self.inputs, seed="x"), w, numbers(self.outputs, seed="bias")


@dataclass(frozen=True)
class Blocked:
    """A layer of which so many percent of the blocks are kept, drawn at random; the others are zero."""

    layer: Affine | Conv
    kept: int

    @property
    def flops(self) -> int:
        return self.layer.flops

    @property
    def axis(self) -> int:
        """The output channels' in the weight."""
        return 1 if isinstance(self.layer, Affine) else 0

    def __str__(self) -> str:
        return f"{self.layer}, {self.kept} % kept"

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, w with its zeros, bias."""
        x, w, bias, *_ = self.layer.arrays()
        channels = w.shape[1 - self.axis]
        values = by_channels(w, self.axis, channels)
        blocks = np.zeros(summed(values).shape, np.float32)
        order = np.random.default_rng(zlib.crc32(str(self.layer).encode())).permutation(blocks.size)
        blocks.flat[order[: round(blocks.size * self.kept / 100)]] = 1
        return x, as_weight(values * spread(blocks, values.shape), self.axis, w.shape), bias


@dataclass(frozen=True)
class Net:
    """Inference of a milestone net."""

    name: str
    batch: int

    def __str__(self) -> str:
        return f"{self.name} batch {self.batch}"

    def model(self) -> Sequential:
        """The net in evaluation mode: trained where there is a reference, else as `untrained` gives it."""
        return trained(self.name)

    def samples(self) -> np.ndarray:
        """(QUERIES, ...) inputs: of the net's data set where it has one, else standard normal ones."""
        return samples(self.name)

    def queries(self) -> list[np.ndarray]:
        """The inputs in batches, each an array of its own."""
        x = samples(self.name)
        return [x[i : i + self.batch].copy() for i in range(0, len(x) - self.batch + 1, self.batch)]


@dataclass(frozen=True)
class TrainingStep:
    """Forward, cross-entropy, backward and a step of SGD, from the net's first weights on, always on one batch."""

    name: str
    batch: int

    def __str__(self) -> str:
        return f"{self.name} batch {self.batch}"

    def model(self) -> Sequential:
        """The untrained net in training mode."""
        return untrained(self.name)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """x (batch, ...), y (batch,) classes."""
        rng = np.random.default_rng(1)
        return samples(self.name)[: self.batch].copy(), rng.integers(0, 10, self.batch)


@dataclass(frozen=True)
class Chain:
    """`ops` ops on `elements` numbers one after the other, their sum, and the gradient of the first."""

    ops: int
    elements: int

    def __str__(self) -> str:
        return f"chain of {self.ops} ops on {self.elements} numbers"

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, what it is multiplied by, what is added."""
        near_one = 1 + numbers(self.elements, seed="m") / np.float32(1000)
        return numbers(self.elements, seed="x"), near_one, numbers(self.elements, seed="t") / np.float32(1000)


@dataclass(frozen=True)
class Import:
    """Starting Python and importing the library."""

    def __str__(self) -> str:
        return "start and import"


Work = Gemm | Conv | Blocked | Net | TrainingStep | Chain | Import


def untrained(name: str) -> Sequential:
    """The net with the first weights that seed 0 gives."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        model = models.MODELS[name]()
        assert isinstance(model, Sequential)
        return model
    finally:
        np.random.set_state(state)


@cache
def trained(name: str) -> Sequential:
    """The net with the weights of its task, in evaluation mode; do not change it."""
    reference = tasks.find(name).reference()
    assert isinstance(reference, Sequential)
    return reference


@cache
def samples(name: str) -> np.ndarray:
    """QUERIES inputs of a net."""
    if name in DATA:
        x = datasets.load(DATA[name]).x_test
        return np.ascontiguousarray(np.resize(x, (QUERIES, *x.shape[1:])))
    return numbers(QUERIES, *SHAPES[name], seed="samples")


@cache
def calibration(name: str) -> np.ndarray:
    """Inputs that no answer is asked for, to measure the ranges of activations with."""
    return datasets.load(DATA[name]).x_train[:QUERIES] if name in DATA else numbers(64, *SHAPES[name], seed="calibrate")


def parameters(layer: Linear | Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias as arrays; all layers here have both."""
    assert layer.bias is not None
    return layer.weight.data, layer.bias.data
