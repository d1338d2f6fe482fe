"""Module 07: optimizers, from gradients to better weights."""

from __future__ import annotations

import math

from tito.checks import Check, Module, Part

PARTS = (
    Part(
        "Optimizer.zero_grad", "Forgets the gradients of all parameters.",
        ">>> w = Tensor([1.0], requires_grad=True)\n>>> w.grad = np.ones(1)\n>>> SGD([w]).zero_grad()\n"
        ">>> w.grad is None"
        "\nTrue",
        "None, and not zeros: a parameter without a gradient is not updated.",
    ),
    Part(
        "SGD.update", "w and g are arrays of one shape; w is changed in place. self.hyper is (lr, momentum, "
        "weight_decay, "
        "nesterov, decoupled).",
        ">>> w = Tensor([1.0], requires_grad=True)\n>>> w.grad = np.float32([0.5])\n>>> SGD([w], lr=0.1).step()\n"
        ">>> round(w.item(), 4)\n0.95",
        "Decay adds weight_decay w to g, or with `decoupled` shrinks w by lr weight_decay w. velocity = momentum "
        "velocity + g, in place; w -= lr velocity, or with nesterov lr (g + momentum velocity). moments has no "
        "velocity "
        "without momentum. ops.sgd_step does all that in one pass.",
    ),
    Part(
        "Adam.update", "w and g are arrays of one shape; w, m and v are changed in place. self.hyper is (lr, beta1, "
        "beta2, "
        "eps, weight_decay, decoupled, 1 - beta1^t, 1 - beta2^t).",
        ">>> w = Tensor([1.0], requires_grad=True)\n>>> w.grad = np.float32([0.5])\n>>> Adam([w], lr=0.1).step()\n"
        ">>> round(w.item(), 4)\n0.9",
        "m = beta1 m + (1 - beta1) g and v likewise of g^2; w -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) "
        "+ eps). "
        "Decay adds to g, or with `decoupled` shrinks w first. ops.adam_step does all that in one pass.",
    ),
)  # fmt: skip

W = "w = Tensor([1.0, 2.0], requires_grad=True)\n"
TWICE = "for g in ([1, -1], [3, 1]):\n    w.grad = np.float32(g)\n    o.step()\nw"


def adam(lr: float, grads: tuple[float, ...], w: float, decay: float = 0.0, decoupled: bool = False) -> float:
    """Kingma and Ba 2015, algorithm 1, for one number."""
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        g, w = (g, w * (1 - lr * decay)) if decoupled else (g + decay * w, w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= lr * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


def both(**options: float) -> list[float]:
    """`adam` of the two weights in TWICE."""
    return [adam(0.1, (1, 3), 1.0, **options), adam(0.1, (-1, 1), 2.0, **options)]  # type: ignore[arg-type]


CHECKS = (
    Check("Optimizer.zero_grad", "all gradients are gone", (
        (f"{W}w.grad = np.ones(2)\nSGD([w]).zero_grad()\nw.grad", None),
        ("ws = [Tensor([1.0], requires_grad=True) for _ in range(3)]\nfor w in ws:\n    w.grad = np.ones(1)\n"
         "SGD(ws).zero_grad()\n[w.grad for w in ws] == [None] * 3", True),
        (f"{W}w.grad = np.ones(2)\nSGD([w]).zero_grad()\nw", [1, 2]),
    )),
    Check("SGD.update", "a step goes against the gradient, in place", (
        (f"{W}w.grad = np.float32([10, -10])\nSGD([w], lr=0.1).step()\nw", [0, 3]),
        (f"{W}before = w.data\nw.grad = np.float32([1, 1])\nSGD([w], lr=0.1).step()\nw.data is before", True),
        (f"{W}SGD([w], lr=0.1).step()\nw", [1, 2]),
        (f"{W}w.grad = np.float32([10, -10])\nSGD([w], lr=0.1).step()\nw.grad", [10, -10]),
    )),
    Check("SGD.update", "momentum keeps a part of the last steps", (
        (f"{W}o = SGD([w], lr=0.1, momentum=0.5)\n{TWICE}", [0.55, 2.05]),
        (f"{W}o = SGD([w], lr=0.1, momentum=0.5, nesterov=True)\n{TWICE}", [0.375, 2.025]),
    )),
    Check("SGD.update", "decay pulls weights towards 0, through the gradient or beside it", (
        (f"{W}w.grad = np.float32([0, 0])\nSGD([w], lr=0.1, weight_decay=1.0).step()\nw", [0.9, 1.8]),
        (f"{W}o = SGD([w], lr=0.1, momentum=0.5, weight_decay=1.0)\n{TWICE}", [0.32, 1.56]),
        (f"{W}o = SGD([w], lr=0.1, momentum=0.5, weight_decay=1.0, decoupled=True)\n{TWICE}", [0.37, 1.66]),
    )),
    Check("Adam.update", "a first step is as long as the rate, whatever the gradient", (
        (f"{W}w.grad = np.float32([10, -0.001])\nAdam([w], lr=0.1).step()\nw", [0.9, 2.1 - 1e-6]),
        (f"{W}before = w.data\nw.grad = np.float32([1, 1])\nAdam([w], lr=0.1).step()\nw.data is before", True),
    )),
    Check("Adam.update", "means of gradients and of their squares, corrected for their start at 0", (
        (f"{W}o = Adam([w], lr=0.1)\n{TWICE}", both()),
        (f"{W}o = Adam([w], lr=0.1, weight_decay=0.5)\n{TWICE}", both(decay=0.5)),
    )),
    Check("Adam.update", "AdamW's decay does not pass through the means", (
        (f"{W}o = AdamW([w], lr=0.1, weight_decay=0.5)\n{TWICE}", both(decay=0.5, decoupled=True)),
        (f"{W}w.grad = np.float32([0, 0])\nAdamW([w], lr=0.1, weight_decay=0.5).step()\nw", [0.95, 1.9]),
    )),
)  # fmt: skip

MODULE = Module(
    7, "optimizers", "Can I make weights better, given their gradients?",
    {"tinytorch.core.optimizers": PARTS},
    "from tinytorch.core.optimizers import SGD, Adam, AdamW\nfrom tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
