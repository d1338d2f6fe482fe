"""Rounding activations to the unsigned 8-bit grid: how int8 is emulated where no integer kernel runs."""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, normal, size, spec_like

__all__ = ["quantize_dequantize"]


class QuantizeDequantize(Op):
    """(clip(round(x / scale) + zero_point, 0, 255) - zero_point) scale: x as uint8 would store it, back in x's dtype"""

    gradient = None

    def shape(self, x: Shaped, scale: float, zero_point: int) -> Spec:
        if not scale > 0 or not 0 <= zero_point <= 255:
            raise ValueError(
                f"quantize_dequantize: scale {scale}, zero_point {zero_point}: scale must be positive, zero_point in "
                "0..255; calibrate on data that is finite"
            )
        return spec_like(x)

    def reference(self, x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
        q = np.clip(np.rint(x / x.dtype.type(scale)) + x.dtype.type(zero_point), 0, 255)
        return (q - x.dtype.type(zero_point)) * x.dtype.type(scale)

    def flops(self, out: Shaped, *_: Shaped, **__: object) -> int:
        return 5 * size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape in ((3, 5), (1,), (0, 4), (2, 3, 4, 5)):
            yield Sample((normal(rng, *shape),), {"scale": 0.02, "zero_point": 100})


quantize_dequantize = QuantizeDequantize()
