"""Module 18: acceleration, one plan in place of many calls."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PLAN = (
    Part(
        "accelerate", "", ">>> m = Sequential(Linear(2, 2))\n>>> accelerate(m, np.zeros((1, 2), np.float32))(\n"
        "...     np.zeros((1, 2), np.float32)).shape\n(1, 2)",
        "Evaluation mode first, or dropout would be captured; capture(model.predict, array, threads=threads) makes the "
        "plan. The example may be a Tensor.",
    ),
)  # fmt: skip

FOLDING = (
    Part(
        "absorb", "The layer's weight and bias change; the norm does not.",
        ">>> m = Sequential(Linear(1, 1), BatchNorm2d(1))\n>>> m.layers[0].weight.data[...] = 3\n"
        ">>> m.layers[0].bias.data[...] = 1\n>>> m.layers[1].gamma.data[...] = 2\n>>> m.layers[1].eps = 0.0\n"
        ">>> absorb(next(weighted_layers(m)), m.layers[1])\n>>> m.layers[0].weight.item(), m.layers[0].bias.item()\n"
        "(6.0, 2.0)",
        "s = gamma / sqrt(running_var + eps), along one.out_axis of the weight; the bias is (b - mean) s + beta, "
        "and b is "
        "0 where there is none. In float64, made float32 at the end. A weight that is_sparse stays so where that is "
        "smaller.",
    ),
)  # fmt: skip

M = (
    "np.random.seed(0)\nm = Sequential(Linear(8, 16), ReLU(), Dropout(0.5), Linear(16, 4))\n"
    "x = np.random.rand(1, 8).astype(np.float32)\n"
)
B = (
    "np.random.seed(0)\nm = Sequential(Conv2d(2, 3, 3, bias={}), BatchNorm2d(3)).eval()\nn = m.layers[1]\n"
    "n.running_mean[...] = [1, 2, 3]\nn.running_var[...] = [4, 1, 9]\nn.gamma.data[...] = [2, -1, 3]\n"
    "n.beta.data[...] = [5, 6, 7]\nx = np.random.rand(2, 2, 5, 5).astype(np.float32)\ny = m.predict(x)\n"
)
CHECKS = (
    Check("accelerate", "the plan answers as the model does", (
        (f"{M}p = accelerate(m, x)\nbool(np.allclose(p(x), m.eval().predict(x), atol=1e-5))", True),
        (f"{M}p = accelerate(m, x)\nz = np.random.rand(1, 8).astype(np.float32)\n"
         "bool(np.allclose(p(z), m.eval().predict(z), atol=1e-5))", True),
        (f"{M}type(accelerate(m, x)).__name__", "Plan"),
        (f"{M}accelerate(m, Tensor(x))(x).shape", (1, 4)),
    )),
    Check("accelerate", "dropout has no part in it, and no gradient is recorded", (
        (f"{M}m.train()\np = accelerate(m, x)\nbool((p(x) == p(x)).all())", True),
        (f"{M}_ = accelerate(m.train(), x)\nm.training", False),
    )),
    Check("accelerate", "a query of another shape is an error", (
        (f"{M}accelerate(m, x)(np.zeros((2, 8), np.float32))", Raises("ValueError")),
    )),
    Check("absorb", "weights and bias do the work of the batch norm behind them", (
        (f"{B.format(True)}absorb(next(weighted_layers(m)), n)\n"
         "bool(np.abs(m.layers[0].predict(x) - y).max() < 1e-4)", True),
        (f"{B.format(False)}absorb(next(weighted_layers(m)), n)\n"
         f"bool(np.abs(m.layers[0].predict(x) - y).max() < 1e-4)", True),
        (f"{B.format(True)}bool(np.abs(fold_batch_norm(m).predict(x) - y).max() < 1e-4)", True),
    )),
    Check("absorb", "weights stay float32, and the norm stays as it is", (
        (f"{B.format(True)}absorb(next(weighted_layers(m)), n)\nm.layers[0].weight.dtype.name", "float32"),
        (f"{B.format(False)}absorb(next(weighted_layers(m)), n)\nm.layers[0].bias.dtype.name", "float32"),
        (f"{B.format(True)}absorb(next(weighted_layers(m)), n)\nn.gamma", [2, -1, 3]),
    )),
)  # fmt: skip

MODULE = Module(
    18, "acceleration", "Can I make the same answer come sooner?",
    {"tinytorch.perf.acceleration": PLAN, "tinytorch.perf.folding": FOLDING},
    "from tinytorch.core.activations import ReLU\nfrom tinytorch.core.layers import Dropout, Linear, Sequential\n"
    "from tinytorch.core.spatial import BatchNorm2d, Conv2d\nfrom tinytorch.core.tensor import Tensor\n"
    "from tinytorch.perf.acceleration import accelerate\nfrom tinytorch.perf.folding import absorb, fold_batch_norm\n"
    "from tinytorch.perf.weighted import weighted_layers",
    CHECKS,
)  # fmt: skip
