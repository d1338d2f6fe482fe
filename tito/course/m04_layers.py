"""Module 04: layers, and how a model finds its parameters."""

from __future__ import annotations

from tito.checks import Check, Module, Part

PARTS = (
    Part(
        "Layer.named_parameters", "Yields (dotted name, tensor), the layer's own before those below.",
        ">>> [name for name, _ in Sequential(Linear(2, 1)).named_parameters()]\n['0.weight', '0.bias']",
        "self.named_modules() yields (prefix, layer) for this layer and all below; vars(layer) are a layer's "
        "attributes. A tensor that two layers share counts once: remember id(value).",
    ),
    Part(
        "Linear.__init__", "weight is (in_features, out_features), bias (out_features,) or None.",
        ">>> Linear(3, 2).weight.shape\n(3, 2)",
        "uniform_parameter(shape, fan_in) draws numbers that are small enough for so many inputs.",
    ),
    Part(
        "Linear.forward", "x (..., in_features) gives (..., out_features). Raises ValueError where they do not fit.",
        ">>> Linear(3, 2)(Tensor([[1, 2, 3]])).shape\n(1, 2)",
        "x @ self.weight + self.bias, if there is one; apply(ops.linear, x, weight, bias) does it in one pass.",
    ),
    Part(
        "Dropout.forward", "x of any shape gives the same shape. `training`, if it is given, decides in place of "
        "self.training.",
        ">>> Dropout(0.5).eval()(Tensor([1, 2])).tolist()\n[1.0, 2.0]",
        "ops.dropout takes x, a key Tensor(np.asarray(self.draw(), np.int64)), and p=...; with p == 0, or when not "
        "training, x stays as it is.",
    ),
    Part(
        "Flatten.forward", "", ">>> Flatten()(Tensor(np.zeros((2, 3, 4)))).shape\n(2, 12)",
        "A Tensor can flatten itself from an axis on.",
    ),
    Part(
        "Sequential.forward", "", ">>> Sequential(Flatten(), Linear(6, 2))(Tensor(np.zeros((1, 2, 3)))).shape\n(1, 2)",
        "What one layer gives is what the next one takes.",
    ),
)  # fmt: skip

SETUP = "l = Linear(2, 3)\nl.weight.data[...] = [[1, 2, 3], [4, 5, 6]]\nl.bias.data[...] = [10, 20, 30]\n"
CHECKS = (
    Check("Linear.__init__", "weights and bias have the right shapes and want gradients", (
        ("Linear(2, 3).weight.shape", (2, 3)),
        ("Linear(2, 3).bias.shape", (3,)),
        ("Linear(2, 3, bias=False).bias", None),
        ("Linear(2, 3).weight.requires_grad", True),
        ("Linear(2, 3).bias.requires_grad", True),
    )),
    Check("Linear.__init__", "weights start small and all different, from NumPy's generator", (
        ("bool(np.abs(Linear(100, 50).weight.data).max() <= 0.1)", True),
        ("bool(Linear(100, 50).weight.data.std() > 0.04)", True),
        ("len(np.unique(Linear(10, 10).weight.data)) > 90", True),
        ("np.random.seed(1)\na = Linear(3, 3)\nnp.random.seed(1)\n"
         "bool((a.weight.data == Linear(3, 3).weight.data).all())",
         True),
    )),
    Check("Linear.forward", "x times weight plus bias", (
        (f"{SETUP}l(Tensor([[0, 0]]))", [[10, 20, 30]]),
        (f"{SETUP}l(Tensor([[1, 0]]))", [[11, 22, 33]]),
        (f"{SETUP}l(Tensor([[1, 1], [0, 2]]))", [[15, 27, 39], [18, 30, 42]]),
        (f"{SETUP}l.bias = None\nl(Tensor([[1, 1]]))", [[5, 7, 9]]),
        ("Linear(2, 3)(Tensor(np.zeros((4, 5, 2)))).shape", (4, 5, 3)),
    )),
    Check("Linear.forward", "weight, bias and x get gradients", (
        (f"{SETUP}l(Tensor([[1, 2]])).sum().backward()\nl.weight.grad", [[1, 1, 1], [2, 2, 2]]),
        (f"{SETUP}l(Tensor([[1, 2], [3, 4]])).sum().backward()\nl.bias.grad", [2, 2, 2]),
        (f"{SETUP}x = Tensor([[1.0, 2.0]], requires_grad=True)\nl(x).sum().backward()\nx.grad", [[6, 15]]),
    )),
    Check("Layer.named_parameters", "every parameter of every layer is found once, with its path as name", (
        ("[name for name, _ in Linear(2, 3).named_parameters()]", ["weight", "bias"]),
        ("[name for name, _ in Sequential(Linear(2, 3), Linear(3, 1, bias=False)).named_parameters()]",
         ["0.weight", "0.bias", "1.weight"]),
        ("l = Linear(2, 2)\nlen(Sequential(l, l).parameters())", 2),
        ("a, b = Linear(2, 2), Linear(2, 2)\nb.weight = a.weight\nlen(Sequential(a, b).parameters())", 3),
        ("class Net(Layer):\n    def __init__(self):\n        self.parts = {'a': [Linear(1, 1)]}\n"
         "[name for name, _ in Net().named_parameters()]", ["parts.a.0.weight", "parts.a.0.bias"]),
    )),
    Check("Dropout.forward", "in evaluation nothing happens, in training a share becomes 0 and the rest grows", (
        ("Dropout(0.5).eval()(Tensor([1, 2]))", [1, 2]),
        ("Dropout(0.0)(Tensor([1, 2]))", [1, 2]),
        ("Dropout(1.0)(Tensor([1, 2]))", [0, 0]),
        ("sorted(set(Dropout(0.5)(Tensor(np.ones(100))).data.tolist()))", [0, 2]),
        ("0.2 < float((Dropout(0.25)(Tensor(np.ones(10000))).data == 0).mean()) < 0.3", True),
        ("Dropout(0.5).eval()(Tensor([1, 2]), training=True).data.sum() in (0, 2, 4, 6)", True),
        ("d = Dropout(0.5)\nx = Tensor(np.ones(100))\nbool((d(x).data == d(x).data).all())", False),
    )),
    Check("Flatten.forward", "all axes but the first become one", (
        ("Flatten()(Tensor([[[1, 2], [3, 4]]]))", [[1, 2, 3, 4]]),
        ("Flatten()(Tensor(np.zeros((2, 3, 4)))).shape", (2, 12)),
        ("Flatten(start_dim=2)(Tensor(np.zeros((2, 3, 4, 5)))).shape", (2, 3, 20)),
    )),
    Check("Sequential.forward", "layers run one after another, in their order", (
        ("Sequential()(Tensor([1, 2]))", [1, 2]),
        (f"{SETUP}Sequential(l, Scale(2.0))(Tensor([[1, 0]]))", [[22, 44, 66]]),
        (f"{SETUP}Sequential([Scale(2.0), l])(Tensor([[1, 0]]))", [[12, 24, 36]]),
    )),
)  # fmt: skip

MODULE = Module(
    4, "layers", "Can I build a network of layers that knows its own parameters?",
    {"tinytorch.core.layers": PARTS},
    "from tinytorch.core.layers import Dropout, Flatten, Layer, Linear, Scale, Sequential\n"
    "from tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
