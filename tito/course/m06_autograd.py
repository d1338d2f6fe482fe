"""Module 06: automatic differentiation, the walk back along what was computed."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "no_grad", "", ">>> x = Tensor([1.0], requires_grad=True)\n>>> with no_grad():\n...     (x * 2).requires_grad\n"
        "False",
        "Remember _tape.recording, make it False, yield, and bring it back in a finally, for the block may raise.",
    ),
    Part(
        "Node.gradients", "", ">>> a = Tensor([2.0], requires_grad=True)\n>>> node = (a * Tensor([3.0])).grad_fn\n"
        ">>> node.gradients(np.ones(1, np.float32))[0].tolist()\n[3.0]",
        "A node is a tuple: op, inputs, arrays, params, out, made_at. op.gradient(need, g, out, *arrays, **params) is "
        "the rule; `need` says of each input whether it is a tensor that requires a gradient.",
    ),
    Part(
        "like", "", ">>> like(np.zeros((1, 2), np.float32), np.ones((3, 2), np.float32)).tolist()\n[[3.0, 3.0]]",
        "An input that was broadcast was used many times, so its gradient is the sum: ops.sum_to(gradient, shape=...). "
        "ops.cast(gradient, dtype=...) takes the name of a dtype.",
    ),
    Part(
        "sorted_nodes", "", ">>> x = Tensor([1.0], requires_grad=True)\n>>> y = (x * 2) * 3\n"
        ">>> [node.name for node in sorted_nodes(y.grad_fn)]\n['MulBackward', 'MulBackward']",
        "Go from the root along node.inputs and their _grad_fn, with a list as a stack and a set of what was found; "
        "recursion ends at a thousand layers. Sort by made_at, the latest first.",
    ),
    Part(
        "backward", "", ">>> x = Tensor([3.0], requires_grad=True)\n>>> backward((x * x).sum())\n>>> x.grad.tolist()\n"
        "[6.0]",
        "Keep the gradients that are on their way in a dict by node, beginning with the root's. Visit sorted_nodes: "
        "take "
        "the node's gradient out, ask node.gradients(g), bring each into the form of its input with `like`. A leaf is "
        "given it (and what retains its own); a tensor with a _grad_fn adds it to what is on its way there. "
        "_seed(tensor, gradient) is what to begin with.",
    ),
)  # fmt: skip

X = "x = Tensor([2.0, 3.0], requires_grad=True)\n"
CHECKS = (
    Check("no_grad", "inside nothing is recorded, afterwards it is as before", (
        (f"{X}with no_grad():\n    y = x * 2\ny.requires_grad", False),
        (f"{X}with no_grad():\n    pass\n(x * 2).requires_grad", True),
        (f"{X}try:\n    with no_grad():\n        raise KeyError\nexcept KeyError:\n    pass\n"
         "(x * 2).requires_grad", True),
        (f"{X}with no_grad():\n    with no_grad():\n        pass\n    y = x * 2\ny.requires_grad", False),
        ("@no_grad()\ndef f(x):\n    return x * 2\nf(Tensor([1.0], requires_grad=True)).requires_grad", False),
    )),
    Check("Node.gradients", "a node gives the gradient of each of its inputs", (
        (f"{X}node = (x * Tensor([5.0, 7.0])).grad_fn\nnode.gradients(np.ones(2, np.float32))[0]", [5, 7]),
        (f"{X}node = (x * Tensor([5.0, 7.0])).grad_fn\nnode.gradients(np.float32([10, 1]))[0]", [50, 7]),
    )),
    Check("backward", "a gradient goes back through one op", (
        (f"{X}(x * 3).sum().backward()\nx.grad", [3, 3]),
        (f"{X}x.sum().backward()\nx.grad", [1, 1]),
        (f"{X}(x * 3).backward(np.array([1.0, 10.0]))\nx.grad", [3, 30]),
        (f"{X}x.backward(np.array([1.0, 2.0]))\nx.grad", [1, 2]),
    )),
    Check("backward", "a tensor that is used twice gets both gradients", (
        ("x = Tensor([3.0], requires_grad=True)\n(x + x).backward()\nx.grad", [2]),
        (f"{X}(x * x).sum().backward()\nx.grad", [4, 6]),
        (f"{X}y = x * 2\n(y * y + y).sum().backward()\nx.grad", [18, 26]),
        (f"{X}x.sum().backward()\nx.sum().backward()\nx.grad", [2, 2]),
    )),
    Check("like", "what was broadcast gets the sum of the gradients", (
        ("x = Tensor([1.0], requires_grad=True)\n(x * Tensor([1.0, 2.0, 4.0])).sum().backward()\nx.grad", [7]),
        ("x = Tensor(np.ones((2, 1)), requires_grad=True)\n(x * Tensor([[1.0, 2.0]])).sum().backward()\nx.grad",
         [[3], [3]]),
        ("x = Tensor(2.0, requires_grad=True)\n(x + Tensor(np.zeros((2, 3)))).sum().backward()\nx.grad", 6),
        ("b = Tensor([1.0, 1.0], requires_grad=True)\n(Tensor(np.ones((3, 2))) + b).sum().backward()\nb.grad", [3, 3]),
    )),
    Check("like", "a gradient has the dtype of what it belongs to", (
        ("x = Tensor([1.0], requires_grad=True)\n(x.astype('float64') * 2).sum().backward()\nx.grad.dtype.name",
         "float32"),
        ("like(np.zeros(2, np.float32), np.ones(2)).dtype.name", "float32"),
    )),
    Check("sorted_nodes", "what was made later comes first, and each node once", (
        (f"{X}y = (x * 2).exp()\n[node.name for node in sorted_nodes(y.grad_fn)]", ["ExpBackward", "MulBackward"]),
        (f"{X}a = x * 2\nb = a.exp()\n[node.name for node in sorted_nodes((a + b).grad_fn)]",
         ["AddBackward", "ExpBackward", "MulBackward"]),
        (f"{X}a = x * 2\nlen(sorted_nodes((a * a * a).grad_fn))", 3),
    )),
    Check("backward", "each node is visited once, however often it was used", (
        (f"{X}y = x\nfor _ in range(60):\n    y = y + y\ny.sum().backward()\nfloat(x.grad[0]) == 2.0**60", True),
        ("x = Tensor([1.0], requires_grad=True)\ny = x\nfor _ in range(3000):\n    y = y + 1\ny.backward()\n"
         "x.grad", [1]),
    )),
    Check("backward", "only leaves that require gradients have them, and what asked to retain", (
        (f"{X}c = Tensor([1.0, 1.0])\n(x * c).sum().backward()\nc.grad", None),
        (f"{X}y = x * 2\ny.sum().backward()\ny.grad", None),
        (f"{X}y = x * 2\ny.retain_grad()\n(y * 3).sum().backward()\ny.grad", [3, 3]),
        (f"{X}(x.detach() * 2 + x).sum().backward()\nx.grad", [1, 1]),
    )),
    Check("backward", "what has no gradient is an error", (
        ("Tensor([1.0]).backward()", Raises("RuntimeError", "requires_grad=True")),
        (f"{X}(x * 2).backward()", Raises("RuntimeError", "reduce it first")),
        (f"{X}(x * 2).backward(np.ones(3))", Raises("ValueError", "must agree")),
    )),
    Check("backward", "a network's gradients are those of the formula", (
        ("w = Tensor([[1.0], [2.0]], requires_grad=True)\nx = Tensor([[1.0, 2.0], [3.0, 4.0]])\n"
         "((x @ w) * (x @ w)).mean().backward()\nw.grad", [[38], [54]]),
    )),
)  # fmt: skip

MODULE = Module(
    6, "autograd", "Can I find the gradient of whatever was computed?",
    {"tinytorch.core.autograd": PARTS},
    "from tinytorch.core.autograd import backward, like, no_grad, sorted_nodes\n"
    "from tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
