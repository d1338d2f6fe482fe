"""Cross-entropies in one op each, so that they are stable and their gradient is one pass. Other losses are composed."""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size
from tinytorch.engine.ops.activation import log_softmax
from tinytorch.engine.ops.elementwise import clip, div, log, mul, sub
from tinytorch.engine.ops.index import check_ids

__all__ = ["binary_cross_entropy", "binary_cross_entropy_grad", "cross_entropy", "cross_entropy_grad"]

# log 0 is -inf; PyTorch puts -100 in its place, so that a wrong and certain answer costs 100 and not infinity, and on
# the way back divides by no less than 1e-12.
LOG_FLOOR, LEAST_VARIANCE = -100.0, 1e-12


def check_targets(name: str, logits: Shaped, targets: Shaped) -> None:
    check_floating(name, logits)
    if len(logits.shape) != 2 or targets.shape != logits.shape[:1]:
        raise ValueError(
            f"{name}: logits are {logits.shape}, targets are {targets.shape}: they must be (N, classes) and (N,); "
            "reshape longer inputs to rows first"
        )
    if size(logits.shape) == 0:
        raise ValueError(f"{name}: logits are {logits.shape}: the mean over no rows is undefined; skip empty batches")
    if not np.issubdtype(targets.dtype, np.integer):
        raise TypeError(f"{name}: targets are {targets.dtype}: they must be integer class numbers, not one-hot rows")


def smoothed(logits: np.ndarray, targets: np.ndarray, label_smoothing: float) -> np.ndarray:
    """Target distribution: 1 - s on the class, s / classes added everywhere. Szegedy et al. 2016, section 7."""
    q = np.full(logits.shape, label_smoothing / logits.shape[1], logits.dtype)
    q[np.arange(len(q)), targets] += 1 - label_smoothing
    return q


class CrossEntropy(Op):
    """Mean over rows of -log softmax(logits)[target]: logits (N, C), targets (N,) integers -> ()"""

    def shape(self, logits: Shaped, targets: Shaped, label_smoothing: float) -> Spec:
        check_targets("cross_entropy", logits, targets)
        return Spec((), logits.dtype)

    def check(self, logits: np.ndarray, targets: np.ndarray, label_smoothing: float) -> None:
        check_ids("cross_entropy", targets, logits.shape[1], "number of classes")

    def reference(self, logits: np.ndarray, targets: np.ndarray, label_smoothing: float) -> np.ndarray:
        logp = log_softmax.reference(logits, axis=1)
        own = logp[np.arange(len(logits)), targets]
        if label_smoothing == 0:  # a class that is impossible, with logit -inf, must not cost 0 times infinity
            return -own.mean()
        return -((1 - label_smoothing) * own + label_smoothing * logp.mean(1)).mean()

    def gradient(
        self,
        need: tuple,
        g: np.ndarray,
        out: np.ndarray,
        logits: np.ndarray,
        targets: np.ndarray,
        label_smoothing: float,
    ) -> tuple:
        return need[0] and cross_entropy_grad(g, logits, targets, label_smoothing=label_smoothing), None

    def flops(self, out: Shaped, logits: Shaped, *_: Shaped, **__: object) -> int:
        return 5 * size(logits.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for n, c, smoothing in ((4, 3, 0.0), (1, 1, 0.0), (5, 2, 0.1), (33, 37, 0.0)):
            yield Sample((normal(rng, n, c), rng.integers(0, c, n)), {"label_smoothing": smoothing})


class CrossEntropyGrad(Op):
    """g (softmax(logits) - target distribution) / N"""

    gradient = None

    def shape(self, g: Shaped, logits: Shaped, targets: Shaped, label_smoothing: float) -> Spec:
        check_targets("cross_entropy_grad", logits, targets)
        if g.shape != ():
            raise ValueError(f"cross_entropy_grad: g is {g.shape}: the loss is one number, so its gradient must be ()")
        return Spec(logits.shape, logits.dtype)

    def reference(self, g: np.ndarray, logits: np.ndarray, targets: np.ndarray, label_smoothing: float) -> np.ndarray:
        p = np.exp(log_softmax.reference(logits, axis=1))
        return (p - smoothed(logits, targets, label_smoothing)) * (g / len(logits))

    def flops(self, out: Shaped, *_: Shaped, **__: object) -> int:
        return 6 * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in cross_entropy.samples(rng):
            yield Sample((normal(rng), *sample.arrays), sample.params)


def check_probabilities(name: str, p: Shaped, t: Shaped) -> None:
    check_floating(name, p)
    if p.shape != t.shape or p.dtype != t.dtype:
        raise ValueError(f"{name}: p is {p.shape} {p.dtype}, t is {t.shape} {t.dtype}: they must agree; reshape one")
    if size(p.shape) == 0:
        raise ValueError(f"{name}: p is {p.shape}: the mean over nothing is undefined; skip empty batches")


def probabilities(rng: np.random.Generator) -> SampleIterator:
    for shape in ((3, 2), (5,), (), (33, 37)):
        yield Sample((rng.uniform(0.05, 0.95, shape), rng.uniform(0, 1, shape)))


class BinaryCrossEntropy(Op):
    """Mean of -(t log p + (1 - t) log(1 - p)), logarithms no less than -100: p, t of one shape -> (); nan for p outside
    0..1.
    """

    def shape(self, p: Shaped, t: Shaped) -> Spec:
        check_probabilities("binary_cross_entropy", p, t)
        return Spec((), p.dtype)

    def reference(self, p: np.ndarray, t: np.ndarray) -> np.ndarray:
        floor = p.dtype.type(LOG_FLOOR)
        hit, miss = np.maximum(log.reference(p), floor), np.maximum(log.reference(1 - p), floor)
        return -(t * hit + (1 - t) * miss).mean()

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, p: np.ndarray, t: np.ndarray) -> tuple:
        one = np.ones((), p.dtype)
        return (
            need[0] and binary_cross_entropy_grad(g, p, t),
            need[1] and mul(sub(floored_log(sub(one, p)), floored_log(p)), div(g, np.asarray(p.size, p.dtype))),
        )

    def flops(self, out: Shaped, p: Shaped, t: Shaped) -> int:
        return 8 * size(p.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        yield from probabilities(rng)


def floored_log(p: np.ndarray) -> np.ndarray:
    return clip(log(p), low=LOG_FLOOR, high=None)


class BinaryCrossEntropyGrad(Op):
    """(p - t) / (p (1 - p)) g / n for n elements"""

    gradient = None

    def shape(self, g: Shaped, p: Shaped, t: Shaped) -> Spec:
        check_probabilities("binary_cross_entropy_grad", p, t)
        if g.shape != ():
            raise ValueError(f"binary_cross_entropy_grad: g is {g.shape}: the loss is one number, g must be ()")
        return Spec(p.shape, p.dtype)

    def reference(self, g: np.ndarray, p: np.ndarray, t: np.ndarray) -> np.ndarray:
        return (p - t) / np.maximum(p * (1 - p), p.dtype.type(LEAST_VARIANCE)) * (g / p.dtype.type(p.size))

    def flops(self, out: Shaped, *_: Shaped) -> int:
        return 5 * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for sample in probabilities(rng):
            yield Sample((normal(rng), *sample.arrays))


cross_entropy, cross_entropy_grad = CrossEntropy(), CrossEntropyGrad()
binary_cross_entropy, binary_cross_entropy_grad = BinaryCrossEntropy(), BinaryCrossEntropyGrad()
