"""Training a pruned model further, so that the weights that are left make up for those that are gone.

Weights that are zero stay zero: each step is followed by the mask of the first moment (Han et al. 2015, section 3.1).
Left out: quantisation-aware training; fine-tune in float32, then quantise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.layers import Layer
from tinytorch.core.optimizers import AdamW
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import CosineSchedule, Trainer
from tinytorch.perf.weighted import require_weights, smaller, stored, weight_tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def finetune(
    model: Layer,
    x: np.ndarray,
    y: np.ndarray,
    loss: Loss,
    *,
    epochs: int,
    lr: float = 0.003,
    batch_size: int = 64,
    seed: int = 0,
) -> Layer:
    """A copy of `model`, trained for `epochs` passes over training data x (N, ...) and y (N, ...), in evaluation mode.

    AdamW, its rate falling from `lr` to a hundredth of it along a cosine; batches are drawn with `seed`. A weight that
    is stored sparsely is trained dense under its mask and stored sparsely again. Raises ValueError for quantised
    weights, no data, a rate that is not positive and less than one epoch; NonFiniteLoss where training breaks down.
    """
    if epochs < 1 or not lr > 0:
        raise ValueError(f"finetune: epochs is {epochs} and lr is {lr}; choose at least one epoch and a positive rate")
    if len(x) != len(y) or not len(x):
        raise ValueError(f"finetune: x is {x.shape}, y is {y.shape}; give as many targets as samples, at least one")
    changed = copy.deepcopy(model)
    weighted = require_weights("finetune", changed)
    masks: list[np.ndarray] = []
    for one in weighted:
        dense = stored(one.layer.weight)
        if not isinstance(dense, np.ndarray):
            raise ValueError(f"finetune: layer {one.name} is {dense.kind}; fine-tune in float32, then quantise")
        masks.append(dense != 0)
        one.layer.weight = Tensor(dense.copy(), requires_grad=True)

    optimizer = Masked(changed.parameters(), masks=[(one.layer.weight, m) for one, m in zip(weighted, masks)])
    schedule = CosineSchedule(max_lr=lr, min_lr=lr / 100, total_epochs=epochs)
    trainer = Trainer(changed, optimizer, loss, schedule)
    batches = DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True, seed=seed)
    for _ in range(epochs):
        trainer.train_epoch(batches)
    for one in weighted:
        one.layer.weight = weight_tensor(smaller(one.layer.weight.data, one))
    return changed.eval()


class Masked(AdamW):
    """AdamW after whose step the masked weights are zero again."""

    def __init__(self, params: list[Tensor], masks: list[tuple[Tensor, np.ndarray]]) -> None:
        super().__init__(params, weight_decay=0.0)
        self.masks = masks

    def step(self) -> None:
        super().step()
        for weight, mask in self.masks:
            weight.data *= mask
