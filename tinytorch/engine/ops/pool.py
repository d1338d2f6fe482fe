"""Max and average pooling of (N, C, H, W), and their gradients. Averages count the padding, as in PyTorch."""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size
from tinytorch.engine.ops.windows import Geometry, Pair, padded_nhwc, positions, unpadded_nchw

__all__ = ["avg_pool2d", "avg_pool2d_grad", "max_pool2d", "max_pool2d_grad"]

# x, kernel, stride, padding
CASES = (
    ((2, 3, 4, 6), (2, 2), (2, 2), (0, 0)),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0)),
    ((2, 2, 7, 5), (3, 2), (2, 1), (1, 1)),
    ((2, 17, 5, 5), (2, 2), (2, 2), (0, 0)),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0)),
    ((1, 33, 6, 6), (3, 3), (3, 3), (0, 0)),
)


class Pool(Op):
    def shape(self, x: Shaped, kernel: Pair, stride: Pair, padding: Pair) -> Spec:
        check_floating(self.name, x)
        out_size = Geometry(kernel, stride, padding).out_size(self.name, x)
        if padding[0] * 2 > kernel[0] or padding[1] * 2 > kernel[1]:
            raise ValueError(f"{self.name}: padding {padding} is more than half the kernel {kernel}; pad less")
        return Spec((*x.shape[:2], *out_size), x.dtype)

    def flops(self, out: Shaped, x: Shaped, kernel: Pair, **_: object) -> int:
        return size(out.shape) * kernel[0] * kernel[1]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape, kernel, stride, padding in CASES:
            distinct = rng.permutation(size(shape)).reshape(shape) * 0.1  # no ties, where max has a kink
            yield Sample((distinct,), {"kernel": kernel, "stride": stride, "padding": padding})


class PoolGrad(Op):
    gradient = None

    def check_output_gradient(self, pool: Pool, g: Shaped, shape: tuple[int, ...], **how: Pair) -> None:
        """ValueError unless g has the shape that the pooling gives for an x of `shape`: kernels rely on it."""
        wanted = pool.shape(Spec(shape, g.dtype), **how).shape
        if g.shape != wanted:
            raise ValueError(f"{self.name}: g is {g.shape}, the pooling gave {wanted}; pass the gradient of its output")

    def flops(self, out: Shaped, g: Shaped, *_: Shaped, kernel: Pair, **__: object) -> int:
        return size(g.shape) * kernel[0] * kernel[1]


class MaxPool2d(Pool):
    """Largest element of each window; padding never wins, nan always does."""

    def reference(self, x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair) -> np.ndarray:
        geometry = Geometry(kernel, stride, padding)
        padded, y = padded_nhwc(x, padding, -np.inf), None
        for _, _, rows, cols in positions(geometry, geometry.out_size("max_pool2d", x)):
            seen = padded[:, rows, cols]
            y = seen.copy() if y is None else np.maximum(y, seen, out=y)
        assert y is not None  # a kernel has at least one position
        return y.transpose(0, 3, 1, 2)

    def gradient(
        self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair
    ) -> tuple:
        return (max_pool2d_grad(g, x, out, kernel=kernel, stride=stride, padding=padding),)


class MaxPool2dGrad(PoolGrad):
    """g to the first maximum of each window in row-major order"""

    def shape(self, g: Shaped, x: Shaped, y: Shaped, **how: Pair) -> Spec:
        self.check_output_gradient(max_pool2d, g, x.shape, **how)
        if g.shape != y.shape:
            raise ValueError(f"max_pool2d_grad: g is {g.shape}, y is {y.shape}: they must agree; pass forward's y")
        return Spec(x.shape, g.dtype)

    def reference(
        self, g: np.ndarray, x: np.ndarray, y: np.ndarray, kernel: Pair, stride: Pair, padding: Pair
    ) -> np.ndarray:
        padded = padded_nhwc(x, padding, -np.inf)
        g, y = g.transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1)
        gx, open_ = np.zeros(padded.shape, g.dtype), np.ones(y.shape, bool)
        for _, _, rows, cols in positions(Geometry(kernel, stride, padding), (y.shape[1], y.shape[2])):
            seen = padded[:, rows, cols]
            wins = open_ & ((seen == y) | np.isnan(seen))
            gx[:, rows, cols] += g * wins
            open_ &= ~wins
        return unpadded_nchw(gx, padding, x.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in max_pool2d.samples(rng):
            (x,) = sample.arrays
            y = max_pool2d.reference(x, **sample.params)
            yield Sample((normal(rng, *y.shape), x, y), sample.params)


class AvgPool2d(Pool):
    """Mean of each window, padding included as zeros."""

    def reference(self, x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair) -> np.ndarray:
        geometry = Geometry(kernel, stride, padding)
        padded = padded_nhwc(x, padding)
        out_size = geometry.out_size("avg_pool2d", x)
        y = np.zeros((x.shape[0], *out_size, x.shape[1]), x.dtype)
        for _, _, rows, cols in positions(geometry, out_size):
            y += padded[:, rows, cols]
        y /= kernel[0] * kernel[1]
        return y.transpose(0, 3, 1, 2)

    def gradient(
        self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair
    ) -> tuple:
        return (avg_pool2d_grad(g, shape=x.shape, kernel=kernel, stride=stride, padding=padding),)


class AvgPool2dGrad(PoolGrad):
    """g spread evenly over each window"""

    def shape(self, g: Shaped, shape: tuple[int, ...], **how: Pair) -> Spec:
        self.check_output_gradient(avg_pool2d, g, shape, **how)
        return Spec(shape, g.dtype)

    def reference(self, g: np.ndarray, shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> np.ndarray:
        n, c, h, w = shape
        share = g.transpose(0, 2, 3, 1) / (kernel[0] * kernel[1])
        gx = np.zeros((n, h + 2 * padding[0], w + 2 * padding[1], c), g.dtype)
        for _, _, rows, cols in positions(Geometry(kernel, stride, padding), g.shape[2:]):
            gx[:, rows, cols] += share
        return unpadded_nchw(gx, padding, shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in avg_pool2d.samples(rng):
            (x,) = sample.arrays
            g = normal(rng, *avg_pool2d.shape(x, **sample.params).shape)
            yield Sample((g,), {"shape": x.shape, **sample.params})


max_pool2d, avg_pool2d = MaxPool2d(), AvgPool2d()
max_pool2d_grad, avg_pool2d_grad = MaxPool2dGrad(), AvgPool2dGrad()
