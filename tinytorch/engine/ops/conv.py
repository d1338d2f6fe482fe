"""2-D convolution (cross-correlation, as the field calls it) and its two gradients; the reference is im2col and BLAS.

x (N, C, H, W), w (O, C/groups, kh, kw), b (O) -> y (N, O, OH, OW). y lies channels-last in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size
from tinytorch.engine.ops.movement import reshape
from tinytorch.engine.ops.reduce import sum_to
from tinytorch.engine.ops.windows import Geometry, Pair, padded_nhwc, positions, unpadded_nchw, windows

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"]

# x, w, has bias, stride, padding, dilation, groups
CASES = (
    ((2, 3, 6, 5), (4, 3, 3, 3), True, (1, 1), (1, 1), (1, 1), 1),
    ((1, 1, 1, 1), (1, 1, 1, 1), False, (1, 1), (0, 0), (1, 1), 1),
    ((2, 2, 7, 8), (3, 2, 3, 2), True, (2, 3), (1, 0), (1, 1), 1),
    ((1, 2, 9, 8), (5, 2, 3, 3), True, (1, 2), (2, 1), (2, 3), 1),
    ((2, 4, 5, 5), (6, 2, 3, 3), True, (1, 1), (1, 1), (1, 1), 2),
    ((2, 3, 5, 5), (3, 1, 3, 3), True, (2, 2), (1, 1), (1, 1), 3),
    ((0, 2, 5, 5), (3, 2, 3, 3), True, (1, 1), (1, 1), (1, 1), 1),
    ((3, 5, 9, 11), (37, 5, 3, 3), True, (1, 1), (1, 1), (1, 1), 1),
    ((2, 17, 8, 8), (16, 17, 5, 5), False, (1, 1), (2, 2), (1, 1), 1),
)


def columns(x: np.ndarray, geometry: Geometry, out_size: Pair, groups: int) -> np.ndarray:
    """im2col: x (N,C,H,W) -> (groups, N OH OW, kh kw C/groups)."""
    n, c = x.shape[:2]
    view = windows(padded_nhwc(x, geometry.padding), geometry, out_size)
    rows, taps = n * out_size[0] * out_size[1], geometry.kernel[0] * geometry.kernel[1]
    if groups == 1:
        return view.reshape(1, rows, taps * c)
    split = view.reshape(rows, taps, groups, c // groups).transpose(2, 0, 1, 3)
    return split.reshape(groups, rows, taps * (c // groups))


def weight_matrices(w: np.ndarray, groups: int) -> np.ndarray:
    """w (O, C/groups, kh, kw) -> (groups, kh kw C/groups, O/groups)."""
    o, c, kh, kw = w.shape
    return w.reshape(groups, o // groups, c, kh, kw).transpose(0, 3, 4, 2, 1).reshape(groups, kh * kw * c, o // groups)


def grouped_rows(g: np.ndarray, groups: int) -> np.ndarray:
    """g (N,O,OH,OW) -> (groups, N OH OW, O/groups)."""
    n, o, h, w = g.shape
    return g.transpose(0, 2, 3, 1).reshape(n * h * w, groups, o // groups).transpose(1, 0, 2)


class Conv2d(Op):
    """y[n,o,i,j] = b[o] + sum over c,p,q of x[n,c,i sh + p dh - ph, j sw + q dw - pw] w[o,c,p,q]"""

    def shape(
        self, x: Shaped, w: Shaped, b: Shaped | None = None, *, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Spec:
        if len(w.shape) != 4:
            raise ValueError(f"conv2d: w is {w.shape}: it must be (out_channels, in_channels / groups, kh, kw)")
        out_size = Geometry(w.shape[2:], stride, padding, dilation).out_size("conv2d", x)
        if groups < 1:
            raise ValueError(f"conv2d: groups is {groups}: it must be at least 1")
        if x.shape[1] != w.shape[1] * groups:
            raise ValueError(
                f"conv2d: x is {x.shape}, w is {w.shape}, groups is {groups}: in_channels differ "
                f"({x.shape[1]} != {w.shape[1] * groups}); change the layer's in_channels"
            )
        if w.shape[0] % groups:
            raise ValueError(f"conv2d: {w.shape[0]} output channels do not split into {groups} groups; change either")
        if b is not None and b.shape != (w.shape[0],):
            raise ValueError(f"conv2d: b is {b.shape}, w is {w.shape}: the bias must be ({w.shape[0]},)")
        return Spec((x.shape[0], w.shape[0], *out_size), np.result_type(x.dtype, w.dtype))

    def reference(
        self,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None = None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> np.ndarray:
        geometry = Geometry(w.shape[2:], stride, padding, dilation)
        n, o, (oh, ow) = x.shape[0], w.shape[0], geometry.out_size("conv2d", x)
        y = columns(x, geometry, (oh, ow), groups) @ weight_matrices(w, groups)  # (groups, N OH OW, O/groups)
        y = (y[0] if groups == 1 else y.transpose(1, 0, 2)).reshape(n, oh, ow, o)
        if b is not None:
            y += b
        return y.transpose(0, 3, 1, 2)

    def gradient(
        self,
        need: tuple,
        g: np.ndarray,
        out: np.ndarray,
        x: np.ndarray,
        w: np.ndarray,
        b: np.ndarray | None = None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> tuple:
        how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        gx = need[0] and conv2d_input_grad(g, w, shape=x.shape, **how)
        gw = need[1] and conv2d_weight_grad(x, g, shape=w.shape, **how)
        if b is None:
            return gx, gw
        return gx, gw, need[2] and reshape(sum_to(g, shape=(1, len(b), 1, 1)), shape=b.shape)

    def flops(self, out: Shaped, x: Shaped, w: Shaped, b: Shaped | None = None, **_: object) -> int:
        return 2 * size(out.shape) * size(w.shape[1:])

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for x, w, bias, stride, padding, dilation, groups in CASES:
            arrays = (normal(rng, *x), normal(rng, *w), *([normal(rng, w[0])] if bias else []))
            yield Sample(arrays, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups})


def check_output_gradient(name: str, g: Shaped, x: Shaped, w: Shaped, **how: Any) -> None:
    """ValueError unless g has the shape that conv2d gives for x and w: kernels rely on it."""
    wanted = conv2d.shape(x, w, **how).shape
    if g.shape != wanted:
        raise ValueError(f"{name}: g is {g.shape}, the convolution gave {wanted}; pass the gradient of its output")


class Conv2dInputGrad(Op):
    """g (N,O,OH,OW), w (O,C/groups,kh,kw) -> gradient of x, `shape` (N,C,H,W)"""

    gradient = None

    def shape(self, g: Shaped, w: Shaped, *, shape: tuple[int, ...], **how: Any) -> Spec:
        check_output_gradient(self.name, g, Spec(shape, g.dtype), w, **how)
        return Spec(shape, np.result_type(g.dtype, w.dtype))

    def reference(
        self,
        g: np.ndarray,
        w: np.ndarray,
        *,
        shape: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> np.ndarray:
        geometry = Geometry(w.shape[2:], stride, padding, dilation)
        n, c, h, width = shape
        # taps (groups, N OH OW, kh kw C/groups)
        taps = grouped_rows(g, groups) @ weight_matrices(w, groups).transpose(0, 2, 1)
        taps = taps.reshape(groups, n, *g.shape[2:], *geometry.kernel, c // groups).transpose(1, 2, 3, 4, 5, 0, 6)
        gx = np.zeros((n, h + 2 * padding[0], width + 2 * padding[1], c), g.dtype)
        for i, j, rows, cols in positions(geometry, g.shape[2:]):
            gx[:, rows, cols] += taps[:, :, :, i, j].reshape(n, *g.shape[2:], c)
        return unpadded_nchw(gx, padding, shape)

    def flops(self, out: Shaped, g: Shaped, w: Shaped, **_: object) -> int:
        return 2 * size(g.shape) * size(w.shape[1:])

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in conv2d.samples(rng):
            x, w = sample.arrays[:2]
            g = normal(rng, *conv2d.shape(x, w, **sample.params).shape)
            yield Sample((g, w), {"shape": x.shape, **sample.params})


class Conv2dWeightGrad(Op):
    """x (N,C,H,W), g (N,O,OH,OW) -> gradient of w, `shape` (O,C/groups,kh,kw)"""

    gradient = None

    def shape(self, x: Shaped, g: Shaped, *, shape: tuple[int, ...], **how: Any) -> Spec:
        check_output_gradient(self.name, g, x, Spec(shape, x.dtype), **how)
        return Spec(shape, np.result_type(x.dtype, g.dtype))

    def reference(
        self,
        x: np.ndarray,
        g: np.ndarray,
        *,
        shape: tuple[int, ...],
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> np.ndarray:
        o, c, kh, kw = shape
        x_columns = columns(x, Geometry((kh, kw), stride, padding, dilation), g.shape[2:], groups)
        gw = x_columns.transpose(0, 2, 1) @ grouped_rows(g, groups)  # (groups, kh kw C/groups, O/groups)
        return gw.reshape(groups, kh, kw, c, o // groups).transpose(0, 4, 3, 1, 2).reshape(shape)

    def flops(self, out: Shaped, x: Shaped, g: Shaped, **_: object) -> int:
        return 2 * size(g.shape) * size(out.shape[1:])

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in conv2d.samples(rng):
            x, w = sample.arrays[:2]
            g = normal(rng, *conv2d.shape(x, w, **sample.params).shape)
            yield Sample((x, g), {"shape": w.shape, **sample.params})


conv2d, conv2d_input_grad, conv2d_weight_grad = Conv2d(), Conv2dInputGrad(), Conv2dWeightGrad()
