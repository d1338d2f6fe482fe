"""The transforms of fast convolution: 3 x 3 windows of 6 x 6 patches with 36 multiplications in place of 144.

A product of polynomials is known from its values at enough points (Toom 1963, Cook 1966). For the 4 results of 3
weights on 6 numbers in a row these are six points, one of them infinity; Winograd 1980 gave the form used for
convolutions (Lavin and Gray 2016, arXiv:1509.09308, section 4): result = A' [(G weights) * (B' data)], here along both
axes of an image. The same points serve the gradient of the weights, 3 results of 4 weights, and with the same B'.

The points are 0, +-3/4, +-3/2 and infinity. All numbers in B' and A' are exact in float32, and points so near one
another lose less than Lavin's 0, +-1, +-2: against float64 the normalised mean square error of 64 channels is 6e-13
(Lavin's 2.4e-12, a plain sum 2e-13), measured on normal numbers. The error is in proportion to the largest number of a
patch, not of a window.

Left out: walks over images and the products in between (`winograd.py`, `winograd_grad.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kernels.machine import CONTRACT

DATA, RESULTS, WEIGHTS = 6, 4, 3  # in a row, and in a column
POSITIONS = DATA * DATA
_A, _B = 0.75, 1.5  # the points but for 0 and infinity, with either sign
A, A2, A3, B, B2, B3 = (np.float32(p**i) for p in (_A, _B) for i in (1, 2, 3))
A2_B2, A2_AND_B2 = np.float32(_A**2 * _B**2), np.float32(_A**2 + _B**2)
# One over the product of a point's distances to all others.
N_0 = np.float32(1 / (_A**2 * _B**2))
N_A = np.float32(1 / (2 * _A**2 * (_A**2 - _B**2)))
N_B = np.float32(1 / (2 * _B**2 * (_B**2 - _A**2)))

# Operations of each transform below, as written, for steps to say what they compute.
OF_DATA, OF_THREE, OF_FOUR, FOUR_RESULTS, THREE_RESULTS = 22, 13, 17, 16, 13

compiled: Any = njit(fastmath=CONTRACT, error_model="numpy")


@compiled
def of_data(d0, d1, d2, d3, d4, d5):
    """B' d: each row holds the coefficients of the polynomial that is zero at all other points."""
    even_a, odd_a = d4 - d2 * B2, (d3 - d1 * B2) * A
    even_b, odd_b = d4 - d2 * A2, (d3 - d1 * A2) * B
    first = d0 * A2_B2 - d2 * A2_AND_B2 + d4
    last = d1 * A2_B2 - d3 * A2_AND_B2 + d5
    return first, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, last


@compiled
def of_three(g0, g1, g2):
    """G g for 3 weights: the values of g0 + g1 x + g2 x^2 at the points, each divided by its distances."""
    even_a, odd_a = (g0 + g2 * A2) * N_A, g1 * (A * N_A)
    even_b, odd_b = (g0 + g2 * B2) * N_B, g1 * (B * N_B)
    return g0 * N_0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g2


@compiled
def of_four(g0, g1, g2, g3):
    """G g for 4 weights."""
    even_a, odd_a = (g0 + g2 * A2) * N_A, (g1 + g3 * A2) * (A * N_A)
    even_b, odd_b = (g0 + g2 * B2) * N_B, (g1 + g3 * B2) * (B * N_B)
    return g0 * N_0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g3


@compiled
def four_results(m0, m1, m2, m3, m4, m5):
    """A' m: result j is the sum of all points' m times the point to the power j."""
    sum_a, sum_b, difference_a, difference_b = m1 + m2, m3 + m4, m1 - m2, m3 - m4
    first, last = m0 + sum_a + sum_b, difference_a * A3 + difference_b * B3 + m5
    return first, difference_a * A + difference_b * B, sum_a * A2 + sum_b * B2, last


@compiled
def three_results(m0, m1, m2, m3, m4, m5):
    """A' m where there are 4 weights."""
    sum_a, sum_b = m1 + m2, m3 + m4
    return m0 + sum_a + sum_b, (m1 - m2) * A + (m3 - m4) * B, sum_a * A2 + sum_b * B2 + m5
