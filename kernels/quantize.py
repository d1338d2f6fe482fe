"""The emulated int8 path: round activations to 256 levels and back, in one pass.

Left out: arithmetic on integers, which is a matter of kernels of their own.
"""

from __future__ import annotations

import numpy as np

from kernels.elementwise import BLOCK
from kernels.machine import EXACT, Floats, kernel
from kernels.program import Builder, Ref
from kernels.registry import lowers

ELEMENT_NS = 0.3
LEVELS = np.float32(255)


@kernel(writes="y", fastmath=EXACT)
def quantize_dequantize(x: Floats, y: Floats, n: int, scale: float, zero_point: int, lo: int, hi: int) -> None:
    """y = (q - zero_point) scale, q = clip(round(x / scale) + zero_point, 0, 255), to even at halves; nan stays.

    Items: blocks of BLOCK.
    """
    step, zero = np.float32(scale), np.float32(zero_point)
    for i in range(lo * BLOCK, min(hi * BLOCK, n)):
        q = np.rint(x[i] / step) + zero
        q = np.float32(0) if q < np.float32(0) else q
        q = LEVELS if q > LEVELS else q
        y[i] = (q - zero) * step


@lowers("quantize_dequantize")
def lower(build: Builder, x: Ref, *, scale: float, zero_point: int) -> Ref | None:
    """x, any shape -> the same shape."""
    y = build.empty_like(x) if x.dense else build.empty(x.shape)
    build.step(
        quantize_dequantize, build.in_order_of(x, y), y, x.size, float(scale), int(zero_point),
        items=-(-x.size // BLOCK), cost_ns=ELEMENT_NS * x.size,
    )  # fmt: skip
    return y
