"""What a model costs before it is timed: parameters, and FLOPs as seen at the seam, never guessed from class names."""

from __future__ import annotations

from typing import Any

from profiler.record import record
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor
from tinytorch.engine.dispatch import use_backend


def parameters(model: Layer) -> int:
    """Number of trainable and fixed parameter elements, shared ones counted once."""
    return sum(p.size for p in model.parameters())


def flops(model: Layer, *inputs: Any) -> int:
    """FLOPs of one forward pass over `inputs` (arrays or tensors), the whole batch; a multiply-add counts 2.

    The pass runs once in evaluation mode on the NumPy backend, so it compiles nothing and leaves the model as it was.
    """
    tensors = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        with use_backend("numpy"), no_grad(), record(model) as recording:
            model(*tensors)
    finally:
        for layer, training in modes:
            layer.training = training
    return sum(row.flops for row in recording.rows)
