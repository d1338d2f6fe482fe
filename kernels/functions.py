"""exp, log, tanh, sigmoid and the normal distribution of one float32, for loops that LLVM turns into vectors.

No branches and no table look-ups: every case is computed and selected. The polynomials are plain Taylor sums, long
enough on their reduced range that rounding dominates. Not a number stays one; infinities and overflow behave as in IEEE
754.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kernels import simd
from kernels.machine import CONTRACT

f32, i32 = np.float32, np.int32
ZERO, HALF, ONE, TWO = f32(0), f32(0.5), f32(1), f32(2)
LOG2_E = f32(1 / math.log(2))
# log 2 in two parts, the first with 9 bits to spare, so that n * LN2_HIGH is exact for every exponent n.
LN2_HIGH = f32(0.693359375)
LN2_LOW = f32(math.log(2) - 0.693359375)
# Below, exp is 0 in float32, and above, infinite, so the argument may be clamped there.
EXP_MIN, EXP_MAX = f32(-104), f32(89)
C2, C3, C4, C5, C6, C7 = (f32(1 / math.factorial(i)) for i in range(2, 8))
T3, T5, T7, T9 = (f32(2 / i) for i in (3, 5, 7, 9))
TAIL_P = f32(0.21)
P1, P2, P3 = f32(0.08371157580590131), f32(0.0850688552347856), f32(0.06919219090260396)
P4, P5, P6 = f32(0.12487264007657826), f32(-0.0939249890799393), f32(0.3494006788271184)
P7, P8, P9 = f32(-0.33025308453659946), f32(0.283588416802474), f32(-0.07165627722488588)
SMALLEST_NORMAL, SUBNORMAL_SCALE = f32(2.0**-126), f32(2.0**23)
# The bit pattern of sqrt(1/2): subtracting it before the exponent is read brings the mantissa into [sqrt(1/2),
# sqrt(2)).
SQRT_HALF_BITS = i32(0x3F3504F3)
MANTISSA = i32(0x007FFFFF)


@njit(fastmath=CONTRACT, error_model="numpy")
def _reduced(x):
    """x = n log 2 + r with |r| <= log(2) / 2 -> n as int32, exp(r) - 1."""
    x = EXP_MAX if x > EXP_MAX else x
    x = EXP_MIN if x < EXP_MIN else x
    n = np.floor(x * LOG2_E + HALF)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    tail = C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * C7))))
    known = ZERO if x != x else n  # converting nan to an integer is undefined
    return i32(known), r + r * r * tail


@njit(fastmath=CONTRACT, error_model="numpy")
def _power_of_two(n):
    """2^n for -126 <= n <= 127."""
    return simd.int_as_float(i32((n + 127) << 23))


@njit(fastmath=CONTRACT, error_model="numpy")
def exp(x):
    """e ** x."""
    n, p = _reduced(x)
    half = i32(n >> 1)  # in two steps, so that results below the smallest normal number and up to the largest come out
    return (ONE + p) * _power_of_two(half) * _power_of_two(i32(n - half))


@njit(fastmath=CONTRACT, error_model="numpy")
def tanh(x):
    """(e^2x - 1) / (e^2x + 1), from exp(y) - 1 so that small x keep their digits."""
    y = TWO * math.fabs(x)
    y = f32(30) if y > f32(30) else y  # tanh is 1 long before
    n, p = _reduced(y)
    scale = _power_of_two(n)
    e = scale * p + (scale - ONE)
    return math.copysign(e / (e + TWO), x)


@njit(fastmath=CONTRACT, error_model="numpy")
def sigmoid(x):
    """1 / (1 + e^-x), from exp(-|x|) so that it never overflows."""
    e = exp(-math.fabs(x))
    return (e if x < ZERO else ONE) / (ONE + e)


@njit(fastmath=CONTRACT, error_model="numpy")
def bell(x):
    """exp(-x^2 / 2), sqrt(2 pi) times the density of the normal distribution."""
    return exp(-HALF * x * x)


@njit(fastmath=CONTRACT, error_model="numpy")
def normal_cdf(x, bell_of_x):
    """Phi(x) = (1 + erf(x / sqrt 2)) / 2, given bell(x).

    Phi(-x) / bell(x) is a polynomial in 1 / (1 + p x), the form of Abramowitz and Stegun 1964, 26.2.17 (Hastings 1955),
    which has 5 terms for an absolute error of 7.5e-8. The 9 terms here were fitted for the least relative error on
    0 <= x <= 14, which is 2e-8 before rounding.
    """
    t = ONE / (ONE + TAIL_P * math.fabs(x))
    tail = P5 + t * (P6 + t * (P7 + t * (P8 + t * P9)))
    tail = bell_of_x * t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * tail))))
    return tail if x < ZERO else ONE - tail


@njit(fastmath=CONTRACT, error_model="numpy")
def log(x):
    """Natural logarithm: x = 2^n m with m near 1, and log m = 2 artanh((m - 1) / (m + 1))."""
    tiny = x < SMALLEST_NORMAL
    bits = simd.float_as_int(x * SUBNORMAL_SCALE if tiny else x)
    shifted = i32(bits - SQRT_HALF_BITS)
    n = i32(shifted >> 23)
    m = simd.int_as_float(i32(i32(shifted & MANTISSA) + SQRT_HALF_BITS))
    exponent = f32(n) - (f32(23) if tiny else ZERO)
    f = m - ONE
    s = f / (f + TWO)
    z = s * s
    # 2 s = f - s f, so the largest term is f itself, which is exact.
    y = (f - s * (f - z * (T3 + z * (T5 + z * (T7 + z * T9))))) + exponent * LN2_LOW
    y = y + exponent * LN2_HIGH
    y = x if x == f32(np.inf) else y
    y = f32(-np.inf) if x == ZERO else y
    return y if x >= ZERO else f32(np.nan)
