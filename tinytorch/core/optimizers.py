"""SGD, Adam and AdamW with PyTorch's formulas; the arithmetic is one op for each parameter (`engine.ops.update`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinytorch.core.tensor import Tensor
from tinytorch.engine import dispatch, ops

Parameters = Iterable[Tensor] | Iterable[Mapping[str, Any]]
GROUP_KEYS = ("lr", "params", "weight_decay")


@dataclass
class Group:
    """Parameters with settings of their own: a rate so many times the optimizer's, a decay instead of its."""

    params: list[Tensor]
    lr_ratio: float = 1.0
    weight_decay: float | None = None
    hyper: np.ndarray = field(default_factory=lambda: np.empty(0))  # float64: `settings` of the step that is taken


class Optimizer:
    """Holds the parameters and their moments; `step()` changes parameters in place, `zero_grad()` forgets gradients.

    `params` are tensors or, as in PyTorch, groups of them: dicts with "params" and, where they differ, "lr" and
    "weight_decay". The rate of a group keeps its ratio to `lr`, whatever a schedule makes of that.
    A subclass names its moments, which start as zeros, and defines `settings` and `update`.
    """

    moment_names: tuple[str, ...] = ()
    hyper: np.ndarray  # of the group whose parameters are being updated

    def __init__(self, params: Parameters, lr: float, weight_decay: float) -> None:
        name = type(self).__name__
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"{name}: lr {lr} and weight_decay {weight_decay} must not be negative")
        self.groups = grouped(name, list(params), lr)
        self.params = [p for group in self.groups for p in group.params]
        if not self.params:
            raise ValueError(f"{name}: no parameters given; pass model.parameters()")
        for i, p in enumerate(self.params):
            if not isinstance(p, Tensor) or not p.requires_grad:
                what = "requires no gradient" if isinstance(p, Tensor) else f"is a {type(p).__name__}"
                raise ValueError(f"{name}: parameter {i} {what}; pass tensors with requires_grad=True")
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError(f"{name}: a parameter was given twice and would be updated twice; give each once")
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
        everyones = iter(self.moments)
        for group in self.groups:
            self.hyper = group.hyper
            for p, moments in zip(group.params, everyones):
                if p.grad is not None:
                    for name in self.kept_moments():
                        if name not in moments:
                            moments[name] = np.zeros_like(p.data)
                    self.update(p.data, p.grad, moments)

    def kept_moments(self) -> tuple[str, ...]:
        """Names of the moments that are needed with the settings as they are."""
        return self.moment_names

    def advance(self) -> None:
        """Begin the next step: count it, and put its settings into each group's `hyper`, always the same array."""
        self.step_count += 1
        for group in self.groups:
            decay = self.weight_decay if group.weight_decay is None else group.weight_decay
            settings = self.settings(self.lr * group.lr_ratio, decay)
            if not group.hyper.size:
                group.hyper = np.empty(len(settings))
            group.hyper[:] = settings

    def settings(self, lr: float, weight_decay: float) -> tuple[float, ...]:
        """What `update` needs to know of this step besides arrays, for a group of this rate and decay."""
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
            moments[i][name] = np.empty_like(self.params[i].data, dtype=value.dtype)
            moments[i][name][...] = value
        for i, found in enumerate(moments):
            if found and len(found) < len(self.moment_names):
                raise ValueError(f"load_state_dict: parameter {i} has only {', '.join(found)}; save the state again")
        # Moments that were not there yet are zeros; a captured step has arrays of them and wants to keep such.
        for of_state, mine in zip(moments, self.moments):
            of_state.update({} if of_state else {name: np.zeros_like(m) for name, m in mine.items()})
        self.step_count, self.lr, self.moments = int(state["step_count"]), float(state["lr"]), moments


def grouped(name: str, params: list[Any], lr: float) -> list[Group]:
    """The groups that an optimizer was given; tensors alone are one."""
    if not any(isinstance(item, Mapping) for item in params):
        return [Group(params)]
    groups = []
    for i, item in enumerate(params):
        if not isinstance(item, Mapping) or "params" not in item or item.keys() - set(GROUP_KEYS):
            what = sorted(item) if isinstance(item, Mapping) else type(item).__name__
            raise ValueError(f"{name}: group {i} is {what}; give each group as a dict with {', '.join(GROUP_KEYS)}")
        rate, decay = item.get("lr", lr), item.get("weight_decay")
        if rate < 0 or (decay is not None and decay < 0):
            raise ValueError(f"{name}: group {i} has lr {rate} and weight_decay {decay}, which must not be negative")
        if rate != lr and lr == 0:
            raise ValueError(f"{name}: group {i} has lr {rate}, which keeps its ratio to lr 0; give a positive lr")
        groups.append(Group(list(item["params"]), rate / lr if rate != lr else 1.0, decay))
    return groups


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's form and weight decay. Sutskever et al. 2013, section 2.

    With `decoupled`, decay does not pass through momentum: w shrinks by lr weight_decay w, as AdamW's do (Loshchilov
    and Hutter 2019, algorithm 1, SGDW, where one schedule multiplies rate and decay).
    """

    moment_names = ("velocity",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        decoupled: bool = False,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        if momentum < 0 or (nesterov and momentum == 0):
            raise ValueError(f"SGD: momentum {momentum}, nesterov {nesterov}: Nesterov needs a positive momentum")
        self.momentum, self.nesterov, self.decoupled = momentum, nesterov, decoupled

    def kept_moments(self) -> tuple[str, ...]:
        return self.moment_names if self.momentum else ()

    def settings(self, lr: float, weight_decay: float) -> tuple[float, ...]:
        return lr, self.momentum, weight_decay, self.nesterov, self.decoupled

    def update(self, w: np.ndarray, g: np.ndarray, moments: dict[str, np.ndarray]) -> None:
        ops.sgd_step(w, g, moments.get("velocity"), self.hyper)


class Adam(Optimizer):
    """Kingma and Ba 2015, algorithm 1; weight decay is added to the gradient."""

    moment_names = ("m", "v")
    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay)
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1) or eps < 0:
            raise ValueError(f"{type(self).__name__}: betas {betas} must be in [0, 1), eps {eps} not negative")
        self.betas, self.eps = betas, eps

    def settings(self, lr: float, weight_decay: float) -> tuple[float, ...]:
        (beta1, beta2), t = self.betas, self.step_count
        return lr, beta1, beta2, self.eps, weight_decay, self.decoupled, 1 - beta1**t, 1 - beta2**t

    def update(self, w: np.ndarray, g: np.ndarray, moments: dict[str, np.ndarray]) -> None:
        ops.adam_step(w, g, moments["m"], moments["v"], self.hyper)


class AdamW(Adam):
    """Adam with decoupled weight decay. Loshchilov and Hutter 2019, algorithm 2."""

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
