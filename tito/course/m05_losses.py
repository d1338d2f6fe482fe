"""Module 05: losses, how wrong an answer is as one number."""

from __future__ import annotations

import math

from tito.checks import Check, Module, Part, Raises

LOG2, LOG3 = math.log(2), math.log(3)

PARTS = (
    Part(
        "log_softmax", "x of any shape gives the same shape.",
        ">>> [round(v, 4) for v in log_softmax(Tensor([[0.0, 0.0]])).tolist()[0]]\n[-0.6931, -0.6931]",
        "x - max, then minus the log of the sum of exp; ops.log_softmax takes axis=...",
    ),
    Part(
        "MSELoss.forward", "Both of one shape; gives a tensor without axes. Raises ValueError where the shapes differ.",
        ">>> MSELoss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).item()\n2.0",
        "as_tensor(targets) first; then compare the shapes yourself, for broadcasting would hide a mistake.",
    ),
    Part(
        "CrossEntropyLoss.forward", "Gives a tensor without axes. Raises TypeError for targets that are fractions, "
        "ValueError for shapes that do not fit and for class numbers that there are not.",
        ">>> round(CrossEntropyLoss()(Tensor([[0.0, 0.0]]), Tensor(np.array([1]))).item(), 4)\n0.6931",
        "Make class numbers an integer array; check_ids looks at their range; join all axes but the last with reshape; "
        "ops.cross_entropy takes rows, targets as a Tensor of int64, and label_smoothing=self.label_smoothing.",
    ),
    Part(
        "BinaryCrossEntropyLoss.forward", "Both of one shape; gives a tensor without axes. Raises ValueError where "
        "shapes differ, and for predictions outside 0..1.",
        ">>> round(BinaryCrossEntropyLoss()(Tensor([0.5]), Tensor([1.0])).item(), 4)\n0.6931",
        "Look at predictions.data for the range; ops.binary_cross_entropy takes predictions and targets of one dtype.",
    ),
)  # fmt: skip

CHECKS = (
    Check("log_softmax", "the log of a softmax, also of large numbers", (
        ("log_softmax(Tensor([[0.0, 0.0]]))", [[-LOG2, -LOG2]]),
        ("log_softmax(Tensor([0.0, 1000.0]))", [-1000, 0]),
        ("log_softmax(Tensor([[1.0, 5.0], [1.0, 5.0]]), dim=0)", [[-LOG2, -LOG2], [-LOG2, -LOG2]]),
    )),
    Check("MSELoss.forward", "the mean of squared differences", (
        ("MSELoss()(Tensor([3.0]), Tensor([1.0]))", 4),
        ("MSELoss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))", 2),
        ("MSELoss()(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([[0.0, 0.0], [0.0, 0.0]]))", 7.5),
        ("MSELoss()(Tensor([1.0, 2.0]), np.array([1.0, 4.0]))", 2),
    )),
    Check("MSELoss.forward", "shapes that differ are an error", (
        ("MSELoss()(Tensor([1.0, 2.0]), Tensor([[1.0], [2.0]]))", Raises("ValueError")),
    )),
    Check("MSELoss.forward", "its gradient is 2 (prediction - target) / n", (
        ("x = Tensor([1.0, 4.0], requires_grad=True)\nMSELoss()(x, Tensor([0.0, 1.0])).backward()\nx.grad", [1, 3]),
    )),
    Check("CrossEntropyLoss.forward", "-log of what the right class is given, mean over the rows", (
        ("CrossEntropyLoss()(Tensor([[0.0, 0.0]]), Tensor(np.array([1])))", LOG2),
        ("CrossEntropyLoss()(Tensor([[0.0, 0.0], [0.0, 100.0]]), Tensor(np.array([0, 1])))", LOG2 / 2),
        ("CrossEntropyLoss()(Tensor([[1000.0, 0.0, 0.0]]), Tensor(np.array([1])))", 1000),
        ("CrossEntropyLoss()(Tensor([[0.0, 0.0, 0.0]]), np.array([2.0]))", LOG3),
        ("CrossEntropyLoss()(Tensor(np.zeros((2, 5, 3))), Tensor(np.zeros((2, 5), int)))", LOG3),
        ("CrossEntropyLoss(label_smoothing=0.5)(Tensor([[0.0, 2.0]]), Tensor(np.array([1])))",
         0.75 * math.log1p(math.exp(-2)) + 0.25 * (2 + math.log1p(math.exp(-2)))),
    )),
    Check("CrossEntropyLoss.forward", "targets that cannot be are errors", (
        ("CrossEntropyLoss()(Tensor([[0.0, 0.0]]), Tensor([0.5]))", Raises("TypeError")),
        ("CrossEntropyLoss()(Tensor([[0.0, 0.0]]), Tensor(np.array([2])))", Raises("IndexError")),
        ("CrossEntropyLoss()(Tensor([[0.0, 0.0]]), Tensor(np.array([0, 1])))", Raises("ValueError")),
    )),
    Check("CrossEntropyLoss.forward", "its gradient is (softmax - one at the right class) / rows", (
        ("x = Tensor([[0.0, 0.0]], requires_grad=True)\nCrossEntropyLoss()(x, Tensor(np.array([0]))).backward()\n"
         "x.grad",
         [[-0.5, 0.5]]),
        ("x = Tensor(np.zeros((2, 2)), requires_grad=True)\n"
         "CrossEntropyLoss()(x, Tensor(np.array([0, 1]))).backward()\nx.grad", [[-0.25, 0.25], [0.25, -0.25]]),
    )),
    Check("BinaryCrossEntropyLoss.forward", "-log of what the truth is given, mean over all", (
        ("BinaryCrossEntropyLoss()(Tensor([0.5]), Tensor([1.0]))", LOG2),
        ("BinaryCrossEntropyLoss()(Tensor([0.25, 0.75]), Tensor([0.0, 1.0]))", math.log(4 / 3)),
        ("BinaryCrossEntropyLoss()(Tensor([[0.5], [0.5]]), Tensor([[1.0], [0.0]]))", LOG2),
        ("BinaryCrossEntropyLoss()(Tensor([0.5, 0.5]), Tensor(np.array([1, 0])))", LOG2),
    )),
    Check("BinaryCrossEntropyLoss.forward", "shapes that differ and what is no probability are errors", (
        ("BinaryCrossEntropyLoss()(Tensor([1.5]), Tensor([1.0]))", Raises("ValueError")),
        ("BinaryCrossEntropyLoss()(Tensor([0.5]), Tensor([[1.0]]))", Raises("ValueError")),
    )),
)  # fmt: skip

MODULE = Module(
    5, "losses", "Can I say in one number how wrong an answer is?",
    {"tinytorch.core.losses": PARTS},
    "from tinytorch.core.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss, log_softmax\n"
    "from tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
