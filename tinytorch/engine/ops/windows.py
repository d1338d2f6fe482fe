"""Sliding windows over images: the geometry that convolution and pooling share, and how their references move data.

Arrays are (N, C, H, W) by shape; inside, everything is channels last, which is also how results lie in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinytorch.engine.op import Shaped

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """Kernel size, stride, padding and dilation, each (rows, columns)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair = (1, 1)

    def out_size(self, name: str, x: Shaped) -> Pair:
        """Rows and columns of the result; ValueError where the kernel does not fit into the padded image."""
        if len(x.shape) != 4:
            raise ValueError(f"{name}: x is {x.shape}: it must be (batch, channels, height, width); add missing axes")
        if min(self.stride) < 1 or min(self.dilation) < 1 or min(self.kernel) < 1 or min(self.padding) < 0:
            raise ValueError(f"{name}: {self}: kernel, stride and dilation must be at least 1, padding at least 0")
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation)]
        padded = [n + 2 * p for n, p in zip(x.shape[2:], self.padding)]
        if reach[0] > padded[0] or reach[1] > padded[1]:
            raise ValueError(
                f"{name}: x is {x.shape}, padded to {padded[0]}x{padded[1]}: the kernel reaches over "
                f"{reach[0]}x{reach[1]}; pad more or use a smaller kernel"
            )
        return (padded[0] - reach[0]) // self.stride[0] + 1, (padded[1] - reach[1]) // self.stride[1] + 1


def padded_nhwc(x: np.ndarray, padding: Pair, fill: float = 0.0) -> np.ndarray:
    """x (N,C,H,W) -> (N,H+2ph,W+2pw,C) with `fill` around; a view where there is nothing to pad."""
    x = x.transpose(0, 2, 3, 1)
    if padding == (0, 0):
        return x
    n, h, w, c = x.shape
    (ph, pw) = padding
    out = np.full((n, h + 2 * ph, w + 2 * pw, c), fill, x.dtype)
    out[:, ph : ph + h, pw : pw + w] = x
    return out


def windows(x: np.ndarray, geometry: Geometry, out_size: Pair) -> np.ndarray:
    """Padded x (N,H,W,C) -> view (N,OH,OW,kh,kw,C)."""
    n, _, _, c = x.shape
    sn, sh, sw, sc = x.strides
    (vy, vx), (dy, dx) = geometry.stride, geometry.dilation
    shape = (n, *out_size, *geometry.kernel, c)
    return as_strided(x, shape, (sn, vy * sh, vx * sw, dy * sh, dx * sw, sc), writeable=False)


def positions(geometry: Geometry, out_size: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """For each kernel position (i, j), row-major: the rows and columns of the padded image it sees over all windows."""
    for i in range(geometry.kernel[0]):
        for j in range(geometry.kernel[1]):
            y, x = i * geometry.dilation[0], j * geometry.dilation[1]
            rows = slice(y, y + geometry.stride[0] * out_size[0], geometry.stride[0])
            columns = slice(x, x + geometry.stride[1] * out_size[1], geometry.stride[1])
            yield i, j, rows, columns


def unpadded_nchw(padded: np.ndarray, padding: Pair, shape: tuple[int, ...]) -> np.ndarray:
    """The inner part of a padded (N,H,W,C) array, as (N,C,H,W)."""
    (ph, pw), (h, w) = padding, shape[2:]
    return padded[:, ph : ph + h, pw : pw + w].transpose(0, 3, 1, 2)
