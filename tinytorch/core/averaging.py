"""An average of a model's weights over the steps of training, which often answers better than the last ones do.

Left out: averages over whole epochs with equal weight (stochastic weight averaging).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinytorch.core.layers import Layer, Packed
from tinytorch.engine import dispatch, ops


class EMA:
    """Exponential moving average of all parameters and buffers. Polyak and Juditsky 1992; Tarvainen and Valpola 2017.

    `update()` after a step: average := decay average + (1 - decay) weights; the first one copies the weights, as
    PyTorch's AveragedModel does. Buffers, the running statistics of batch norm, are averaged likewise (timm's
    ModelEmaV2, AveragedModel with use_buffers), since they belong to the weights of the same steps. With `every` = k
    only every k-th update counts; choose decay^k then. With `warmup` the average is the plain mean of all steps until
    it has seen 1 / (1 - decay) of them, so that a short training does not remember how it began.

    `with ema.applied():` the model has the averaged weights; they are copied into its own arrays, so captured steps and
    eager code see them alike. The last weights return at the end of the block, whatever happens inside.
    """

    def __init__(self, model: Layer, decay: float = 0.999, every: int = 1, warmup: bool = False) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay is {decay}; choose it from 0 up to, not including, 1")
        if every < 1:
            raise ValueError(f"EMA: every is {every}; choose at least 1, the average of all steps")
        packed = sorted(name for name, p in model.named_parameters() if isinstance(p, Packed))
        if packed:
            raise ValueError(f"EMA: {packed} are packed weights, which do not change; average the unpacked model")
        self.model, self.decay, self.every, self.warmup = model, decay, every, warmup
        self._parameters = dict(model.named_parameters())  # which may be given other arrays, as loading weights does
        self.calls = 0
        self.is_applied = False
        self.average = model.state_dict()
        self.hyper = np.empty(1)  # the share of the weights as they are, as the op takes it

    @dispatch.phase("update")
    def update(self) -> None:
        """Take the weights as they are now into the average; called once after each step."""
        if self.is_applied:
            raise RuntimeError("EMA: update() inside `with ema.applied()` would average the average; train outside")
        self.calls += 1
        if self.calls % self.every:
            return
        before = self.calls // self.every - 1
        self.hyper[0] = 1 - (min(self.decay, before / (before + 1)) if self.warmup else self.decay)
        for name, value in self.arrays().items():
            if before:
                ops.average_step(self.average[name], value, self.hyper)
            else:
                self.average[name][...] = value

    def arrays(self) -> dict[str, np.ndarray]:
        """The model's own arrays by name, parameters and buffers."""
        return {**{name: p.data for name, p in self._parameters.items()}, **dict(self.model.named_buffers())}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run the block with the averaged weights in the model."""
        if self.is_applied:
            raise RuntimeError("EMA: the average is applied already; leave the block first")
        arrays = self.arrays()
        kept = {name: value.copy() for name, value in arrays.items()}
        self.is_applied = True
        try:
            for name, value in arrays.items():
                value[...] = self.average[name]
            yield
        finally:
            for name, value in arrays.items():
                value[...] = kept[name]
            self.is_applied = False

    def state_dict(self) -> dict[str, Any]:
        """How many steps were seen, and copies of the averaged parameters and buffers by name."""
        return {"calls": self.calls, "average": {name: value.copy() for name, value in self.average.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict()`, or nothing: KeyError for other names, ValueError for other shapes."""
        average = state["average"]
        if average.keys() != self.average.keys():
            raise KeyError(
                f"load_state_dict: the average has {sorted(average)}, the model {sorted(self.average)}; load the "
                "average of the same model"
            )
        for name, value in average.items():
            if value.shape != self.average[name].shape:
                raise ValueError(
                    f"load_state_dict: {name} is {value.shape} in the average, {self.average[name].shape} in the "
                    "model; load the average of the same model"
                )
        calls = int(state["calls"])
        for name, value in average.items():
            self.average[name][...] = value
        self.calls = calls
