"""SGD, Adam and AdamW with PyTorch's formulas; the arithmetic is one op for each parameter (`engine.ops.update`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinytorch.core.tensor import Tensor
from tinytorch.engine import dispatch, ops


class Optimizer:
    """Holds the parameters and their moments; `step()` changes parameters in place, `zero_grad()` forgets gradients.

    A subclass names its moments, which start as zeros, and defines `settings` and `update`.
    """

    moment_names: tuple[str, ...] = ()
    hyper: np.ndarray  # float64: the `settings` of the step that is taken

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        self.params = list(params)
        if not self.params:
            raise ValueError(f"{type(self).__name__}: no parameters given; pass model.parameters()")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor) or not p.requires_grad:
                what = "requires no gradient" if isinstance(p, Tensor) else f"is a {type(p).__name__}"
                raise ValueError(f"{type(self).__name__}: parameter {i} {what}; pass tensors with requires_grad=True")
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"{type(self).__name__}: lr {lr} and weight_decay {weight_decay} must not be negative")
        self.lr, self.weight_decay = lr, weight_decay
        self.step_count = 0
        self.moments: list[dict[str, np.ndarray]] = [{} for _ in self.params]

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    @dispatch.phase("update")
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        self.advance()
        for p, moments in zip(self.params, self.moments):
            if p.grad is not None:
                for name in self.kept_moments():
                    if name not in moments:
                        moments[name] = np.zeros_like(p.data)
                self.update(p.data, p.grad, moments)

    def kept_moments(self) -> tuple[str, ...]:
        """Names of the moments that are needed with the settings as they are."""
        return self.moment_names

    def advance(self) -> None:
        """Begin the next step: count it, and put its settings into `hyper`, always the same array."""
        self.step_count += 1
        settings = self.settings()
        if not hasattr(self, "hyper"):
            self.hyper = np.empty(len(settings))
        self.hyper[:] = settings

    def settings(self) -> tuple[float, ...]:
        """What `update` needs to know of this step besides weight, gradient and moments."""
        return ()

    def update(self, w: np.ndarray, g: np.ndarray, moments: dict[str, np.ndarray]) -> None:
        raise TypeError(f"{type(self).__name__}: no update() defined; define update(self, w, g, moments)")

    def state_dict(self) -> dict[str, Any]:
        """Step count and moments, to continue training where it stopped."""
        flat = {f"{i}.{name}": m.copy() for i, moments in enumerate(self.moments) for name, m in moments.items()}
        return {"step_count": self.step_count, "lr": self.lr, "moments": flat}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a `state_dict()`, or nothing: ValueError for moments of another model or kind of optimizer."""
        moments: list[dict[str, np.ndarray]] = [{} for _ in self.params]
        for key, value in state["moments"].items():
            index, _, name = key.partition(".")
            i = int(index)
            if name not in self.moment_names:
                raise ValueError(
                    f"load_state_dict: {type(self).__name__} has no moment {name!r}, it has "
                    f"{', '.join(self.moment_names)}; load the state of the same kind of optimizer"
                )
            if not 0 <= i < len(self.params) or value.shape != self.params[i].shape:
                raise ValueError(
                    f"load_state_dict: moment {key} {value.shape} fits no parameter; load the same model's state"
                )
            moments[i][name] = value.copy()
        for i, found in enumerate(moments):
            if found and len(found) < len(self.moment_names):
                raise ValueError(f"load_state_dict: parameter {i} has only {', '.join(found)}; save the state again")
        self.step_count, self.lr, self.moments = int(state["step_count"]), float(state["lr"]), moments


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's form and weight decay. Sutskever et al. 2013, section 2."""

    moment_names = ("velocity",)

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        if momentum < 0 or (nesterov and momentum == 0):
            raise ValueError(f"SGD: momentum {momentum}, nesterov {nesterov}: Nesterov needs a positive momentum")
        self.momentum, self.nesterov = momentum, nesterov

    def kept_moments(self) -> tuple[str, ...]:
        return self.moment_names if self.momentum else ()

    def settings(self) -> tuple[float, ...]:
        return self.lr, self.momentum, self.weight_decay, self.nesterov

    def update(self, w: np.ndarray, g: np.ndarray, moments: dict[str, np.ndarray]) -> None:
        ops.sgd_step(w, g, moments.get("velocity"), self.hyper)


class Adam(Optimizer):
    """Kingma and Ba 2015, algorithm 1; weight decay is added to the gradient."""

    moment_names = ("m", "v")
    decoupled = False

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1) or eps < 0:
            raise ValueError(f"{type(self).__name__}: betas {betas} must be in [0, 1), eps {eps} not negative")
        self.betas, self.eps = betas, eps

    def settings(self) -> tuple[float, ...]:
        (beta1, beta2), t = self.betas, self.step_count
        return self.lr, beta1, beta2, self.eps, self.weight_decay, self.decoupled, 1 - beta1**t, 1 - beta2**t

    def update(self, w: np.ndarray, g: np.ndarray, moments: dict[str, np.ndarray]) -> None:
        ops.adam_step(w, g, moments["m"], moments["v"], self.hyper)


class AdamW(Adam):
    """Adam with decoupled weight decay. Loshchilov and Hutter 2019, algorithm 2."""

    decoupled = True

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
