"""Layers for images (N, C, H, W): convolution, pooling, batch normalisation."""

from __future__ import annotations

import numpy as np

from tinytorch.core.layers import Layer, uniform_parameter
from tinytorch.core.tensor import Tensor, apply
from tinytorch.engine import ops

Size = int | tuple[int, int]


def pair(name: str, value: Size) -> tuple[int, int]:
    """An int for both axes, or (rows, columns)."""
    rows, columns = (value, value) if isinstance(value, int) else value
    if not isinstance(rows, int) or not isinstance(columns, int):
        raise TypeError(f"{name}: {value!r} must be an integer or a pair of integers")
    return rows, columns


class Conv2d(Layer):
    """2-D convolution: weight (out_channels, in_channels / groups, kh, kw), bias (out_channels)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: in_channels {in_channels} and out_channels {out_channels} must be multiples of "
                f"groups {groups}; change one of them"
            )
        self.groups = groups
        self.kernel_size, self.stride = pair("kernel_size", kernel_size), pair("stride", stride)
        self.padding, self.dilation = pair("padding", padding), pair("dilation", dilation)
        fan_in = in_channels // groups * self.kernel_size[0] * self.kernel_size[1]
        self.weight = uniform_parameter((out_channels, in_channels // groups, *self.kernel_size), fan_in)
        self.bias = uniform_parameter((out_channels,), fan_in) if bias else None

    @property
    def in_channels(self) -> int:
        return self.weight.shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        return self.weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        inputs = (x, self.weight) if self.bias is None else (x, self.weight, self.bias)
        return apply(
            ops.conv2d, *inputs, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
        )

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, bias={self.bias is not None}"
        )


class Pool2d(Layer):
    """Common part of the pooling layers; `stride` is the kernel size unless given."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        self.kernel_size = pair("kernel_size", kernel_size)
        self.stride = self.kernel_size if stride is None else pair("stride", stride)
        self.padding = pair("padding", padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(Pool2d):
    """Largest element of each window"""

    def forward(self, x: Tensor) -> Tensor:
        return apply(ops.max_pool2d, x, kernel=self.kernel_size, stride=self.stride, padding=self.padding)


class AvgPool2d(Pool2d):
    """Mean of each window; padding counts as zeros"""

    def forward(self, x: Tensor) -> Tensor:
        return apply(ops.avg_pool2d, x, kernel=self.kernel_size, stride=self.stride, padding=self.padding)


class BatchNorm2d(Layer):
    """Each channel brought to mean 0 and variance 1 over batch and image, then scaled by gamma and shifted by beta.

    Training uses the batch's own statistics and updates the running ones by `momentum` (unbiased variance, as PyTorch);
    evaluation uses the running ones. Ioffe and Szegedy 2015, algorithms 1 and 2.
    """

    buffers = ("running_mean", "running_var")

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.eps, self.momentum = eps, momentum
        self.gamma = Tensor(np.ones(num_features, np.float32), requires_grad=True)
        self.beta = Tensor(np.zeros(num_features, np.float32), requires_grad=True)
        self.running_mean = np.zeros(num_features, np.float32)
        self.running_var = np.ones(num_features, np.float32)

    @property
    def num_features(self) -> int:
        return self.gamma.size

    @property
    def weight(self) -> Tensor:
        """PyTorch's name of gamma"""
        return self.gamma

    @property
    def bias(self) -> Tensor:
        """PyTorch's name of beta"""
        return self.beta

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ValueError(f"BatchNorm2d: x is {x.shape}: it must be (batch, {self.num_features}, height, width)")
        if not self.training:
            stats = Tensor(np.stack([self.running_mean, self.running_var]))
            return apply(ops.batch_norm, x, self.gamma, self.beta, stats, eps=self.eps)
        count = x.size // self.num_features
        if count < 2:
            raise ValueError(
                f"BatchNorm2d: x is {x.shape}: one value a channel has no variance; use a larger batch or eval()"
            )
        of_batch = ops.batch_stats(x.data)
        hyper = np.array([self.momentum, count / (count - 1)])  # a running variance is unbiased
        ops.running_stats_step(self.running_mean, of_batch, self.running_var, hyper)
        stats = Tensor(of_batch, dtype=of_batch.dtype)
        return apply(ops.batch_norm_train, x, self.gamma, self.beta, stats, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
