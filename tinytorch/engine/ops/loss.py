"""Softmax cross-entropy in one op, so that it is stable and its gradient is one pass. Other losses are composed."""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size
from tinytorch.engine.ops.activation import log_softmax
from tinytorch.engine.ops.index import check_ids

__all__ = ["cross_entropy", "cross_entropy_grad"]


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


cross_entropy, cross_entropy_grad = CrossEntropy(), CrossEntropyGrad()
