"""Module 16: compression, leaving out what contributes least."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "magnitude_prune", "", ">>> m = Sequential(Linear(10, 10))\n"
        ">>> float(measure_sparsity(magnitude_prune(m, 0.5)))\n0.5",
        "compared(...) gives the layers in groups. Of a group: all magnitudes in one row, np.argsort with "
        "kind='stable', "
        "False for the first int(sparsity * size); split the mask again; masked(one, mask) is the new weight, "
        "weight_tensor "
        "makes a tensor of it. Work on a deep copy.",
    ),
    Part(
        "strongest_channels", "", ">>> m = Sequential(Linear(1, 3))\n>>> m.layers[0].weight.data[...] = [[1, -5, 3]]\n"
        ">>> strongest_channels(next(weighted_layers(m)), 0.34).tolist()\n[1, 2]",
        "Sum of magnitudes over all axes but one.out_axis; drop int(fraction * n) of the smallest, but not all; sorted "
        "indices.",
    ),
    Part(
        "measure_sparsity", "", ">>> m = Sequential(Linear(1, 4))\n>>> m.layers[0].weight.data[...] = [[0, 1, 0, 2]]\n"
        ">>> float(measure_sparsity(m))\n0.5",
        "weighted_layers(model) have a .layer.weight; np.count_nonzero. Biases do not count.",
    ),
)  # fmt: skip

L = "m = Sequential(Linear(2, 2))\nm.layers[0].weight.data[...] = [[1, -4], [3, 2]]\n"
TWO = (
    "m = Sequential(Linear(1, 2), Linear(2, 1))\nm.layers[0].weight.data[...] = [[1, 2]]\n"
    "m.layers[1].weight.data[...] = [[10], [20]]\n"
)
CHECKS = (
    Check("magnitude_prune", "the smallest weights become zeros, and the others stay", (
        (f"{L}magnitude_prune(m, 0.25).layers[0].weight", [[0, -4], [3, 2]]),
        (f"{L}magnitude_prune(m, 0.5).layers[0].weight", [[0, -4], [3, 0]]),
        (f"{L}magnitude_prune(m, 0.0).layers[0].weight", [[1, -4], [3, 2]]),
        (f"{L}b = m.layers[0].bias.data.copy()\n(magnitude_prune(m, 0.75).layers[0].bias - b).abs().sum().item()", 0.0),
    )),
    Check("magnitude_prune", "layers are compared with each other, or each by itself", (
        (f"{TWO}magnitude_prune(m, 0.5).layers[0].weight", [[0, 0]]),
        (f"{TWO}magnitude_prune(m, 0.5).layers[1].weight", [[10], [20]]),
        (f"{TWO}magnitude_prune(m, 0.5, scope='layer').layers[0].weight", [[0, 2]]),
        (f"{TWO}magnitude_prune(m, 0.5, scope='layer').layers[1].weight", [[0], [20]]),
    )),
    Check("magnitude_prune", "it is a copy, and a large one is stored sparsely", (
        (f"{L}_ = magnitude_prune(m, 0.5)\nm.layers[0].weight", [[1, -4], [3, 2]]),
        ("m = magnitude_prune(Sequential(Linear(64, 64)), 0.9)\ntype(m.layers[0].weight.format).__name__", "Sparse"),
        ("m = magnitude_prune(Sequential(Linear(64, 64)), 0.9)\nround(measure_sparsity(m), 2)", 0.9),
    )),
    Check("magnitude_prune", "shares that cannot be are errors", (
        (f"{L}magnitude_prune(m, 1.0)", Raises("ValueError")),
        (f"{L}magnitude_prune(m, 0.5, scope='all')", Raises("ValueError", "scope")),
        ("magnitude_prune(Sequential(), 0.5)", Raises("ValueError")),
    )),
    Check("strongest_channels", "channels with the largest weights stay, and one at least", (
        (f"{L}strongest_channels(next(weighted_layers(m)), 0.5)", [1]),
        (f"{L}strongest_channels(next(weighted_layers(m)), 0.0)", [0, 1]),
        (f"{L}strongest_channels(next(weighted_layers(m)), 0.99)", [1]),
        ("m = Sequential(Conv2d(1, 3, 1))\nm.layers[0].weight.data[...] = np.float32([3, -5, 4]).reshape(3, 1, 1, 1)\n"
         "strongest_channels(next(weighted_layers(m)), 0.4)", [1, 2]),
        ("m = Sequential(Linear(4, 2), Linear(2, 1))\nchannel_prune(m, 0.5).layers[0].weight.shape", (4, 1)),
    )),
    Check("measure_sparsity", "the share of weights that are zero", (
        (f"{L}measure_sparsity(m)", 0.0),
        (f"{L}m.layers[0].weight.data[0] = 0\nmeasure_sparsity(m)", 0.5),
        (f"{TWO}m.layers[1].weight.data[...] = 0\nmeasure_sparsity(m)", 0.5),
        (f"{L}m.layers[0].bias.data[...] = 0\nmeasure_sparsity(m)", 0.0),
        ("measure_sparsity(Sequential())", 0.0),
    )),
)  # fmt: skip

MODULE = Module(
    16, "compression", "Can I leave out what nobody would miss?",
    {"tinytorch.perf.compression": PARTS},
    "from tinytorch.core.layers import Linear, Sequential\nfrom tinytorch.core.spatial import Conv2d\n"
    "from tinytorch.perf.compression import channel_prune, magnitude_prune, measure_sparsity, strongest_channels\n"
    "from tinytorch.perf.weighted import weighted_layers",
    CHECKS,
)  # fmt: skip
