"""The tolerances of all tests, in one place. A test that needs another one is wrong, or this table is."""

from __future__ import annotations

import numpy as np

# A gradient against finite differences: random projection, float64, away from kinks.
GRADIENT_RELATIVE = 1e-6
# A float32 kernel against its reference: normalised mean square error.
NMSE_ELEMENTWISE = 1e-12
NMSE_REDUCTION = 1e-10


def nmse(actual: np.ndarray, expected: np.ndarray) -> float:
    """Mean square error over the mean square of the expected values; what is not finite must be the same in both."""
    a, b = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert a.shape == b.shape, f"shapes differ: {a.shape} != {b.shape}"
    finite = np.isfinite(b)
    np.testing.assert_array_equal(a[~finite], b[~finite])
    error, power = np.square(a[finite] - b[finite]).sum(), np.square(b[finite]).sum()
    return float(error / power) if power else float(error)


def nmse_of_product(actual: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The same for a @ b, over the mean square that such sums have when signs are random.

    A product of one element may happen to cancel; rounding errors, which its terms make, are then no smaller.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.square(actual - a @ b).sum() / (np.square(a) @ np.square(b)).sum())
