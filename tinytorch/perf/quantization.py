"""Post-training quantisation: int8 weights, and activations on grids measured with calibration data.

Weights are symmetric per output channel (Krishnamoorthi 2018, section 3); activations are affine uint8, one grid per
layer input. Batch norm is folded first. With both, arithmetic is on integers (`engine/formats.py`); weights alone are
stored as int8 and computed in float32. Left out: training with quantisation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Layer, Linear, Packed
from tinytorch.core.spatial import Conv2d
from tinytorch.core.tensor import Tensor
from tinytorch.engine import dispatch
from tinytorch.engine.formats import Format, Grid, Int8, Sparse
from tinytorch.perf.folding import fold_batch_norm
from tinytorch.perf.weighted import is_sparse, require_weights, smaller, weight_tensor, with_formats

WEIGHTED_OPS = ("linear", "conv2d")


def quantize(model: Layer, calibration: np.ndarray, *, activations: bool = True, percentile: float = 100.0) -> Layer:
    """A copy of `model`, in evaluation mode, with int8 weights; pruned weights stay sparse where that is smaller.

    `calibration` (N, ...), float32 or int64 ids, are inputs as the model will meet them, taken from training data. With
    `activations`, the input of each weighted layer is rounded to a grid over the values seen there: all of them at
    percentile 100, else those between the percentiles 100 - p and p. Raises ValueError for an empty calibration, a
    percentile outside (50, 100], weights or activations that are not finite, and models without weights.
    """
    if not 50 < percentile <= 100:
        raise ValueError(
            f"quantize: percentile is {percentile}; choose it above 50 and up to 100 (100 keeps the extremes)"
        )
    changed = fold_batch_norm(model).eval()
    weighted = require_weights("quantize", changed)
    grids = activation_grids(changed, calibration, percentile) if activations else {}
    for one in weighted:
        layer = one.layer
        codes = Int8.pack(layer.weight.data, one.out_axis, grids.get(id(layer)))
        layer.weight = weight_tensor(smaller(codes, one) if is_sparse(layer.weight) else codes)
    return changed


def weights_only(model: Layer) -> Layer:
    """A copy of a quantised model that keeps its codes and computes with the float32 weights they stand for.

    Layer inputs are then not rounded: for products too small to win back what rounding their inputs costs.
    """

    def change(format: Format) -> Format:
        return replace(format, grid=None) if isinstance(format, Int8 | Sparse) else format

    return with_formats(model, change)


def on_integers(layer: Linear | Conv2d) -> bool:
    """Whether a layer computes with the codes of its weight, not with the array they stand for."""
    op_name = "conv2d" if isinstance(layer, Conv2d) else "linear"
    return isinstance(layer.weight, Packed) and layer.weight.format.integers(op_name) is not None


def activation_grids(model: Layer, calibration: np.ndarray, percentile: float = 100.0) -> dict[int, Grid]:
    """The grid of each weighted layer's input, by `id(layer)`; a layer that the model never calls has none."""
    if not len(calibration):
        raise ValueError(f"quantize: the calibration data are {calibration.shape}: no samples; give at least one")
    seen: dict[int, list[np.ndarray]] = {}

    def look(event: dispatch.Event) -> None:
        if event.op.name in WEIGHTED_OPS:
            seen.setdefault(id(event.scope), []).append(event.arrays[0])

    with no_grad(), dispatch.watch(look):
        model(Tensor(calibration))
    grids = {}
    for layer_id, inputs in seen.items():
        low, high = np.percentile(np.concatenate([x.ravel() for x in inputs]), [100 - percentile, percentile])
        grids[layer_id] = Grid.covering(float(low), float(high))
    return grids
