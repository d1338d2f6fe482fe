"""Convolution in groups: each group of channels is a convolution of its own; depthwise is one channel in each.

The groups' results are copied side by side; what that costs is small beside the convolutions, unless groups are
narrow. Left out: the convolutions themselves (`conv.py`, `depthwise.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from kernels import depthwise, layout
from kernels.layout import Geometry
from kernels.program import Builder, Ref

Convolution = Callable[..., Any]  # a lowering for groups = 1


def forward(
    build: Builder, one_group: Convolution, x: Ref, w: Ref, bias: Ref | None, *, stride: Geometry, padding: Geometry,
    dilation: Geometry, groups: int, activation: str | None,
) -> Ref:  # fmt: skip
    """x (N,C,H,W), w (O,C/groups,kh,kw), bias (O) -> (N,O,OH,OW), channels-last; one_group is `conv.conv2d`."""
    sizes = zip(x.shape[2:], w.shape[2:], stride, padding, dilation)
    out_h, out_w = ((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in sizes)
    out = (out_h, out_w)
    if is_depthwise(w.shape, groups):
        return depthwise.forward(build, x, w, bias, stride, padding, dilation, out, activation)
    y = build.empty((x.shape[0], w.shape[0], *out), channels_last=True)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "activation": activation}
    for i in range(groups):
        biases = None if bias is None else part(bias, 0, groups, i)
        result = one_group(build, part(x, 1, groups, i), part(w, 0, groups, i), biases, groups=1, **how)
        layout.copy(build, result, part(y, 1, groups, i))
    return y


def input_grad(
    build: Builder, one_group: Convolution, g: Ref, w: Ref, *, shape: Sequence[int], groups: int, **how: Geometry
) -> Ref:
    """g (N,O,OH,OW), w (O,C/groups,kh,kw) -> (N,C,H,W), the given shape; one_group is `conv.conv2d_input_grad`."""
    if is_depthwise(w.shape, groups):
        return depthwise.input_grad(build, g, w, shape, **how)
    dx, own = build.empty(shape, channels_last=True), (shape[0], shape[1] // groups, *shape[2:])
    for i in range(groups):
        result = one_group(build, part(g, 1, groups, i), part(w, 0, groups, i), shape=own, groups=1, **how)
        layout.copy(build, result, part(dx, 1, groups, i))
    return dx


def weight_grad(
    build: Builder, one_group: Convolution, x: Ref, g: Ref, *, shape: Sequence[int], groups: int, **how: Geometry
) -> Ref:
    """x (N,C,H,W), g (N,O,OH,OW) -> (O,C/groups,kh,kw), the given shape; one_group is `conv.conv2d_weight_grad`."""
    if is_depthwise(shape, groups):
        return depthwise.weight_grad(build, x, g, shape, **how)
    dw, own = build.empty(shape), (shape[0] // groups, *shape[1:])
    for i in range(groups):
        result = one_group(build, part(x, 1, groups, i), part(g, 1, groups, i), shape=own, groups=1, **how)
        layout.copy(build, result, part(dw, 0, groups, i))
    return dw


def is_depthwise(w_shape: Sequence[int], groups: int) -> bool:
    """Whether each output channel has an input channel of its own."""
    return w_shape[1] == 1 and w_shape[0] == groups


def part(x: Ref, axis: int, groups: int, i: int) -> Ref:
    """Part i of `groups` equal ones along an axis."""
    n = x.shape[axis] // groups
    shape = tuple(n if a == axis else size for a, size in enumerate(x.shape))
    return replace(x, shape=shape, offset=x.offset + i * n * x.strides[axis])
