"""Training a pruned model further, so that the weights that are left make up for those that are gone.

Weights that are zero stay zero, under the mask of the first moment (Han et al. 2015, section 3.1).
Left out: quantisation-aware training; fine-tune in float32, then quantise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.layers import Layer
from tinytorch.core.optimizers import AdamW, Optimizer
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import CosineSchedule, Trainer
from tinytorch.engine import ops
from tinytorch.engine.dispatch import backend
from tinytorch.engine.step import Step
from tinytorch.perf.training import Loss, compile_step
from tinytorch.perf.weighted import require_weights, smaller, stored, weight_tensor

Batch = tuple[Tensor, ...]


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
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    threads: int = 1,
    progress: Callable[[], object] = lambda: None,
) -> Layer:
    """A copy of `model`, trained for `epochs` passes over training data x (N, ...) and y (N, ...), in evaluation mode.

    AdamW, its rate falling from `lr` to a hundredth of it along a cosine; batches are drawn with `seed`, and what
    `transform` makes of their x is what the model reads (augmented images, say). Steps are captured, for up to
    `threads` threads, whose number changes no result; `progress()` is called after each. A weight that is stored
    sparsely is trained dense under its mask and stored sparsely again. Raises ValueError for quantised weights, no
    data, a rate that is not positive and less than one epoch; NonFiniteLoss where training breaks down.
    """
    if epochs < 1 or not lr > 0:
        raise ValueError(f"finetune: epochs is {epochs} and lr is {lr}; choose at least one epoch and a positive rate")
    if len(x) != len(y) or not len(x):
        raise ValueError(f"finetune: x is {x.shape}, y is {y.shape}; give as many targets as samples, at least one")
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
    batches = DataLoader(
        TensorDataset(x, y), batch_size=batch_size, shuffle=True, seed=seed, transform=transform
    )
    trainer = Trainer(changed, optimizer, loss, schedule, captured=captured(changed, optimizer, loss, batches, threads))
    for _ in range(epochs):
        trainer.train_epoch(told(batches, progress))
    for one in weighted:
        one.layer.weight = weight_tensor(smaller(one.layer.weight.data, one))
    return changed.eval()


def captured(model: Layer, optimizer: Optimizer, loss: Loss, batches: DataLoader, threads: int) -> Step | None:
    """A step for whole batches; None on the NumPy backend, which has none."""
    if backend() != "numba":
        return None
    x, y = batches.batch(np.arange(min(batches.batch_size, len(batches.dataset))))
    return compile_step(model, optimizer, loss, x, y, threads)


def told(batches: Iterable[Batch], progress: Callable[[], object]) -> Iterator[Batch]:
    """The batches; `progress()` is called when one has been used."""
    for batch in batches:
        yield batch
        progress()


class Masked(AdamW):
    """AdamW that lets masked weights, which are zero, be zero: of a gradient of 0 come moments and updates of 0."""

    def __init__(self, params: list[Tensor], masks: list[tuple[Tensor, np.ndarray]]) -> None:
        super().__init__(params, weight_decay=0.0)
        self.masks = {id(weight.data): mask for weight, mask in masks}

    def update(self, w: np.ndarray, g: np.ndarray, moments: dict[str, np.ndarray]) -> None:
        mask = self.masks.get(id(w))
        super().update(w, g if mask is None else ops.mul(g, mask), moments)
