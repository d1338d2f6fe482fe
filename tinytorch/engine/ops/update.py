"""Ops that change state in place: optimizer steps, which return the weight, and what follows weights and batches.

The hyperparameters travel as a small float64 array, since a schedule changes them at every step and what depends on
parameters is cached. Formulas are PyTorch's.
"""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size, spec_like

__all__ = ["adam_step", "average_step", "running_stats_step", "sgd_step"]


class Update(Op):
    gradient = None
    in_place = True

    def shape(self, w: Shaped, g: Shaped, *state: Shaped | None) -> Spec:
        *moments, _ = state  # the last are the hyperparameters
        for label, a in (("g", g), *((f"state {i}", m) for i, m in enumerate(moments))):
            if a is not None and a.shape != w.shape:
                raise ValueError(
                    f"{self.name}: w is {w.shape}, {label} is {a.shape}: they must agree; call zero_grad()"
                )
        return spec_like(w)


class SGDStep(Update):
    """hyper = lr, momentum, weight decay, nesterov, decoupled. v := momentum v + g; w -= lr v, or lr (g + momentum v)
    with nesterov. Sutskever et al. 2013, section 2. Decay is added to g or, with `decoupled`, taken from w alone, lr
    times as much, as AdamW does: Loshchilov and Hutter 2019, algorithm 1, whose schedule multiplies both.
    """

    name = "sgd_step"
    flops_of_values = True

    def reference(self, w: np.ndarray, g: np.ndarray, velocity: np.ndarray | None, hyper: np.ndarray) -> np.ndarray:
        lr, momentum, decay = (w.dtype.type(h) for h in hyper[:3])
        decoupled = hyper[4] != 0
        if decay and not decoupled:
            g = g + decay * w
        if velocity is not None:
            velocity *= momentum
            velocity += g
            g = g + momentum * velocity if hyper[3] else velocity
        if decoupled:
            w *= 1 - lr * decay
        w -= lr * g
        return w

    def flops(self, out: Shaped, w: Shaped, g: Shaped, velocity: Shaped | None, hyper: Shaped) -> int:
        """2 a weight, and 2 each for decay (1 decoupled), momentum and Nesterov's form; the most where only shapes are
        known.
        """
        _, _, decay, nesterov, decoupled = hyper if isinstance(hyper, np.ndarray) else (1, 1, 1, 1, 0)
        terms = 1 + (decay != 0) + (velocity is not None) * (1 + (nesterov != 0))
        return int(2 * terms - (decay != 0 and decoupled != 0)) * size(w.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (1,), (0, 2), (37, 129)):
            for nesterov, decoupled in ((0, 0), (1, 0), (1, 1)):
                hyper = np.array([0.1, 0.9, 0.01, nesterov, decoupled])
                yield Sample((normal(rng, *shape), normal(rng, *shape), normal(rng, *shape), hyper))
            plain = np.array([0.1, 0, 0, 0, 0])
            yield Sample((normal(rng, *shape), normal(rng, *shape), None, plain))


class AdamStep(Update):
    """hyper = lr, beta1, beta2, eps, weight decay, decoupled, 1 - beta1^t, 1 - beta2^t.

    Kingma and Ba 2015, algorithm 1; with `decoupled` the decay of Loshchilov and Hutter 2019, algorithm 2 (AdamW).
    """

    flops_of_values = True

    def reference(self, w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, hyper: np.ndarray) -> np.ndarray:
        lr, beta1, beta2, eps, decay, decoupled, correction1, correction2 = (w.dtype.type(h) for h in hyper)
        if decoupled:
            w *= 1 - lr * decay
        elif decay:
            g = g + decay * w
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        w -= lr / correction1 * m / (np.sqrt(v) / np.sqrt(correction2) + eps)
        return w

    def flops(self, out: Shaped, w: Shaped, g: Shaped, m: Shaped, v: Shaped, hyper: Shaped) -> int:
        """3 a weight for m, 4 for v, 6 for the step, and for decay 2, or 1 decoupled; 2 where only shapes are known."""
        decay, decoupled = hyper[4:6] if isinstance(hyper, np.ndarray) else (1, 0)
        return (13 + int(decay != 0) * (1 if decoupled else 2)) * size(w.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (1,), (0, 2), (37, 129)):
            for decoupled in (0, 1):
                hyper = np.array([0.01, 0.9, 0.999, 1e-8, 0.01, decoupled, 1 - 0.9**3, 1 - 0.999**3])
                second = rng.uniform(0, 1, shape)
                yield Sample((normal(rng, *shape), normal(rng, *shape), normal(rng, *shape), second, hyper))


class AverageStep(Update):
    """average += hyper[0] (w - average). Polyak and Juditsky 1992."""

    def reference(self, average: np.ndarray, w: np.ndarray, hyper: np.ndarray) -> np.ndarray:
        average += average.dtype.type(hyper[0]) * (w - average)
        return average

    def flops(self, out: Shaped, *_: Shaped) -> int:
        """3 a weight."""
        return 3 * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (1,), (0, 2), (37, 129)):
            yield Sample((normal(rng, *shape), normal(rng, *shape), np.array([0.01])))


class RunningStatsStep(Update):
    """mean and var (C) move by hyper[0] towards stats (2, C) = mean, var times hyper[1]; returns mean.

    hyper[1] = n / (n - 1) makes the biased variance of n elements unbiased. Ioffe and Szegedy 2015, section 3.1.
    """

    def shape(self, mean: Shaped, stats: Shaped, *state: Shaped | None) -> Spec:
        var = state[0]
        assert var is not None
        if var.shape != mean.shape or stats.shape != (2, *mean.shape):
            raise ValueError(
                f"running_stats_step: mean is {mean.shape}, var is {var.shape}, stats are {stats.shape}: they must be "
                "(C,), (C,) and (2, C); pass what batch_stats gave"
            )
        return spec_like(mean)

    def reference(self, mean: np.ndarray, stats: np.ndarray, var: np.ndarray, hyper: np.ndarray) -> np.ndarray:
        momentum, factor = (mean.dtype.type(h) for h in hyper)
        mean += momentum * (stats[0] - mean)
        var += momentum * (stats[1] * factor - var)
        return mean

    def flops(self, out: Shaped, *_: Shaped) -> int:
        """3 a channel for the mean, 4 for the variance."""
        return 7 * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for c in (1, 3, 64):
            arrays = (normal(rng, c), np.abs(normal(rng, 2, c)), np.abs(normal(rng, c)))
            yield Sample((*arrays, np.array([0.1, 8 / 7])))


sgd_step, adam_step = SGDStep(), AdamStep()
average_step, running_stats_step = AverageStep(), RunningStatsStep()
