"""GELU and its gradient, exact and in the tanh form. Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2.

Left out: the normal distribution itself (`functions.py`) and the loops (`elementwise.py`).
"""

from __future__ import annotations

import math

import numpy as np

from kernels import functions
from kernels.elementwise import ONE, apply, binary_kernel, unary_kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

ELEMENT_NS = 0.8
SLOPE = np.float32(2 * math.sqrt(2 / math.pi))
CUBIC, CUBIC_3 = np.float32(0.044715), np.float32(3 * 0.044715)
DENSITY = np.float32(1 / math.sqrt(2 * math.pi))


@unary_kernel("gelu_tanh")
def gelu_tanh(x):
    """0.5 x (1 + tanh(u / 2)) = x sigmoid(u)."""
    return x * functions.sigmoid(SLOPE * (x + CUBIC * x * x * x))


@binary_kernel("gelu_tanh_grad")
def gelu_tanh_grad(g, x):
    s = functions.sigmoid(SLOPE * (x + CUBIC * x * x * x))
    slope = SLOPE * (ONE + CUBIC_3 * x * x)
    return g * s * (ONE + x * (ONE - s) * slope)


@unary_kernel("gelu_exact")
def gelu_exact(x):
    return x * functions.normal_cdf(x, functions.bell(x))


@binary_kernel("gelu_exact_grad")
def gelu_exact_grad(g, x):
    bell = functions.bell(x)
    return g * (functions.normal_cdf(x, bell) + x * (bell * DENSITY))


@lowers("gelu")
def gelu(build: Builder, x: Ref, *, approximate: str) -> Ref | None:
    """x, any shape -> the same shape; approximate is "tanh" or "none"."""
    return apply(build, gelu_tanh if approximate == "tanh" else gelu_exact, ELEMENT_NS, x)


@lowers("gelu_grad")
def gelu_grad(build: Builder, g: Ref, x: Ref, *, approximate: str) -> Ref | None:
    """g and x, any shape -> the same shape."""
    return apply(build, gelu_tanh_grad if approximate == "tanh" else gelu_exact_grad, ELEMENT_NS, g, x)
