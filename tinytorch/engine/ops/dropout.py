"""Dropout with a mask that depends on nothing but a key and the place of an element: a counter-based generator.

So backward computes the mask again instead of keeping it, and every backend drops the same elements.
"""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size, spec_like

__all__ = ["dropout"]

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
ROUNDS = 10
COUNTERS = 256  # whose words 0 .. 3 belong to one block of elements, all words 0 first


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Philox 4x32-10, Salmon et al. 2011, section 3.3: counter (4, n), key (2,) -> words (4, n), uint64 below 2^32."""
    a, b, c, d = counter
    k, m = key
    for _ in range(ROUNDS):
        p, q = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (q >> HALF) ^ b ^ k, q & LOW, (p >> HALF) ^ d ^ m, p & LOW
        k, m = (k + WEYL[0]) & LOW, (m + WEYL[1]) & LOW
    return np.stack([a, b, c, d])


def kept(n: int, key: np.ndarray, p: float) -> np.ndarray:
    """Which of n elements stay: those whose word is at least p 2^32."""
    blocks = -(-n // (4 * COUNTERS))
    counter = np.arange(blocks * COUNTERS, dtype=np.uint64)
    zero, key = np.zeros_like(counter), key.astype(np.uint64)
    words = philox(np.stack([counter & LOW, counter >> HALF, zero, zero]), np.array([key & LOW, key >> HALF]))
    in_order = words.reshape(4, blocks, COUNTERS).transpose(1, 0, 2).ravel()[:n]
    return in_order >= np.uint64(int(p * 2**32))


class Dropout(Op):
    """x times 1 / (1 - p) where an element is kept and times 0 where not; key () int64. Srivastava et al. 2014."""

    def shape(self, x: Shaped, key: Shaped, p: float) -> Spec:
        check_floating("dropout", x)
        if key.shape != () or key.dtype != np.int64:
            raise TypeError(f"dropout: key is {key.shape} {key.dtype}: it must be one int64; draw a new one each time")
        if not 0 <= p <= 1:
            raise ValueError(f"dropout: p is {p}, it is a probability: choose it from 0 to 1")
        return spec_like(x)

    def reference(self, x: np.ndarray, key: np.ndarray, p: float) -> np.ndarray:
        scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)
        return x * np.where(kept(x.size, key, p).reshape(x.shape), scale, x.dtype.type(0))

    def gradient(self, need: tuple, g: np.ndarray, out: np.ndarray, x: np.ndarray, key: np.ndarray, p: float) -> tuple:
        return need[0] and dropout(g, key, p=p), None

    def flops(self, out: Shaped, *_: Shaped, **__: object) -> int:
        return size(out.shape)

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for shape, p in (((3, 5), 0.5), ((), 0.3), ((0, 4), 0.5), ((37, 129), 0.1), ((2, 3, 4), 1.0), ((1024,), 0.0)):
            yield Sample((normal(rng, *shape), np.asarray(rng.integers(-(2**62), 2**62))), {"p": p})


dropout = Dropout()
