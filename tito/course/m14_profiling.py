"""Module 14: what a model costs."""

from __future__ import annotations

from tito.checks import Check, Module, Part

PARTS = (
    Part(
        "parameters", "", ">>> parameters(Linear(2, 3))\n9", "model.parameters() has each once; a tensor knows its "
        "size.",
    ),
    Part(
        "flops", "Raises what the model raises.", ">>> flops(Linear(2, 3, bias=False), np.zeros((1, 2), "
        "np.float32))\n12",
        "Remember each layer's mode, model.eval(), and in a finally bring the modes back. Inside use_backend('numpy'), "
        "no_grad() and record(model) run the model on tensors; the recording's rows know their flops.",
    ),
)  # fmt: skip

X = "x = np.zeros((1, 4), np.float32)\n"
CHECKS = (
    Check("parameters", "every number that is learned counts once", (
        ("parameters(Sequential())", 0),
        ("parameters(Linear(2, 3))", 9),
        ("parameters(Linear(2, 3, bias=False))", 6),
        ("l = Linear(2, 2)\nparameters(Sequential(l, ReLU(), l))", 6),
    )),
    Check("flops", "a multiply-add counts 2, for every row of the batch", (
        (f"{X}flops(Linear(4, 3, bias=False), x)", 24),
        (f"{X}flops(Linear(4, 3, bias=False), np.zeros((5, 4), np.float32))", 120),
        (f"{X}flops(Sequential(Linear(4, 3, bias=False), Linear(3, 2, bias=False)), x)", 36),
        (f"{X}flops(Linear(4, 3, bias=False), Tensor(x))", 24),
    )),
    Check("flops", "the model is as it was, and was asked as in evaluation", (
        (f"{X}m = Sequential(Linear(4, 2), Dropout(0.5))\n_ = flops(m, x)\nm.layers[1].training", True),
        (f"{X}m = Sequential(Linear(4, 2), Dropout(0.5)).eval()\n_ = flops(m, x)\nm.layers[1].training", False),
        (f"{X}m = Linear(4, 2, bias=False)\nflops(Sequential(m, Dropout(0.5)), x) == flops(m, x)", True),
        (f"{X}m = Sequential(Linear(4, 2), Dropout(0.5))\ntry:\n    _ = flops(m, np.zeros((1, 3), np.float32))\n"
         "except ValueError:\n    pass\nm.training", True),
    )),
)  # fmt: skip

MODULE = Module(
    14, "profiling", "Can I say what an answer costs before I time it?",
    {"profiler.cost": PARTS},
    "from profiler.cost import flops, parameters\nfrom tinytorch.core.activations import ReLU\n"
    "from tinytorch.core.layers import Dropout, Linear, Sequential\nfrom tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
