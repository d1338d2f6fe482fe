"""Batch and layer normalisation, written so that every gradient is local and can be checked by itself.

Batch norm in training is two ops: `batch_stats` (differentiable) and `batch_norm`, which takes the statistics as an
input. So evaluation, where they are constants, is the same op, and the chain rule supplies the terms through mean and
variance.
"""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size, spec_like
from tinytorch.engine.ops.movement import getitem

__all__ = [
    "batch_norm", "batch_norm_input_grad", "batch_norm_stats_grad", "batch_norm_sums", "batch_stats",
    "batch_stats_grad", "layer_norm", "layer_norm_input_grad", "layer_norm_sums",
]  # fmt: skip

SHAPES = ((4, 3), (2, 3, 4, 5), (1, 2, 3, 3), (5, 1), (3, 17, 4, 4))


def per_channel(v: np.ndarray, x: Shaped) -> np.ndarray:
    """v (C,) shaped to broadcast against x (N, C, ...)."""
    return v.reshape(1, -1, *(1,) * (len(x.shape) - 2))


def other_axes(x: Shaped) -> tuple[int, ...]:
    """All axes of x but the channels."""
    return (0, *range(2, len(x.shape)))


def check_channels(name: str, x: Shaped, pairs: dict[str, Shaped] | None = None, **vectors: Shaped) -> None:
    """Errors unless x is (N, C, ...) of a floating type, all `vectors` are (C,) and all `pairs` are (2, C)."""
    check_floating(name, x)
    if len(x.shape) < 2:
        raise ValueError(f"{name}: x is {x.shape}: it must be (batch, channels, ...); add the missing axis")
    c = x.shape[1]
    wanted = [(label, a, (c,)) for label, a in vectors.items()] + [(k, a, (2, c)) for k, a in (pairs or {}).items()]
    for label, a, shape in wanted:
        if a.shape[-1:] != (c,):
            raise ValueError(
                f"{name}: x is {x.shape}, {label} is {a.shape}: channels differ ({c} != {(1, *a.shape)[-1]}); "
                "change the layer's num_features"
            )
        if a.shape != shape:
            raise ValueError(f"{name}: x is {x.shape}, {label} is {a.shape}: it must be {shape}; reshape it")


def check_same(name: str, g: Shaped, x: Shaped) -> None:
    if g.shape != x.shape:
        raise ValueError(f"{name}: g is {g.shape}, x is {x.shape}: they must agree; pass forward's x")


