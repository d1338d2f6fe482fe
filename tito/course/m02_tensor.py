"""Module 02: the tensor, an array with arithmetic."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "Tensor.item", "Returns a Python number.", ">>> Tensor([2.5]).item()\n2.5",
        "self.size tells how many elements there are; an array has a method item() of its own.",
    ),
    Part(
        "Tensor.__add__", "Shapes broadcast as NumPy's do; `other` may be a tensor, an array or a number.",
        ">>> (Tensor([1, 2]) + 10).tolist()\n[11.0, 12.0]",
        "binary(ops.add, self, other), further down, brings both sides into one form and records what was done.",
    ),
    Part(
        "Tensor.__rsub__", "For `other - self`, where `other` is no tensor: Python asks the right side then.",
        ">>> (10 - Tensor([1, 2])).tolist()\n[9.0, 8.0]",
        "Mind the order: other comes first.",
    ),
    Part(
        "Tensor.__mul__", "Elementwise; shapes broadcast as NumPy's do.",
        ">>> (Tensor([1, 2]) * Tensor([3, 4])).tolist()\n[3.0, 8.0]",
        "As for +, with another op.",
    ),
    Part(
        "Tensor.__truediv__", "Elementwise; integers become floats first.",
        ">>> (Tensor([1, 3]) / 2).tolist()\n[0.5, 1.5]",
        "floating(self) makes a float of an integer tensor.",
    ),
    Part(
        "Tensor.sum", "`axis` is None for all, one axis or several; with `keepdims` they stay, of size 1.",
        ">>> Tensor([[1, 2], [3, 4]]).sum(axis=0).tolist()\n[4.0, 6.0]",
        "apply(ops.sum, self, axis=..., keepdims=...); axes_of brings the axis into the form that ops take.",
    ),
    Part(
        "Tensor.mean", "", ">>> Tensor([[1, 2], [3, 6]]).mean(axis=1).tolist()\n[1.5, 4.5]",
        "A sum times one over a count. The count is how many elements went into each element of the sum.",
    ),
    Part(
        "Tensor.var", "", ">>> Tensor([1, 2, 3, 4]).var().item()\n1.25",
        "Subtract the mean with keepdims=True, so that it broadcasts back; square; take the mean.",
    ),
    Part(
        "Tensor.reshape", "Raises ValueError where the numbers of elements differ.",
        ">>> Tensor([1, 2, 3, 4]).reshape(2, -1).tolist()\n[[1.0, 2.0], [3.0, 4.0]]",
        "sizes(shape) reads reshape(2, 3) and reshape((2, 3)) alike, arguments.all_sizes works out the -1, "
        "ops.reshape does the rest.",
    ),
    Part(
        "Tensor.transpose", "", ">>> Tensor([[1, 2, 3]]).transpose().shape\n(3, 1)",
        "arguments.exchanged(self.ndim, sizes(axes)) is the order of axes that self.permute needs; with fewer than "
        "two axes there is nothing to exchange.",
    ),
    Part(
        "matmul", "(..., n, k) times (..., k, m) is (..., n, m). Raises ValueError for a number.",
        ">>> matmul(Tensor([[1, 2]]), Tensor([[3], [4]])).tolist()\n[[11.0]]",
        "as_tensor brings both sides into tensors. ops.matmul wants two axes at least: unsqueeze a vector, on the left "
        "at 0, on the right at 1, and squeeze that axis away at the end.",
    ),
)  # fmt: skip

CHECKS = (
    Check("Tensor.item", "one element becomes a Python number, and several are an error", (
        ("Tensor(2.5).item()", 2.5),
        ("type(Tensor([[3]]).item()).__name__", "float"),
        ("Tensor([1, 2]).item()", Raises("ValueError")),
        ("Tensor([]).item()", Raises("ValueError")),
    )),
    Check("Tensor.__add__", "+ adds, and broadcasts as NumPy does", (
        ("Tensor(1) + Tensor(2)", 3),
        ("Tensor([1, 2]) + Tensor([10, 20])", [11, 22]),
        ("Tensor([1, 2]) + 10", [11, 12]),
        ("Tensor([1, 2]) + np.array([3, 4])", [4, 6]),
        ("Tensor([[1], [2]]) + Tensor([10, 20, 30])", [[11, 21, 31], [12, 22, 32]]),
        ("Tensor([1, 2, 3]) + Tensor([1, 2])", Raises("ValueError")),
        ("a = Tensor([1, 2])\nb = a + 1\na", [1, 2]),
    )),
    Check("Tensor.__rsub__", "number - tensor takes the tensor away from the number", (
        ("10 - Tensor(1)", 9),
        ("10 - Tensor([1, 2])", [9, 8]),
        ("0.5 - Tensor([[1], [0]])", [[-0.5], [0.5]]),
    )),
    Check("Tensor.__mul__", "* multiplies element by element", (
        ("Tensor(2) * Tensor(3)", 6),
        ("Tensor([1, 2]) * Tensor([3, 4])", [3, 8]),
        ("Tensor([[1, 2], [3, 4]]) * Tensor([[5, 6], [7, 8]])", [[5, 12], [21, 32]]),
        ("Tensor([[1], [2]]) * Tensor([10, 20])", [[10, 20], [20, 40]]),
    )),
    Check("Tensor.__truediv__", "/ divides, and integers become floats", (
        ("Tensor(1) / Tensor(2)", 0.5),
        ("Tensor([1, 3]) / 2", [0.5, 1.5]),
        ("Tensor(np.array([1, 3])) / 2", [0.5, 1.5]),
        ("Tensor([1.0]) / Tensor([0.0])", [float("inf")]),
    )),
    Check("Tensor.sum", "sums run over all axes, one, or several, and may keep them", (
        ("Tensor([1, 2, 3]).sum()", 6),
        ("Tensor([[1, 2], [3, 4]]).sum(axis=0)", [4, 6]),
        ("Tensor([[1, 2], [3, 4]]).sum(axis=1)", [3, 7]),
        ("Tensor([[1, 2], [3, 4]]).sum(axis=-1, keepdims=True)", [[3], [7]]),
        ("Tensor(np.ones((2, 3, 4))).sum(axis=(0, 2))", [8, 8, 8]),
        ("Tensor([[1, 2]]).sum(axis=5)", Raises("ValueError")),
    )),
    Check("Tensor.mean", "a mean divides by how many elements went into it", (
        ("Tensor([1, 2]).mean()", 1.5),
        ("Tensor([[1, 2], [3, 6]]).mean(axis=1)", [1.5, 4.5]),
        ("Tensor([[1, 2], [3, 6]]).mean(axis=0, keepdims=True)", [[2, 4]]),
        ("Tensor(np.arange(24).reshape(2, 3, 4)).mean(axis=(0, 2))", [7.5, 11.5, 15.5]),
    )),
    Check("Tensor.var", "a variance is the mean of squared distances to the mean", (
        ("Tensor([1, 3]).var()", 1),
        ("Tensor([1, 2, 3, 4]).var()", 1.25),
        ("Tensor([[1, 3], [5, 5]]).var(axis=1)", [1, 0]),
        ("Tensor([[1, 3], [5, 5]]).var(axis=0, keepdims=True)", [[4, 1]]),
    )),
    Check("Tensor.reshape", "the same elements take another shape", (
        ("Tensor([1, 2, 3, 4]).reshape(2, 2)", [[1, 2], [3, 4]]),
        ("Tensor([[1, 2], [3, 4]]).reshape((4,))", [1, 2, 3, 4]),
        ("Tensor(np.arange(6)).reshape(3, -1)", [[0, 1], [2, 3], [4, 5]]),
        ("Tensor([1, 2, 3]).reshape(2, 2)", Raises("ValueError")),
        ("Tensor([1, 2, 3]).reshape(2, -1)", Raises("ValueError")),
    )),
    Check("Tensor.transpose", "two axes change places, the last two unless others are said", (
        ("Tensor([[1, 2, 3]]).transpose()", [[1], [2], [3]]),
        ("Tensor([1, 2]).transpose()", [1, 2]),
        ("Tensor(np.zeros((2, 3, 4))).transpose().shape", (2, 4, 3)),
        ("Tensor(np.zeros((2, 3, 4))).transpose(0, 2).shape", (4, 3, 2)),
        ("Tensor(np.zeros((2, 3, 4))).transpose(2, 0, 1).shape", (4, 2, 3)),
        ("Tensor(np.arange(6).reshape(2, 3)).T", [[0, 3], [1, 4], [2, 5]]),
    )),
    Check("matmul", "rows times columns, for matrices, vectors and stacks of matrices", (
        ("Tensor([[2]]) @ Tensor([[3]])", [[6]]),
        ("Tensor([[1, 2], [3, 4]]) @ Tensor([[5, 6], [7, 8]])", [[19, 22], [43, 50]]),
        ("Tensor([[1, 2], [3, 4]]) @ Tensor([1, 10])", [21, 43]),
        ("Tensor([1, 10]) @ Tensor([[1, 2], [3, 4]])", [31, 42]),
        ("Tensor([1, 2]) @ Tensor([3, 4])", 11),
        ("(Tensor(np.ones((5, 2, 3))) @ Tensor(np.ones((3, 4)))).shape", (5, 2, 4)),
        ("Tensor([[1, 2]]) @ Tensor([[1, 2]])", Raises("ValueError")),
        ("Tensor([1]) @ Tensor(1)", Raises("ValueError")),
    )),
)  # fmt: skip

MODULE = Module(
    2, "tensor", "Can I make arrays, compute with them and change their shape?",
    {"tinytorch.core.tensor": PARTS}, "from tinytorch.core.tensor import Tensor, matmul", CHECKS,
)  # fmt: skip
