"""Module 15: quantisation, weights of one byte."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "quantize", "", ">>> m = quantize(Sequential(Linear(2, 2)), np.ones((1, 2), np.float32))\n"
        ">>> m.layers[0].weight.format.codes.dtype.name\n'int8'",
        "Check the percentile; fold_batch_norm(model).eval() is a copy; require_weights finds what has weights; "
        "Int8.pack(weight, one.out_axis, grid) makes codes, weight_tensor a weight of them. A weight that is_sparse "
        "stays "
        "so where that is smaller(codes, one).",
    ),
    Part(
        "weights_only", "", ">>> m = quantize(Sequential(Linear(2, 2)), np.ones((1, 2), np.float32))\n"
        ">>> weights_only(m).layers[0].weight.format.grid is None\nTrue",
        "with_formats(model, change) copies a model with each format changed; dataclasses.replace(format, "
        "grid=None) is a "
        "format without a grid.",
    ),
    Part(
        "activation_grids", "Raises ValueError for no samples.",
        ">>> grids = activation_grids(Sequential(Linear(2, 2)), np.float32([[0.0, 2.55]]))\n"
        ">>> [round(float(grid.scale), 4) for grid in grids.values()]\n[0.01]",
        "dispatch.watch(look) calls look(event) at every op; event.op.name in WEIGHTED_OPS, event.scope is the layer, "
        "event.arrays[0] its input. Grid.covering(low, high) of the percentiles of all that was seen.",
    ),
)  # fmt: skip

M = (
    "np.random.seed(2)\nm = Sequential(Linear(8, 16), ReLU(), Linear(16, 4)).eval()\n"
    "x = np.random.rand(64, 8).astype(np.float32)\n"
)
CHECKS = (
    Check("quantize", "weights are int8, and answers stay close", (
        (f"{M}quantize(m, x).layers[0].weight.format.codes.dtype.name", "int8"),
        (f"{M}q = quantize(m, x)\nbool(np.abs(q.predict(x) - m.predict(x)).max() < 0.02)", True),
        (f"{M}q = quantize(m, x)\nbool(np.abs(q.layers[0].weight.data - m.layers[0].weight.data).max() < 0.003)", True),
        (f"{M}q = quantize(m, x)\nint(np.abs(q.layers[2].weight.format.codes).max())", 127),
    )),
    Check("quantize", "it is a copy, in evaluation mode", (
        (f"{M}before = m.layers[0].weight.data.copy()\n_ = quantize(m, x)\n"
         f"bool((m.layers[0].weight.data == before).all())",
         True),
        (f"{M}m.train()\n[layer.training for layer in quantize(m, x).modules()] == [False] * 4", True),
    )),
    Check("quantize", "a batch norm becomes part of the weights before it", (
        ("m = Sequential(Conv2d(1, 2, 3), BatchNorm2d(2), ReLU()).eval()\n"
         "x = np.random.rand(4, 1, 6, 6).astype(np.float32)\n"
         "m.layers[1].running_var[...] = 4\nq = quantize(m, x)\n"
         "bool(np.abs(q.predict(x) - m.predict(x)).max() < 0.05)", True),
    )),
    Check("quantize", "inputs have grids only where that is asked for", (
        (f"{M}quantize(m, x).layers[0].weight.format.grid is None", False),
        (f"{M}quantize(m, x, activations=False).layers[0].weight.format.grid is None", True),
    )),
    Check("quantize", "what cannot be is an error", (
        (f"{M}quantize(m, x[:0])", Raises("ValueError", "no samples")),
        (f"{M}quantize(m, x, percentile=40)", Raises("ValueError", "percentile")),
        ("quantize(Sequential(ReLU()), np.ones((1, 2), np.float32))", Raises("ValueError")),
    )),
    Check("activation_grids", "each input's grid covers what was seen", (
        ("g = activation_grids(Sequential(Linear(1, 1)), np.float32([[0.0], [2.55]]))\n"
         "[float(one.scale) for one in g.values()]", [0.01]),
        (f"{M}len(activation_grids(m, x))", 2),
        (f"{M}set(activation_grids(m, x)) == {{id(m.layers[0]), id(m.layers[2])}}", True),
        ("x = np.float32([[0.0]] * 98 + [[1.0], [100.0]])\n"
         "g = activation_grids(Sequential(Linear(1, 1)), x, 99.0)\n"
         "[bool(one.scale < 0.05) for one in g.values()] == [True]",
         True),
    )),
    Check("weights_only", "codes stay, grids go", (
        (f"{M}w = weights_only(quantize(m, x))\nw.layers[0].weight.format.grid", None),
        (f"{M}q = quantize(m, x)\nw = weights_only(q)\n"
         "bool((w.layers[0].weight.format.codes == q.layers[0].weight.format.codes).all())", True),
        (f"{M}q = quantize(m, x)\n_ = weights_only(q)\nq.layers[0].weight.format.grid is None", False),
    )),
)  # fmt: skip

MODULE = Module(
    15, "quantization", "Can I make every weight four times smaller?",
    {"tinytorch.perf.quantization": PARTS},
    "from tinytorch.core.activations import ReLU\nfrom tinytorch.core.layers import Linear, Sequential\n"
    "from tinytorch.core.spatial import BatchNorm2d, Conv2d\n"
    "from tinytorch.perf.quantization import activation_grids, quantize, weights_only",
    CHECKS,
)  # fmt: skip
