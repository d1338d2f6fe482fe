"""What clipping gradients by their joint norm needs: squares summed over several arrays, and scaling by what is found.

Pascanu et al. 2013, algorithm 1. Clipping by value is the op `clip`. Both ops have no gradient.
"""

from __future__ import annotations

import math

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size, spec_like

__all__ = ["scale_to_norm", "sum_of_squares"]

FLOAT64 = np.dtype(np.float64)
SHAPES: tuple[tuple[int, ...], ...] = ((3, 5), (1,), (), (0, 2), (37, 129))


class OfSquares(Op):
    """Takes a sum of squares as its last array: float64 (), in which squares of float32 neither overflow nor vanish."""

    gradient = None

    def check_squares(self, squares: Shaped) -> None:
        if squares.shape != () or squares.dtype != FLOAT64:
            raise ValueError(
                f"{self.name}: squares are {squares.shape} {squares.dtype}, they must be () float64; pass what "
                "sum_of_squares gave"
            )


class SumOfSquares(OfSquares):
    """before + the sum of x^2, in float64; `before` is the sum over other arrays, or None."""

    def shape(self, x: Shaped, before: Shaped | None) -> Spec:
        check_floating("sum_of_squares", x)
        if before is not None:
            self.check_squares(before)
        return Spec((), FLOAT64)

    def reference(self, x: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        own = np.square(x, dtype=np.float64).sum()
        return own if before is None else before + own

    def flops(self, out: Shaped, x: Shaped, before: Shaped | None) -> int:
        return 2 * size(x.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in SHAPES:
            yield Sample((normal(rng, *shape), None))
            yield Sample((normal(rng, *shape), np.array(2.5)))


class ScaleToNorm(OfSquares):
    """x max_norm / sqrt(squares) where that makes it smaller, else x: `squares` are summed over all arrays alike."""

    def shape(self, x: Shaped, squares: Shaped, max_norm: float) -> Spec:
        check_floating("scale_to_norm", x)
        self.check_squares(squares)
        return spec_like(x)

    def reference(self, x: np.ndarray, squares: np.ndarray, max_norm: float) -> np.ndarray:
        norm = math.sqrt(squares)
        return x * x.dtype.type(max_norm / norm if norm > max_norm else 1)

    def flops(self, out: Shaped, *_: Shaped, max_norm: float) -> int:
        return size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in SHAPES:
            for max_norm in (0.5, 2.0):
                yield Sample((normal(rng, *shape), np.array(1.5)), {"max_norm": max_norm})


sum_of_squares, scale_to_norm = SumOfSquares(), ScaleToNorm()
