"""Training a pruned model further, so that the weights that are left make up for those that are gone.

Weights that are zero stay zero, under the mask of the first moment (Han et al. 2015, section 3.1).
Left out: quantisation-aware training; fine-tune in float32, then quantise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from tinytorch.core.dataloader import DataLoader
from tinytorch.core.layers import Layer
from tinytorch.core.optimizers import AdamW
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import CosineSchedule, Trainer
from tinytorch.engine import ops
from tinytorch.engine.dispatch import backend
from tinytorch.perf.training import Loss, compile_step
from tinytorch.perf.weighted import require_weights, smaller, stored, weight_tensor

Progress = Callable[[int, int], object]


def finetune(
    model: Layer,
    batches: DataLoader,
    loss: Loss,
    *,
    epochs: int,
    lr: float = 0.003,
    threads: int = 1,
    progress: Progress = lambda done, of: None,
) -> Layer:
    """A copy of `model`, trained for `epochs` passes over batches (x, y) of training data, in evaluation mode.

    AdamW, its rate falling from `lr` to a hundredth of it along a cosine. Steps are captured, for up to `threads`
    threads, whose number changes no result; after each, `progress(done, of)` is called. A weight that is stored
    sparsely is trained dense under its mask and stored sparsely again. Raises ValueError for quantised weights, no
    batches, a rate that is not positive and less than one epoch; NonFiniteLoss where training breaks down.
    """
    if epochs < 1 or not lr > 0:
        raise ValueError(f"finetune: epochs is {epochs} and lr is {lr}; choose at least one epoch and a positive rate")
    if not len(batches):
        raise ValueError("finetune: the loader has no batches; give at least one sample, or smaller batches")
    changed = copy.deepcopy(model)
    weighted = require_weights("finetune", changed)
    masks: list[tuple[Tensor, np.ndarray]] = []
    for one in weighted:
        dense = stored(one.layer.weight)
        if not isinstance(dense, np.ndarray):
            raise ValueError(f"finetune: layer {one.name} is {dense.kind}; fine-tune in float32, then quantise")
        one.layer.weight = Tensor(dense.copy(), requires_grad=True)
        if not dense.all():
            masks.append((one.layer.weight, (dense != 0).astype(np.float32)))

    optimizer = Masked(changed.parameters(), masks)
    schedule = CosineSchedule(max_lr=lr, min_lr=lr / 100, total_epochs=epochs)
    x, y = first(batches)
    step = compile_step(changed, optimizer, loss, x, y, threads) if backend() == "numba" else None
    trainer = Trainer(changed, optimizer, loss, schedule, captured=step)
    for _ in range(epochs):
        trainer.train_epoch(batches, watch=lambda rows, loss: progress(trainer.step, epochs * len(batches)))
    for one in weighted:
        one.layer.weight = weight_tensor(smaller(one.layer.weight.data, one))
    return changed.eval()


def first(batches: DataLoader) -> tuple[Tensor, ...]:
    """The batch that comes first, which is still to come afterwards."""
    state = batches.state_dict()
    batch = next(iter(batches))
    batches.load_state_dict(state)
    return batch


class Masked(AdamW):
    """AdamW that lets masked weights, which are zero, be zero: of a gradient of 0 come moments and updates of 0."""

    def __init__(self, params: list[Tensor], masks: list[tuple[Tensor, np.ndarray]]) -> None:
        super().__init__(params, weight_decay=0.0)
        self.masks = {id(weight.data): mask for weight, mask in masks}

    def update(self, w: np.ndarray, g: np.ndarray, moments: dict[str, np.ndarray]) -> None:
        mask = self.masks.get(id(w))
        super().update(w, g if mask is None else ops.mul(g, mask), moments)