def normalised(x: np.ndarray, stats: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """(x - mean) / sqrt(var + eps), and 1 / sqrt(var + eps) per channel."""
    inverse = 1 / np.sqrt(stats[1] + eps)
    return (x - per_channel(stats[0], x)) * per_channel(inverse, x), inverse


class NormOp(Op):
    flops_per_element = 4

    def flops(self, out: Shaped, x: Shaped, *_: Shaped, **__: object) -> int:
        return self.flops_per_element * size(x.shape)


class BatchStats(NormOp):
    """x (N, C, ...) -> (2, C): mean and biased variance of each channel"""

    def shape(self, x: Shaped) -> Spec:
        check_channels("batch_stats", x)
        if size(x.shape) == 0:
            raise ValueError(f"batch_stats: x is {x.shape}: the mean of no elements is undefined; skip empty batches")
        return Spec((2, x.shape[1]), x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.stack([x.mean(other_axes(x)), x.var(other_axes(x))])

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray) -> tuple:
        return (batch_stats_grad(g, x, out),)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in SHAPES:
            yield Sample((normal(rng, *shape),))


class BatchStatsGrad(NormOp):
    """g (2, C) through mean and variance: g[0] / M + g[1] 2 (x - mean) / M for M elements a channel"""

    gradient = None

    def shape(self, g: Shaped, x: Shaped, stats: Shaped) -> Spec:
        check_channels("batch_stats_grad", x, {"g": g, "stats": stats})
        return spec_like(x)

    def reference(self, g: np.ndarray, x: np.ndarray, stats: np.ndarray) -> np.ndarray:
        count = x.size // x.shape[1]
        return per_channel(g[0] / count, x) + per_channel(2 * g[1] / count, x) * (x - per_channel(stats[0], x))

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in SHAPES:
            x = normal(rng, *shape)
            yield Sample((normal(rng, 2, shape[1]), x, batch_stats.reference(x)))


class BatchNorm(NormOp):
    """gamma (x - mean) / sqrt(var + eps) + beta a channel; stats (2, C) = mean, var. Ioffe, Szegedy 2015, section 3."""

    def shape(self, x: Shaped, gamma: Shaped, beta: Shaped, stats: Shaped, eps: float) -> Spec:
        check_channels("batch_norm", x, {"stats": stats}, gamma=gamma, beta=beta)
        return spec_like(x)

    def reference(
        self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, stats: np.ndarray, eps: float
    ) -> np.ndarray:
        scale = gamma / np.sqrt(stats[1] + eps)
        return x * per_channel(scale, x) + per_channel(beta - stats[0] * scale, x)

    def gradient(
        self,
        need: tuple,
        g: np.ndarray,
        out: np.ndarray,
        x: np.ndarray,
        gamma: np.ndarray,
        beta: np.ndarray,
        stats: np.ndarray,
        eps: float,
    ) -> tuple:
        gx = need[0] and batch_norm_input_grad(g, gamma, stats, eps=eps)
        if not any(need[1:]):
            return gx, None, None, None
        sums = batch_norm_sums(g, x, stats, eps=eps)
        g_stats = need[3] and batch_norm_stats_grad(sums, gamma, stats, eps=eps)
        return gx, getitem(sums, index=0), getitem(sums, index=1), g_stats

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in SHAPES:
            c = shape[1]
            stats = np.stack([rng.standard_normal(c), rng.uniform(0.5, 2, c)])
            yield Sample((normal(rng, *shape), rng.uniform(0.5, 2, c), normal(rng, c), stats), {"eps": 1e-5})


class BatchNormInputGrad(NormOp):
    """g gamma / sqrt(var + eps), statistics held fixed"""

    gradient = None
    flops_per_element = 1

    def shape(self, g: Shaped, gamma: Shaped, stats: Shaped, eps: float) -> Spec:
        check_channels("batch_norm_input_grad", g, {"stats": stats}, gamma=gamma)
        return spec_like(g)

    def reference(self, g: np.ndarray, gamma: np.ndarray, stats: np.ndarray, eps: float) -> np.ndarray:
        return g * per_channel(gamma / np.sqrt(stats[1] + eps), g)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in batch_norm.samples(rng):
            x, gamma, _, stats = sample.arrays
            yield Sample((x, gamma, stats), sample.params)


class BatchNormSums(NormOp):
    """(2, C): per channel the sums of g (x - mean) / sqrt(var + eps) and of g: the gradients of gamma and beta"""

    gradient = None

    def shape(self, g: Shaped, x: Shaped, stats: Shaped, eps: float) -> Spec:
        check_channels("batch_norm_sums", x, {"stats": stats})
        check_same("batch_norm_sums", g, x)
        return Spec((2, x.shape[1]), x.dtype)

    def reference(self, g: np.ndarray, x: np.ndarray, stats: np.ndarray, eps: float) -> np.ndarray:
        xhat, _ = normalised(x, stats, eps)
        return np.stack([(g * xhat).sum(other_axes(x)), g.sum(other_axes(x))])

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in batch_norm.samples(rng):
            x, _, _, stats = sample.arrays
            yield Sample((normal(rng, *x.shape), x, stats), sample.params)


class BatchNormStatsGrad(NormOp):
    """sums (2, C) of `batch_norm_sums` -> (2, C): the gradients of mean and var"""

    gradient = None

    def shape(self, sums: Shaped, gamma: Shaped, stats: Shaped, eps: float) -> Spec:
        row = Spec((1, *sums.shape[1:]), sums.dtype)
        check_channels("batch_norm_stats_grad", row, {"sums": sums, "stats": stats}, gamma=gamma)
        return spec_like(sums)

    def reference(self, sums: np.ndarray, gamma: np.ndarray, stats: np.ndarray, eps: float) -> np.ndarray:
        inverse = 1 / np.sqrt(stats[1] + eps)
        scale = gamma * inverse
        return np.stack([-scale * sums[1], -0.5 * scale * inverse * sums[0]])

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in batch_norm.samples(rng):
            _, gamma, _, stats = sample.arrays
            yield Sample((normal(rng, *stats.shape), gamma, stats), sample.params)


class LayerNorm(NormOp):
    """gamma (x - mean) / sqrt(var + eps) + beta over the last axis. Ba, Kiros and Hinton 2016, section 3."""

    flops_per_element = 8

    def shape(self, x: Shaped, gamma: Shaped, beta: Shaped, eps: float) -> Spec:
        check_floating("layer_norm", x)
        for label, a in (("gamma", gamma), ("beta", beta)):
            if a.shape != x.shape[-1:] or not x.shape:
                raise ValueError(
                    f"layer_norm: x is {x.shape}, {label} is {a.shape}: it must be as long as the last axis of x; "
                    "change the layer's size"
                )
        return spec_like(x)

    def reference(self, x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float) -> np.ndarray:
        return unit_rows(x, eps)[0] * gamma + beta

    def gradient(
        self,
        need: tuple,
        g: np.ndarray,
        out: np.ndarray,
        x: np.ndarray,
        gamma: np.ndarray,
        beta: np.ndarray,
        eps: float,
    ) -> tuple:
        gx = need[0] and layer_norm_input_grad(g, x, gamma, eps=eps)
        if not any(need[1:]):
            return gx, None, None
        sums = layer_norm_sums(g, x, eps=eps)
        return gx, getitem(sums, index=0), getitem(sums, index=1)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (2, 3, 4), (1, 2), (0, 4), (7, 37)):
            yield Sample((normal(rng, *shape), normal(rng, shape[-1]), normal(rng, shape[-1])), {"eps": 1e-5})


