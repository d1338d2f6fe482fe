"""Batch and layer normalisation.

Batch norm takes its statistics as an input, (2, C) = mean, var. In evaluation they are constants (`batch_norm`). In
training they come from x by `batch_stats`, which the layer also wants for its running ones; `batch_norm_train` computes
the same, but its gradient of x goes through the statistics too, all in one pass after one for the sums.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size, spec_like
from tinytorch.engine.ops.movement import getitem

__all__ = [
    "batch_norm", "batch_norm_input_grad", "batch_norm_sums", "batch_norm_train", "batch_norm_train_input_grad",
    "batch_stats", "layer_norm", "layer_norm_input_grad", "layer_norm_sums",
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
    """x (N, C, ...) -> (2, C): mean and biased variance of each channel; the gradient is in `batch_norm_train`"""

    gradient = None

    def shape(self, x: Shaped) -> Spec:
        check_channels("batch_stats", x)
        if size(x.shape) == 0:
            raise ValueError(f"batch_stats: x is {x.shape}: the mean of no elements is undefined; skip empty batches")
        return Spec((2, x.shape[1]), x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.stack([x.mean(other_axes(x)), x.var(other_axes(x))])

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in SHAPES:
            yield Sample((normal(rng, *shape),))


class BatchNorm(NormOp):
    """gamma (x - mean) / sqrt(var + eps) + beta a channel; stats (2, C) = mean, var. Ioffe, Szegedy 2015, section 3."""

    derived = MappingProxyType({3: None})

    def shape(self, x: Shaped, gamma: Shaped, beta: Shaped, stats: Shaped, eps: float) -> Spec:
        check_channels(self.name, x, {"stats": stats}, gamma=gamma, beta=beta)
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
        if not any(need[1:3]):
            return gx, None, None, None
        sums = batch_norm_sums(g, x, stats, eps=eps)
        return gx, getitem(sums, index=0), getitem(sums, index=1), None

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in SHAPES:
            c = shape[1]
            stats = np.stack([rng.standard_normal(c), rng.uniform(0.5, 2, c)])
            yield Sample((normal(rng, *shape), rng.uniform(0.5, 2, c), normal(rng, c), stats), {"eps": 1e-5})


def stats_of(x: np.ndarray, *_: np.ndarray) -> np.ndarray:
    return batch_stats.reference(x)


class BatchNormTrain(BatchNorm):
    """`batch_norm` with stats = batch_stats(x), and their part of the gradient of x. Ioffe, Szegedy 2015, section 3."""

    derived = MappingProxyType({3: stats_of})

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
        sums = batch_norm_sums(g, x, stats, eps=eps)
        gx = need[0] and batch_norm_train_input_grad(g, x, gamma, stats, sums, eps=eps)
        return gx, getitem(sums, index=0), getitem(sums, index=1), None

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in super().samples(rng):
            x, gamma, beta, _ = sample.arrays
            yield Sample((x, gamma, beta, batch_stats.reference(x)), {"eps": 0.1})  # one sample has no variance


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


class BatchNormTrainInputGrad(NormOp):
    """gamma / sqrt(var + eps) (g - mean g - xhat mean(g xhat)) from sums (2, C) of `batch_norm_sums`"""

    gradient = None
    flops_per_element = 5

    def shape(self, g: Shaped, x: Shaped, gamma: Shaped, stats: Shaped, sums: Shaped, eps: float) -> Spec:
        check_channels("batch_norm_train_input_grad", x, {"stats": stats, "sums": sums}, gamma=gamma)
        check_same("batch_norm_train_input_grad", g, x)
        return spec_like(x)

    def reference(
        self, g: np.ndarray, x: np.ndarray, gamma: np.ndarray, stats: np.ndarray, sums: np.ndarray, eps: float
    ) -> np.ndarray:
        (xhat, inverse), means = normalised(x, stats, eps), sums / (x.size // x.shape[1])
        return per_channel(gamma * inverse, x) * (g - per_channel(means[1], x) - xhat * per_channel(means[0], x))

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in batch_norm_train.samples(rng):
            x, gamma, _, stats = sample.arrays
            g = normal(rng, *x.shape)
            yield Sample((g, x, gamma, stats, batch_norm_sums.reference(g, x, stats, **sample.params)), sample.params)


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
            # two elements become nearly -1 and 1 whatever they are: a small eps would leave only rounding errors
            eps = 0.1 if shape[-1] == 2 else 1e-5
            yield Sample((normal(rng, *shape), normal(rng, shape[-1]), normal(rng, shape[-1])), {"eps": eps})


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
batch_norm_input_grad, batch_norm_sums = BatchNormInputGrad(), BatchNormSums()
batch_norm_train, batch_norm_train_input_grad = BatchNormTrain(), BatchNormTrainInputGrad()
layer_norm_input_grad, layer_norm_sums = LayerNormInputGrad(), LayerNormSums()
