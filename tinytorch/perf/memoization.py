"""What a model computes again for every query although it never changes, computed once. Answers are never kept.

Kept are: weights dequantised and packed as the kernels want them, batch norm folded into the weight before it, the
addresses and tables that follow from shapes, and the memory of all intermediate results. Steps are still called one by
one from Python, and activations are steps of their own; joining and fusing them is `acceleration`'s part.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.engine.graph import fold_batch_norm, trace
from tinytorch.engine.plan import NMSE_BOUND, Plan, PlanError, nmse


def prepare(model: Layer, example: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function that answers queries of the example's shape and dtype as `model` does in evaluation mode.

    Raises GraphError or PlanError where the model cannot be captured, or the answer to the example differs.
    """
    model.eval()
    graph, expected = trace(model.predict, example)
    fold_batch_norm(graph)
    run = Plan(graph).step_by_step
    error = nmse(run(example), expected)
    if not error <= NMSE_BOUND:
        raise PlanError(
            f"prepare: prepared and eager answers differ by {error:.2g}, {NMSE_BOUND} is allowed; report this"
        )
    return run
