"""Losses: each gives the mean over the batch as one number."""

from __future__ import annotations

import numpy as np

from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor, apply, as_tensor
from tinytorch.engine import ops
from tinytorch.engine.ops.index import check_ids

__all__ = ["BinaryCrossEntropyLoss", "CrossEntropyLoss", "MSELoss", "answer_loss", "log_softmax"]


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """log softmax(x) along `dim`, stable for large x."""
    return apply(ops.log_softmax, x, axis=dim)


class MSELoss(Layer):
    """Mean of (prediction - target)^2 over all elements."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        targets = as_tensor(targets)
        if predictions.shape != targets.shape:
            raise ValueError(
                f"MSELoss: predictions are {predictions.shape}, targets are {targets.shape}: they must agree; "
                "reshape one, broadcasting here is nearly always a mistake"
            )
        difference = predictions - targets
        return (difference * difference).mean()


class CrossEntropyLoss(Layer):
    """-log softmax(logits)[target], mean over all rows: logits (..., classes), targets (...) class numbers."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"CrossEntropyLoss: label_smoothing is {label_smoothing}; choose it from 0 to 1")
        self.label_smoothing = float(label_smoothing)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        ids = np.asarray(targets.data if isinstance(targets, Tensor) else targets)
        if ids.dtype.kind == "f":
            if not (ids == np.rint(ids)).all():
                raise TypeError(
                    "CrossEntropyLoss: targets must be class numbers, these are fractions; use argmax first"
                )
            ids = ids.astype(np.int64)
        if logits.ndim < 2 or ids.shape != logits.shape[:-1]:
            raise ValueError(
                f"CrossEntropyLoss: logits are {logits.shape}, targets are {ids.shape}: targets must be "
                f"{logits.shape[:-1]}, one class number for each row"
            )
        check_ids("CrossEntropyLoss", ids, logits.shape[-1], "number of classes")
        rows = logits if logits.ndim == 2 else logits.reshape(-1, logits.shape[-1])
        target = Tensor(np.ascontiguousarray(ids.reshape(-1), np.int64))
        return apply(ops.cross_entropy, rows, target, label_smoothing=self.label_smoothing)


def answer_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Cross-entropy where answers are written: logits (N, T, V) at the last U of T places, answers (N, U) token ids.

    The rows are looked up and not cut out, so that the gradient has a kernel and a step can be captured.
    """
    n, t, vocabulary = logits.shape
    places = np.arange(n * t).reshape(n, t)[:, t - answers.shape[1] :]
    rows = apply(ops.embedding, logits.reshape(n * t, vocabulary), Tensor(places))
    return CrossEntropyLoss()(rows, answers)


class BinaryCrossEntropyLoss(Layer):
    """-(t log p + (1 - t) log(1 - p)), mean: predictions are probabilities, such as a sigmoid gives.

    In a captured step, where nobody looks at them, predictions outside 0..1 make the loss nan.
    """

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        targets = as_tensor(targets)
        if predictions.shape != targets.shape:
            raise ValueError(
                f"BinaryCrossEntropyLoss: predictions are {predictions.shape}, targets are {targets.shape}: "
                "they must agree; reshape one"
            )
        p = predictions.data
        if p.size and (p.min() < 0 or p.max() > 1):
            raise ValueError(
                f"BinaryCrossEntropyLoss: predictions reach from {p.min():.4g} to {p.max():.4g}, probabilities "
                "are from 0 to 1; put a Sigmoid before the loss"
            )
        if targets.dtype != predictions.dtype:
            targets = targets.astype(predictions.dtype)
        return apply(ops.binary_cross_entropy, predictions, targets)
