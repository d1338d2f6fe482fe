"""The same arrays through this project and through PyTorch: results and gradients must agree.

Whoever imports this file is skipped where PyTorch is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.tolerance import NMSE_REDUCTION, nmse
from tinytorch import Tensor
from tinytorch.core.tensor import apply
from tinytorch.engine.op import Op

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the shapes are small, and two pools of threads would wait for each other

# Both sides round in float32; in float64 rounding is out of sight and what is left would be mathematics.
BOUND = {np.float32: NMSE_REDUCTION, np.float64: 1e-20}


def pairs(arrays: Sequence[np.ndarray], dtype: Any) -> tuple[list[Tensor], list[torch.Tensor]]:
    """Floating arrays as leaves that require gradients, others as they are, for both sides."""
    ours, theirs = [], []
    for a in arrays:
        floating = a.dtype.kind == "f"
        values = a.astype(dtype) if floating else a
        ours.append(Tensor(values.copy(), requires_grad=floating, dtype=values.dtype))
        theirs.append(torch.tensor(values, requires_grad=floating))
    return ours, theirs


def compare(
    dtype: Any, arrays: Sequence[np.ndarray], ours: Callable[..., Tensor], theirs: Callable[..., torch.Tensor]
) -> None:
    """ours(*tensors) == theirs(*torch tensors), and so are the gradients of all floating inputs."""
    inputs, torch_inputs = pairs(arrays, dtype)
    y, torch_y = ours(*inputs), theirs(*torch_inputs)
    assert y.dtype == dtype
    assert nmse(y.data, torch_y.detach().numpy()) <= BOUND[dtype], "result"
    g = np.asarray(np.random.default_rng(11).standard_normal(y.shape), dtype)
    y.backward(g)
    torch_y.backward(torch.tensor(g))
    for i, (t, torch_t) in enumerate(zip(inputs, torch_inputs)):
        if t.requires_grad:
            assert t.grad is not None and torch_t.grad is not None and t.grad.dtype == dtype
            assert nmse(t.grad, torch_t.grad.numpy()) <= BOUND[dtype], f"gradient of input {i}"


def of(op: Op, **params: Any) -> Callable[..., Tensor]:
    """An op as a function of tensors."""
    return lambda *tensors: apply(op, *tensors, **params)
