"""Matrix products: `matmul` for stacks of matrices, `linear` for a layer (x w + b with w stored (in, out))."""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size
from tinytorch.engine.ops.movement import transpose
from tinytorch.engine.ops.reduce import sum_to

__all__ = ["linear", "linear_input_grad", "linear_weight_grad", "matmul"]


def swapped(x: np.ndarray) -> np.ndarray:
    """x with its last two axes exchanged."""
    return transpose(x, axes=(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


class Matmul(Op):
    """a (..., M, K) b (..., K, N) -> (..., M, N); leading axes broadcast."""

    def shape(self, a: Shaped, b: Shaped) -> Spec:
        if len(a.shape) < 2 or len(b.shape) < 2:
            raise ValueError(f"matmul: a is {a.shape}, b is {b.shape}: both need two axes; reshape the vector")
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"matmul: a is {a.shape}, b is {b.shape}: inner sizes differ ({a.shape[-1]} != {b.shape[-2]}); "
                "transpose one of them or check the layer sizes"
            )
        try:
            stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            raise ValueError(
                f"matmul: a is {a.shape}, b is {b.shape}: leading axes {a.shape[:-2]} and {b.shape[:-2]} do not "
                "broadcast; reshape one of them so that sizes agree or are 1"
            ) from None
        return Spec((*stack, a.shape[-2], b.shape[-1]), np.result_type(a.dtype, b.dtype))

    def reference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a @ b

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple:
        return need[0] and matmul(g, swapped(b)), need[1] and matmul(swapped(a), g)

    def flops(self, out: Shaped, a: Shaped, b: Shaped) -> int:
        return 2 * size(out.shape) * a.shape[-1]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for a, b in (((3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((3, 0), (0, 2)),
                     ((65, 33), (33, 47))):  # fmt: skip
            yield Sample((normal(rng, *a), normal(rng, *b)))


class Linear(Op):
    """x (..., in) w (in, out) + b (out) -> (..., out); b may be absent."""

    def shape(self, x: Shaped, w: Shaped, b: Shaped | None = None) -> Spec:
        if len(w.shape) != 2 or len(x.shape) < 1:
            raise ValueError(f"linear: x is {x.shape}, w is {w.shape}: w must be (in_features, out_features)")
        if x.shape[-1] != w.shape[0]:
            raise ValueError(
                f"linear: x is {x.shape}, w is {w.shape}: in_features differ ({x.shape[-1]} != {w.shape[0]}); "
                "flatten x or change the layer's in_features"
            )
        if b is not None and b.shape != (w.shape[1],):
            raise ValueError(f"linear: b is {b.shape}, w is {w.shape}: the bias must be ({w.shape[1]},)")
        return Spec((*x.shape[:-1], w.shape[1]), np.result_type(x.dtype, w.dtype))

    def reference(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        y = x @ w
        if b is not None:
            y += b
        return y

    def gradient(
        self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None
    ) -> tuple:
        gx = need[0] and linear_input_grad(g, w)
        gw = need[1] and linear_weight_grad(x, g)
        return (gx, gw) if b is None else (gx, gw, need[2] and sum_to(g, shape=b.shape))

    def flops(self, out: Shaped, x: Shaped, w: Shaped, b: Shaped | None = None) -> int:
        return 2 * size(out.shape) * w.shape[0]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        shapes = ((3, 4, 5), (1, 1, 1), (4, 3), (2, 3, 4, 2), (0, 4, 3), (37, 65, 33), (128, 100, 70))
        for *x, n in shapes:
            w, b = normal(rng, x[-1], n), normal(rng, n)
            yield Sample((normal(rng, *x), w, b))
            yield Sample((normal(rng, *x), w))


class LinearInputGrad(Op):
    """g (..., out) w^T -> (..., in)"""

    gradient = None

    def shape(self, g: Shaped, w: Shaped) -> Spec:
        if g.shape[-1] != w.shape[1]:
            raise ValueError(
                f"linear_input_grad: g is {g.shape}, w is {w.shape}: out_features differ "
                f"({g.shape[-1]} != {w.shape[1]}); pass forward's w"
            )
        return Spec((*g.shape[:-1], w.shape[0]), g.dtype)

    def reference(self, g: np.ndarray, w: np.ndarray) -> np.ndarray:
        return g @ w.T

    def flops(self, out: Shaped, g: Shaped, w: Shaped) -> int:
        return 2 * size(g.shape) * w.shape[0]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for g, k in (((3, 5), 4), ((1, 1), 1), ((2, 3, 2), 4), ((5,), 3), ((0, 2), 3), ((37, 33), 65)):
            yield Sample((normal(rng, *g), normal(rng, k, g[-1])))


class LinearWeightGrad(Op):
    """x^T g over all leading axes: x (..., in), g (..., out) -> (in, out)"""

    gradient = None

    def shape(self, x: Shaped, g: Shaped) -> Spec:
        if x.shape[:-1] != g.shape[:-1]:
            raise ValueError(f"linear_weight_grad: x is {x.shape}, g is {g.shape}: rows differ; pass forward's x")
        return Spec((x.shape[-1], g.shape[-1]), g.dtype)

    def reference(self, x: np.ndarray, g: np.ndarray) -> np.ndarray:
        rows = size(x.shape[:-1])  # spelt out: -1 cannot be worked out for an empty batch
        return x.reshape(rows, x.shape[-1]).T @ g.reshape(rows, g.shape[-1])

    def flops(self, out: Shaped, x: Shaped, g: Shaped) -> int:
        return 2 * size(x.shape) * g.shape[-1]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for x, n in (((3, 4), 5), ((1, 1), 1), ((2, 3, 4), 2), ((4,), 3), ((0, 4), 3), ((37, 65), 33)):
            yield Sample((normal(rng, *x), normal(rng, *x[:-1], n)))


matmul, linear = Matmul(), Linear()
linear_input_grad, linear_weight_grad = LinearInputGrad(), LinearWeightGrad()
