"""Module 03: activations, what makes a network more than one matrix."""

from __future__ import annotations

import math

from tito.checks import Check, Module, Part

E1, TANH1 = math.exp(-1), math.tanh(1)

PARTS = (
    Part(
        "ReLU.forward", "x of any shape gives the same shape.",
        ">>> ReLU()(Tensor([-1, 0, 2])).tolist()\n[0.0, 0.0, 2.0]",
        "apply(ops.relu, floating(x)) runs the compiled op; or build it from what a Tensor can do, as long as "
        "gradients "
        "flow.",
    ),
    Part(
        "Sigmoid.forward", "x of any shape gives the same shape, from 0 to 1.",
        ">>> Sigmoid()(Tensor([0.0])).tolist()\n[0.5]",
        "There is ops.sigmoid. Of one that you write yourself, mind large negative x: exp(-x) overflows.",
    ),
    Part(
        "Tanh.forward", "x of any shape gives the same shape, from -1 to 1.",
        ">>> Tanh()(Tensor([0.0])).tolist()\n[0.0]", "There is ops.tanh.",
    ),
    Part(
        "GELU.forward", "x of any shape gives the same shape; self.approximate is none or tanh.",
        ">>> round(GELU()(Tensor([1.0])).item(), 4)\n0.8413",
        "x times the share of a normal distribution that is below x. ops.gelu takes approximate=...",
    ),
    Part(
        "Softmax.forward", "x of any shape gives the same shape; along `dim` the result adds up to 1. `dim`, if it is "
        "given, takes the place of self.dim.",
        ">>> Softmax()(Tensor([[1.0, 1.0]])).tolist()\n[[0.5, 0.5]]",
        "Subtract the largest first, or exp overflows; ops.softmax does, and takes axis=...",
    ),
)  # fmt: skip

CHECKS = (
    Check("ReLU.forward", "what is below 0 becomes 0, and the rest stays", (
        ("ReLU()(Tensor([-1.0]))", [0]),
        ("ReLU()(Tensor([2.0]))", [2]),
        ("ReLU()(Tensor([[-3.0, 0.0], [0.5, 7.0]]))", [[0, 0], [0.5, 7]]),
        ("ReLU()(Tensor(np.array([-2, 2])))", [0, 2]),
    )),
    Check("ReLU.forward", "gradients pass where x is above 0", (
        ("x = Tensor([-1.0, 2.0], requires_grad=True)\nReLU()(x).sum().backward()\nx.grad", [0, 1]),
    )),
    Check("Sigmoid.forward", "any number becomes one between 0 and 1", (
        ("Sigmoid()(Tensor([0.0]))", [0.5]),
        ("Sigmoid()(Tensor([[1.0, -1.0]]))", [[1 / (1 + E1), E1 / (1 + E1)]]),
        ("Sigmoid()(Tensor([-1000.0, 1000.0]))", [0, 1]),
    )),
    Check("Sigmoid.forward", "its gradient is y (1 - y)", (
        ("x = Tensor([0.0], requires_grad=True)\nSigmoid()(x).sum().backward()\nx.grad", [0.25]),
    )),
    Check("Tanh.forward", "any number becomes one between -1 and 1", (
        ("Tanh()(Tensor([0.0]))", [0]),
        ("Tanh()(Tensor([1.0, -1.0]))", [TANH1, -TANH1]),
        ("Tanh()(Tensor([[-1000.0], [1000.0]]))", [[-1], [1]]),
    )),
    Check("GELU.forward", "x times the share of a normal distribution below x", (
        ("GELU()(Tensor([0.0]))", [0]),
        ("GELU()(Tensor([1.0, -1.0]))", [0.841345, -0.158655]),
        ("GELU(approximate='tanh')(Tensor([1.0, -2.0]))", [0.841192, -0.045402]),
    )),
    Check("Softmax.forward", "along an axis all is positive and adds up to 1", (
        ("Softmax()(Tensor([1.0, 1.0]))", [0.5, 0.5]),
        ("Softmax()(Tensor([[0.0, 1.0]]))", [[E1 / (1 + E1), 1 / (1 + E1)]]),
        ("Softmax()(Tensor([[1000.0, 1000.0, -1000.0]]))", [[0.5, 0.5, 0]]),
        ("Softmax(dim=0)(Tensor([[1.0, 5.0], [1.0, 5.0]]))", [[0.5, 0.5], [0.5, 0.5]]),
        ("Softmax()(Tensor([[1.0, 5.0], [1.0, 5.0]]), dim=0)", [[0.5, 0.5], [0.5, 0.5]]),
    )),
)  # fmt: skip

MODULE = Module(
    3, "activations", "Can I bend a straight line, so that layers are worth stacking?",
    {"tinytorch.core.activations": PARTS},
    "from tinytorch.core.activations import GELU, ReLU, Sigmoid, Softmax, Tanh\n"
    "from tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
