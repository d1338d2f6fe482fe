"""Module 09: images, convolution and pooling, and the batches they come in."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

SPATIAL = (
    Part(
        "Conv2d.forward", "x (N, in_channels, H, W) gives (N, out_channels, H', W').",
        ">>> Conv2d(1, 2, 3, padding=1)(Tensor(np.zeros((1, 1, 4, 4)))).shape\n(1, 2, 4, 4)",
        "apply(ops.conv2d, x, weight[, bias], stride=..., padding=..., dilation=..., groups=...); there may be no "
        "bias.",
    ),
    Part(
        "MaxPool2d.forward", "x (N, C, H, W) gives (N, C, H', W').",
        ">>> MaxPool2d(2)(Tensor([[[[1, 2], [3, 4]]]])).tolist()\n[[[[4.0]]]]",
        "ops.max_pool2d takes kernel=, stride= and padding=, pairs that the layer holds.",
    ),
    Part(
        "AvgPool2d.forward", "x (N, C, H, W) gives (N, C, H', W').",
        ">>> AvgPool2d(2)(Tensor([[[[1, 2], [3, 6]]]])).tolist()\n[[[[3.0]]]]", "As for the largest, with another op.",
    ),
    Part(
        "BatchNorm2d.forward", "x (N, C, H, W) gives the same shape. Raises ValueError for other shapes, and in "
        "training "
        "where a channel has but one value.",
        ">>> x = Tensor(np.float32([[[[1.0]]], [[[3.0]]]]))\n>>> BatchNorm2d(1)(x).data.round(2).ravel().tolist()\n"
        "[-1.0, 1.0]",
        "Evaluation: ops.batch_norm with stats = Tensor(np.stack([running_mean, running_var])). Training: "
        "ops.batch_stats(x.data) are the batch's own; ops.running_stats_step(running_mean, stats, running_var, "
        "np.array([momentum, n / (n - 1)])) moves the running ones, n values a channel; ops.batch_norm_train computes.",
    ),
)  # fmt: skip

LOADING = (
    Part(
        "TensorDataset.__getitem__", "One row of each tensor, or several where the index is an array.",
        ">>> TensorDataset([[1, 2], [3, 4]], [5, 6])[1][0].tolist()\n[3.0, 4.0]",
        "A tuple of Tensors of t.data[index], of the same dtype.",
    ),
    Part(
        "DataLoader.__len__", "How many batches an epoch has.",
        ">>> len(DataLoader(TensorDataset(range(5)), batch_size=2))\n3",
        "A last, shorter batch counts unless self.drop_last.",
    ),
    Part(
        "RandomHorizontalFlip.__call__", "images (C, H, W) or (N, C, H, W), an array or a tensor, give the same kind.",
        ">>> RandomHorizontalFlip(p=1.0)(np.float32([[[1, 2]]])).tolist()\n[[[2.0, 1.0]]]",
        "unwrapped(images) gives the array and how to wrap the result; self.rng draws one number an image; x[..., "
        "::-1] "
        "is the mirror image.",
    ),
)  # fmt: skip

C = "c = Conv2d({}, bias=False)\nc.weight.data[...] = {}\n"
ONES = C.format("1, 1, 2", "1")
RAMP = "x = Tensor(np.arange(9).reshape(1, 1, 3, 3).astype(np.float32))\n"
LOADER = "d = TensorDataset(np.arange(5), np.arange(5) * 10)\n"
CHECKS = (
    Check("Conv2d.forward", "each place is the sum of a window times the weights", (
        (f"{ONES}c(Tensor([[[[1, 2], [3, 4]]]]))", [[[[10]]]]),
        (f"{RAMP}{ONES}c(x)", [[[[8, 12], [20, 24]]]]),
        (f"{RAMP}{C.format('1, 1, 2', '[[[[1, 0], [0, -1]]]]')}c(x)", [[[[-4, -4], [-4, -4]]]]),
        (f"{RAMP}c = Conv2d(1, 1, 1)\nc.weight.data[...] = 2\nc.bias.data[...] = 5\nc(x)[0, 0, 0]", [5, 7, 9]),
    )),
    Check("Conv2d.forward", "stride, padding, dilation and groups are used", (
        (f"{RAMP}{C.format('1, 1, 2, stride=2', '1')}c(x)", [[[[8]]]]),
        (f"{RAMP}{C.format('1, 1, 3, padding=1', '1')}c(x)", [[[[8, 15, 12], [21, 36, 27], [20, 33, 24]]]]),
        (f"{RAMP}{C.format('1, 1, 2, dilation=2', '1')}c(x)", [[[[16]]]]),
        (f"{C.format('2, 2, 1, groups=2', '[[[[2]]], [[[3]]]]')}c(Tensor([[[[1]], [[1]]]]))", [[[[2]], [[3]]]]),
    )),
    Check("Conv2d.forward", "weights and images get gradients", (
        (f"{RAMP}{ONES}c(x).sum().backward()\nc.weight.grad", [[[[8, 12], [20, 24]]]]),
        (f"{ONES}x = Tensor(np.ones((1, 1, 2, 3)), requires_grad=True)\nc(x).sum().backward()\nx.grad",
         [[[[1, 2, 1], [1, 2, 1]]]]),
    )),
    Check("MaxPool2d.forward", "the largest of each window", (
        ("MaxPool2d(2)(Tensor([[[[1, 2], [3, 4]]]]))", [[[[4]]]]),
        (f"{RAMP}MaxPool2d(2, stride=1)(x)", [[[[4, 5], [7, 8]]]]),
        ("MaxPool2d(2)(Tensor([[[[-1, -2], [-3, -4]]]]))", [[[[-1]]]]),
        ("x = Tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)\nMaxPool2d(2)(x).sum().backward()\nx.grad",
         [[[[0, 0], [0, 1]]]]),
    )),
    Check("AvgPool2d.forward", "the mean of each window", (
        ("AvgPool2d(2)(Tensor([[[[1, 2], [3, 6]]]]))", [[[[3]]]]),
        (f"{RAMP}AvgPool2d(2, stride=1)(x)", [[[[2, 3], [5, 6]]]]),
        ("AvgPool2d(2, padding=1)(Tensor([[[[4, 4], [4, 4]]]]))", [[[[1, 1], [1, 1]]]]),
    )),
    Check("BatchNorm2d.forward", "in training each channel has mean 0 and variance 1", (
        ("BatchNorm2d(1)(Tensor([[[[1.0]]], [[[3.0]]]]))", [[[[-0.999995]]], [[[0.999995]]]]),
        ("b = BatchNorm2d(2)\nb.gamma.data[...] = [2, 3]\nb.beta.data[...] = [10, 20]\n"
         "y = b(Tensor(np.random.rand(8, 2, 3, 3)))\ny.data.mean((0, 2, 3)).round(3)", [10, 20]),
        ("b = BatchNorm2d(2)\nb.gamma.data[...] = [2, 3]\n"
         "b(Tensor(np.random.rand(64, 2, 3, 3))).data.std((0, 2, 3)).round(2)", [2, 3]),
    )),
    Check("BatchNorm2d.forward", "running statistics move a tenth of the way, and evaluation uses them", (
        ("b = BatchNorm2d(1)\nb(Tensor([[[[1.0]]], [[[3.0]]]]))\nb.running_mean", [0.2]),
        ("b = BatchNorm2d(1)\nb(Tensor([[[[1.0]]], [[[3.0]]]]))\nb.running_var", [1.1]),
        ("b = BatchNorm2d(1).eval()\nb(Tensor([[[[1.0]]], [[[3.0]]]]))", [[[[0.999995]]], [[[2.999985]]]]),
        ("b = BatchNorm2d(1).eval()\nb(Tensor([[[[1.0]]], [[[3.0]]]]))\nb.running_mean", [0]),
    )),
    Check("BatchNorm2d.forward", "what cannot be normalised is an error", (
        ("BatchNorm2d(1)(Tensor([[[[1.0]]]]))", Raises("ValueError")),
        ("BatchNorm2d(2)(Tensor([[[[1.0]]]]))", Raises("ValueError")),
    )),
    Check("TensorDataset.__getitem__", "a sample is a row of each tensor", (
        (f"{LOADER}[float(t.data) for t in d[3]]", [3, 30]),
        (f"{LOADER}d[np.array([0, 2])][1]", [0, 20]),
        (f"{LOADER}d[1][0].dtype.kind", "i"),
    )),
    Check("DataLoader.__len__", "how many batches there are", (
        (f"{LOADER}len(DataLoader(d, batch_size=5))", 1),
        (f"{LOADER}len(DataLoader(d, batch_size=2))", 3),
        (f"{LOADER}len(DataLoader(d, batch_size=2, drop_last=True))", 2),
        (f"{LOADER}[len(x) for x, y in DataLoader(d, batch_size=2)]", [2, 2, 1]),
        (f"{LOADER}sorted(int(i) for x, y in DataLoader(d, 2, shuffle=True, seed=0) for i in x.data)", [0, 1, 2, 3, 4]),
    )),
    Check("RandomHorizontalFlip.__call__", "left and right change places, image by image, as often as asked", (
        ("RandomHorizontalFlip(p=1.0)(np.float32([[[1, 2]]]))", [[[2, 1]]]),
        ("RandomHorizontalFlip(p=0.0)(np.float32([[[1, 2]]]))", [[[1, 2]]]),
        ("type(RandomHorizontalFlip(p=1.0)(Tensor([[[1.0, 2.0]]]))).__name__", "Tensor"),
        ("x = np.tile(np.float32([0, 1]), (1000, 1, 1, 1))\n"
         "0.2 < float(RandomHorizontalFlip(p=0.25, seed=0)(x)[:, 0, 0, 0].mean()) < 0.3", True),
    )),
)  # fmt: skip

MODULE = Module(
    9, "spatial", "Can I see patterns in images, wherever they are?",
    {"tinytorch.core.spatial": SPATIAL, "tinytorch.core.dataloader": LOADING},
    "from tinytorch.core.dataloader import DataLoader, RandomHorizontalFlip, TensorDataset\n"
    "from tinytorch.core.spatial import AvgPool2d, BatchNorm2d, Conv2d, MaxPool2d\n"
    "from tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
