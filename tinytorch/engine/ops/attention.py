"""Scaled dot-product attention and its gradient. Vaswani et al. 2017, section 3.2.1.

Shapes are (batch, heads, positions, width). Projections give (batch, positions, heads, width), seen as that through a
transposed view; the gradients are laid out so again. Left out: dropout of weights, masks other than the causal one
(`core.attention` composes those of other ops), attention to a cache (`decoding.py`).
"""

from __future__ import annotations

import numpy as np

from tinytorch.engine.op import Op, Sample, SampleIterator, Shaped, Spec, check_floating, normal, size
from tinytorch.engine.ops.movement import getitem, reshape, transpose

__all__ = ["attention", "attention_grad"]


def check_heads(name: str, q: Shaped, k: Shaped, v: Shaped) -> None:
    """Errors unless q is (B, H, T, D) and k and v are (B, H, S, D), of floating types."""
    check_floating(name, q)
    for label, x in (("q", q), ("k", k), ("v", v)):
        if len(x.shape) != 4:
            raise ValueError(
                f"{name}: {label} is {x.shape}: it must be (batch, heads, positions, width); reshape it or add the "
                "missing axes"
            )
    if k.shape != v.shape:
        raise ValueError(f"{name}: k is {k.shape}, v is {v.shape}: each key needs one value; they must agree")
    if (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        raise ValueError(
            f"{name}: q is {q.shape}, k is {k.shape}: only the numbers of positions may differ; split both into the "
            "same heads"
        )


def weights_of(q: np.ndarray, k: np.ndarray, causal: bool, scale: float) -> np.ndarray:
    """softmax(scale q k^T), (B, H, T, S), with no weight on keys behind the query's own where causal."""
    scores = (q @ k.swapaxes(-1, -2)) * q.dtype.type(scale)
    t, s = scores.shape[-2:]
    if causal:
        scores[..., np.triu(np.ones((t, s), bool), 1 + s - t)] = -np.inf
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def heads_last(x: np.ndarray) -> np.ndarray:
    """(B, H, T, D) flat in the order of (B, T, H, D), as a projection's gradient wants it."""
    return x.transpose(0, 2, 1, 3).ravel()


class Attention(Op):
    """softmax(scale q k^T) v: q (B,H,T,D), k and v (B,H,S,D) -> (B,H,T,D).

    `causal`: the last query sees all keys, each one before it one key less.
    """

    def shape(self, q: Shaped, k: Shaped, v: Shaped, causal: bool, scale: float) -> Spec:
        check_heads(self.name, q, k, v)
        if k.shape[2] == 0:
            raise ValueError(f"attention: k is {k.shape}: attention to no key is undefined; give at least one")
        if causal and q.shape[2] > k.shape[2]:
            raise ValueError(
                f"attention: q is {q.shape}, k is {k.shape}: causal attention needs a key for every query "
                f"({q.shape[2]} > {k.shape[2]}); give the keys of all positions so far"
            )
        return Spec(q.shape, np.result_type(q.dtype, k.dtype, v.dtype))

    def reference(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, scale: float) -> np.ndarray:
        return weights_of(q, k, causal, scale) @ v

    def gradient(
        self, need: tuple, g: np.ndarray, out: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        causal: bool, scale: float,
    ) -> tuple:  # fmt: skip
        flat = attention_grad(g, out, q, k, v, causal=causal, scale=scale)
        found, start = [], 0
        for wanted, x in zip(need, (q, k, v)):
            part = wanted and getitem(flat, index=slice(start, start + x.size))
            b, h, t, d = x.shape
            found.append(wanted and transpose(reshape(part, shape=(b, t, h, d)), axes=(0, 2, 1, 3)))
            start += x.size
        return tuple(found)

    def flops(self, out: Shaped, q: Shaped, k: Shaped, v: Shaped, causal: bool, scale: float) -> int:
        """Both products in full, as is the custom, also where the causal half of them need not be computed."""
        return 4 * size(q.shape) * k.shape[2]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for b, h, t, s, d in (
            (1, 1, 1, 1, 1), (2, 3, 5, 5, 4), (1, 2, 3, 7, 8), (2, 2, 33, 33, 17), (0, 2, 3, 3, 4), (1, 2, 70, 130, 32),
        ):  # fmt: skip
            arrays = (normal(rng, b, h, t, d), normal(rng, b, h, s, d), normal(rng, b, h, s, d))
            for causal in (False, True):
                yield Sample(arrays, {"causal": causal, "scale": d**-0.5})
        yield Sample((normal(rng, 1, 1, 3, 2), normal(rng, 1, 1, 2, 2), normal(rng, 1, 1, 2, 2)),
                     {"causal": False, "scale": 1.0})  # fmt: skip


class AttentionGrad(Op):
    """The gradients of q, k and v, flat, one behind the other, each in the order of (B, T, H, D).

    Dao 2023 (FlashAttention-2), section 3.1.2; the weights are computed again.
    """

    gradient = None

    def shape(
        self, g: Shaped, out: Shaped, q: Shaped, k: Shaped, v: Shaped, causal: bool, scale: float
    ) -> Spec:  # fmt: skip
        check_heads(self.name, q, k, v)
        for label, x in (("g", g), ("out", out)):
            if x.shape != q.shape:
                raise ValueError(f"attention_grad: {label} is {x.shape}, q is {q.shape}: pass what forward gave")
        return Spec((size(q.shape) + 2 * size(k.shape),), np.result_type(q.dtype, k.dtype, v.dtype))

    def reference(
        self, g: np.ndarray, out: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, scale: float
    ) -> np.ndarray:
        weights = weights_of(q, k, causal, scale)
        gv = weights.swapaxes(-1, -2) @ g
        scores = weights * (g @ v.swapaxes(-1, -2) - (g * out).sum(-1, keepdims=True)) * q.dtype.type(scale)
        return np.concatenate([heads_last(x) for x in (scores @ k, scores.swapaxes(-1, -2) @ q, gv)])

    def flops(
        self, out: Shaped, g: Shaped, y: Shaped, q: Shaped, k: Shaped, v: Shaped, causal: bool, scale: float
    ) -> int:
        """Five products: the weights again, and the gradients of weights, q, k and v."""
        return 10 * size(q.shape) * k.shape[2]

    def samples(self, rng: np.random.Generator) -> SampleIterator:
        for (q, k, v), params in attention.samples(rng):
            out = attention.reference(q, k, v, **params)
            yield Sample((normal(rng, *q.shape), out, q, k, v), params)


attention, attention_grad = Attention(), AttentionGrad()
