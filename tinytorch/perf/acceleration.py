"""One call from a model to a plan: fused steps, packed constants, one arena, no Python between the steps."""

from __future__ import annotations

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor
from tinytorch.engine.plan import Plan, capture


def accelerate(model: Layer, example: np.ndarray | Tensor, threads: int = 1) -> Plan:
    """Capture `model`, in evaluation mode, for queries of the example's shape; `tinytorch.compile` is this function.

    The plan answers `plan(x) -> ndarray` with up to `threads` threads and was verified against the eager model. It can
    be saved (`plan.save`, `tinytorch.load_plan`) and be called from several threads at once. Raises GraphError or
    PlanError where the model cannot be captured.
    """
    model.eval()
    return capture(model.predict, example.data if isinstance(example, Tensor) else example, threads=threads)
