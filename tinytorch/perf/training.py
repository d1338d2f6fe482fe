"""One call from a model, an optimizer and a loss to a training step without Python between the kernels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from tinytorch.core import autograd
from tinytorch.core.clipping import clip_always, limits
from tinytorch.core.layers import Dropout, Layer
from tinytorch.core.optimizers import Optimizer
from tinytorch.core.tensor import Tensor
from tinytorch.engine import dispatch, ops
from tinytorch.engine.graph import Graph, difference, follow
from tinytorch.engine.plan import INPUTS, PlanError
from tinytorch.engine.rewrites import fuse
from tinytorch.engine.step import Step
from tinytorch.engine.verify import nmse

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[np.ndarray, np.ndarray]

# Normalised mean square errors allowed between a captured and an eager step: of what is linear in the gradients, which
# both sum in float32 in different orders, and of the parameters: an adaptive step has size lr even where a gradient is
# nothing but rounding errors (a bias before batch norm), so single parameters may differ altogether.
LINEAR_BOUND, PARAMETER_BOUND = 1e-8, 0.05


def compile_step(
    model: Layer,
    optimizer: Optimizer,
    loss_fn: Loss,
    x: np.ndarray | Tensor,
    y: np.ndarray | Tensor,
    threads: int = 1,
    *,
    grad_clip_norm: float | None = None,
    grad_clip_value: float | None = None,
) -> Step:
    """Capture loss_fn(model(x), y), its backward pass and the optimizer's step as one program: `step(x, y) -> loss`.

    x and y, float32 or int64, are a batch as it will come in training; other batches must have the same shapes. The
    step changes the model's own parameters, buffers and moments, so eager code sees them, and follows changes of the
    learning rate and other settings of the optimizer. It leaves every `p.grad` at None. Capturing runs a few steps in
    training mode and takes them back. With `grad_clip_norm` or `grad_clip_value` gradients are clipped before the
    update, as `clip_grad_norm` and `clip_grad_value` do it. Left out: accumulating gradients of several batches.

    Raises ValueError for limits that are not positive or both given. Raises GraphError or PlanError where model or loss
    compute without ops, depend on values of the batch, or use an op without a kernel; then train eagerly.
    """
    limits("compile_step", grad_clip_norm, grad_clip_value)
    batch = as_array("x", x), as_array("y", y)
    model.train()

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        loss = loss_fn(model(Tensor(x)), Tensor(y))
        optimizer.zero_grad()
        autograd.backward(loss, accumulate=hold)
        clip_always(optimizer.params, grad_clip_norm, grad_clip_value)
        optimizer.step()
        optimizer.zero_grad()
        return loss.data

    def state() -> list[np.ndarray]:
        moments = [m for of_one in optimizer.moments for m in of_one.values()]
        settings = [group.hyper for group in optimizer.groups]
        return [*(p.data for p in parameters), *moments, *settings, *(getattr(*where) for where in buffers)]

    parameters = every_parameter(model, optimizer)
    buffers = [(layer, name) for layer in model.modules() for name in layer.buffers]
    with undone(model, optimizer):
        run(*batch)  # makes the moments
    with undone(model, optimizer):
        graph, draws = traced(run, batch, state())
    unread = [name for name, value in zip("xy", graph.inputs) if not graph.uses(value)]
    if unread:
        raise PlanError(f"compile_step: no op reads {' or '.join(unread)}; {ADVICE}")
    other = other_batch(*batch)
    with undone(model, optimizer):
        second, _ = traced(run, other, state())
        difference_found = difference(graph, second)
        if difference_found:
            raise PlanError(f"compile_step: {difference_found}; {ADVICE}")
    fuse(graph)
    step = Step(graph, state, [layer.draw for layer in draws], optimizer.advance, threads)
    step.grad_clip_norm, step.grad_clip_value = grad_clip_norm, grad_clip_value
    step.undone = partial(undone, model, optimizer)
    verify(step, run, other, model, optimizer, state)
    return step


def hold(p: Tensor, gradient: np.ndarray) -> None:
    """Add to `.grad` with ops alone: the copy that eager code makes of the first gradient is nothing a graph knows."""
    p.grad = gradient if p.grad is None else ops.add(p.grad, gradient)


ADVICE = "compute with tensors from batch to loss, give targets as float32 or int64, or train eagerly"


def as_array(name: str, value: np.ndarray | Tensor) -> np.ndarray:
    array = np.array(value.data if isinstance(value, Tensor) else value, order="C")  # x and y may be one array
    if array.dtype not in INPUTS:
        raise PlanError(f"compile_step: {name} is {array.dtype}; a step takes float32 and int64: convert it first")
    return array


def other_batch(x: np.ndarray, y: np.ndarray) -> Batch:
    """Another batch of values that are as valid: rows in reverse, fractions of x a quarter smaller."""
    return x[::-1] * np.float32(0.75) if x.dtype.kind == "f" else x[::-1].copy(), y[::-1].copy()


def traced(run: Callable[..., np.ndarray], batch: Batch, state: list[np.ndarray]) -> tuple[Graph, list[Dropout]]:
    """The graph of a step, and the layers that draw a key for it, in order."""
    layers: list[Dropout] = []

    def drawn(event: dispatch.Event, i: int) -> bool:
        is_key = event.op is ops.dropout and i == 1 and isinstance(event.scope, Dropout)
        if is_key:
            layers.append(event.scope)
        return is_key

    graph, _ = follow(lambda: run(*batch), [*batch, *state], drawn)
    x, y, *rest = graph.inputs
    graph.inputs = [x, y, *rest[len(state) :], *rest[: len(state)]]  # what is written before each run comes first
    return graph, layers


@contextmanager
def undone(model: Layer, optimizer: Optimizer | None) -> Iterator[None]:
    """Run the block and take back what it did to parameters, buffers, moments, gradients and random generators.

    Moments that it made stay, as zeros, which is how they start.
    """
    parameters = every_parameter(model, optimizer)
    arrays = [p.data for p in parameters] + [buffer for _, buffer in model.named_buffers()]
    kept = [(a, a.copy()) for a in arrays]
    gradients = [p.grad for p in parameters]
    held = [] if optimizer is None else optimizer.moments
    moments = [{name: m.copy() for name, m in of_one.items()} for of_one in held]
    count, generator = 0 if optimizer is None else optimizer.step_count, np.random.get_state()
    layers = [layer for layer in model.modules() if isinstance(layer, Dropout) and layer.rng is not None]
    states = [copy.deepcopy(layer.rng.bit_generator.state) for layer in layers if layer.rng is not None]
    try:
        yield
    finally:
        for array, value in kept:
            array[...] = value
        for p, gradient in zip(parameters, gradients):
            p.grad = gradient
        for of_one, before in zip(held, moments):
            for name, m in of_one.items():
                m[...] = before.get(name, 0)
        if optimizer is not None:
            optimizer.step_count = count
        np.random.set_state(generator)
        for layer, before_state in zip(layers, states):
            if layer.rng is not None:
                layer.rng.bit_generator.state = before_state


def verify(
    step: Step,
    run: Callable[..., np.ndarray],
    batch: Batch,
    model: Layer,
    optimizer: Optimizer,
    state: Callable[[], list[np.ndarray]],
) -> None:
    """PlanError unless a captured step does to loss, parameters, moments and buffers what an eager one does."""
    outcomes = []
    for train in (run, step):
        with undone(model, optimizer):
            before = [a.copy() for a in state()]
            loss = float(train(*batch))
            outcomes.append((loss, [(a - b).astype(np.float64).ravel() for a, b in zip(state(), before)]))
    (loss, eager), (captured_loss, captured) = outcomes
    n = len(every_parameter(model, optimizer))
    of_parameters = PARAMETER_BOUND if any(optimizer.moments) else LINEAR_BOUND
    errors = {
        "loss": (nmse(np.array(captured_loss), np.array(loss)), LINEAR_BOUND),
        "parameters": (nmse(joined(captured[:n]), joined(eager[:n])), of_parameters),
        "moments and buffers": (nmse(joined(captured[n:]), joined(eager[n:])), LINEAR_BOUND),
    }
    for name, (error, bound) in errors.items():
        if not error <= bound:
            raise PlanError(
                f"compile_step: {name} of a captured and an eager step differ by {error:.2g} (normalised mean square), "
                f"{bound} is allowed; {ADVICE}"
            )


def every_parameter(model: Layer, optimizer: Optimizer | None) -> list[Tensor]:
    """Those of the model, then those that only the optimizer knows, each once."""
    more = () if optimizer is None else optimizer.params
    return list({id(p): p for p in (*model.parameters(), *more)}.values())


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0.0], *arrays])
