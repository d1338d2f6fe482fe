"""What a model computes again for every query although it never changes, computed once. Answers are never kept.

Kept are: weights dequantised and packed as the kernels want them, batch norm folded into the weight before it, the
addresses and tables that follow from shapes, and the memory of all intermediate results. Steps are still called one by
one from Python, and activations are steps of their own; joining and fusing them is `acceleration`'s part.

Of a text that is being written it is what was read before: `KVCache` keeps that, and `GPT.generate` uses one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinytorch.core.kv_cache import KVCache
from tinytorch.core.layers import Layer
from tinytorch.engine.plan import capture
from tinytorch.engine.rewrites import fold_batch_norm

__all__ = ["KVCache", "prepare"]


def prepare(model: Layer, example: np.ndarray, threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """A function that answers queries of the example's shape and dtype as `model` does in evaluation mode.

    Each step uses up to `threads` threads. Raises GraphError or PlanError where the model cannot be captured.
    """
    model.eval()
    return capture(model.predict, example, rewrite=fold_batch_norm, threads=threads).step_by_step
