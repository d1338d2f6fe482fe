"""What a model computes again for every query although it never changes, computed once. Answers are never kept.

`prepare` keeps for each layer: the packed and dequantised weight, batch norm folded into the weight before it, the tables that
follow from shapes, and the output buffer. Layers are still called one by one from Python; joining them is `acceleration`'s part.
"""

from __future__ import annotations

import numpy as np

from tinytorch.core.layers import Dropout, Layer, Linear, Sequential
from tinytorch.core.spatial import BatchNorm2d, Conv2d
from tinytorch.engine.plan import Plan, capture


class Prepared:
    """A model as one prepared piece after another: `prepared(x) -> ndarray` for queries of the shape it was prepared for."""

    def __init__(self, pieces: list[Plan]) -> None:
        self.pieces = pieces

    def __call__(self, x: np.ndarray) -> np.ndarray:
        for piece in self.pieces:
            x = piece(x)
        return x


def prepare(model: Layer, example: np.ndarray) -> Prepared:
    """Prepare `model`, in evaluation mode, for queries of the example's shape and dtype.

    The layers of a Sequential become a piece each; a model of another kind is one piece, since its order is its own code.
    """
    model.eval()
    pieces = []
    for layers in groups(model):
        piece = capture(Sequential(layers), example)
        pieces.append(piece)
        example = piece(example).copy()
    return Prepared(pieces)


def groups(model: Layer) -> list[list[Layer]]:
    """Layers that are prepared together: each alone, but batch norm with the weighted layer that it is folded into."""
    grouped: list[list[Layer]] = []
    for layer in in_order(model):
        if isinstance(layer, Dropout):  # does nothing in evaluation
            continue
        if isinstance(layer, BatchNorm2d) and grouped and isinstance(grouped[-1][-1], Linear | Conv2d):
            grouped[-1].append(layer)
        else:
            grouped.append([layer])
    return grouped


def in_order(model: Layer) -> list[Layer]:
    """The layers of a Sequential, nested ones opened."""
    if not isinstance(model, Sequential):
        return [model]
    return [leaf for layer in model.layers for leaf in in_order(layer)]