def unit_rows(x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of x with mean 0 and variance 1, and the 1 / sqrt(var + eps) that made them so."""
    inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    return (x - x.mean(-1, keepdims=True)) * inverse, inverse


class LayerNormInputGrad(NormOp):
    """(h - mean h - xhat mean(h xhat)) / sqrt(var + eps) with h = g gamma"""

    gradient = None
    flops_per_element = 9

    def shape(self, g: Shaped, x: Shaped, gamma: Shaped, eps: float) -> Spec:
        check_same("layer_norm_input_grad", g, x)
        return spec_like(x)

    def reference(self, g: np.ndarray, x: np.ndarray, gamma: np.ndarray, eps: float) -> np.ndarray:
        (xhat, inverse), h = unit_rows(x, eps), g * gamma
        return (h - h.mean(-1, keepdims=True) - xhat * (h * xhat).mean(-1, keepdims=True)) * inverse

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in layer_norm.samples(rng):
            x, gamma, _ = sample.arrays
            yield Sample((normal(rng, *x.shape), x, gamma), sample.params)


class LayerNormSums(NormOp):
    """(2, D): over all rows the sums of g xhat and of g: the gradients of gamma and beta"""

    gradient = None

    def shape(self, g: Shaped, x: Shaped, eps: float) -> Spec:
        check_same("layer_norm_sums", g, x)
        return Spec((2, x.shape[-1]), x.dtype)

    def reference(self, g: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
        rows = tuple(range(x.ndim - 1))
        return np.stack([(g * unit_rows(x, eps)[0]).sum(rows), g.sum(rows)])

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in layer_norm.samples(rng):
            x = sample.arrays[0]
            yield Sample((normal(rng, *x.shape), x), sample.params)


batch_stats, batch_norm, layer_norm = BatchStats(), BatchNorm(), LayerNorm()
batch_stats_grad, batch_norm_input_grad = BatchStatsGrad(), BatchNormInputGrad()
batch_norm_sums, batch_norm_stats_grad = BatchNormSums(), BatchNormStatsGrad()
layer_norm_input_grad, layer_norm_sums = LayerNormInputGrad(), LayerNormSums()
