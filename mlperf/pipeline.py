"""The five stages in order, each a plain function from state to state, each measured by a `Meter` after it ran.

A stage sees its settings and a `Context` made from the training split; the test split is known to the meter alone.
Switched-off stages are listed and not measured. The algorithms are in `tinytorch.perf`; the numbers here are estimates
made in this process, the ones that count are `worker.py`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from leaderboard import Blocks
from mlperf import recipe as settings
from mlperf.candidate import Form, candidate_arm, queries, reference_arm
from mlperf.costs import LayerCost, layer_costs, size_on_disk
from mlperf.harness import ESTIMATE, Arm, Effort, answers, compare
from mlperf.recipe import STAGES, Recipe
from mlperf.tasks import Task, eager, eagerly
from profiler.cost import flops
from tinytorch.core.layers import Layer, Packed
from tinytorch.perf.compression import channel_prune, magnitude_prune, measure_sparsity
from tinytorch.perf.quantization import quantize as quantized


class Calibration(NamedTuple):
    """Training samples a stage may look at, and which ones they are."""

    x: np.ndarray
    ids: np.ndarray

    @property
    def ids_sha256(self) -> str:
        return hashlib.sha256(self.ids.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Context:
    """All a stage may know besides its settings: inputs of the training split, and the threads allowed."""

    x_train: np.ndarray
    threads: int = 1

    @property
    def example(self) -> np.ndarray:
        """One query, (1, ...)."""
        return np.ascontiguousarray(self.x_train[:1])

    def calibration(self, samples: int, seed: int) -> Calibration:
        """At most `samples` training samples, drawn with a seed."""
        ids = np.random.default_rng(seed).permutation(len(self.x_train))[:samples]
        return Calibration(self.x_train[ids], ids)


@dataclass(frozen=True)
class State:
    """The candidate between two stages. `note` says what the last stage did, in a few words."""

    model: Layer
    arm: Arm
    form: Form = "eager"
    note: str = ""
    layers: tuple[LayerCost, ...] = ()
    calibration: Calibration | None = None

    @property
    def emulated(self) -> bool:
        """Whether weights are in a format whose arithmetic is imitated in float32: small, but not faster for it."""
        return any(isinstance(parameter, Packed) for parameter in self.model.parameters())


@dataclass(frozen=True)
class Outcome:
    """A state as measured: blocks against the reference, right answers in the test split, bytes on disk, FLOPs."""

    blocks: Blocks
    correct: int
    bytes: int
    flops: int


@dataclass(frozen=True)
class Row:
    """One line of the waterfall; `outcome` is None for a stage switched off."""

    stage: str
    settings: dict[str, Any]
    outcome: Outcome | None = None
    emulated: bool = False
    note: str = "switched off"
    calibration: Calibration | None = None


# -- the stages --------------------------------------------------------------------------------------------------------


def start(model: Layer, context: Context) -> State:
    """The reference network as a candidate: the same weights, op by op on compiled kernels."""
    return State(model, candidate_arm(model, "eager", context.example, context.threads))


def with_model(state: State, model: Layer, **changes: Any) -> State:
    """The state with another model, executed eagerly."""
    return replace(state, model=model, arm=Arm(eager(model), state.arm.around), **changes)


def profile(state: State, config: settings.Profile, context: Context) -> State:
    """Where the time goes, layer by layer, on the NumPy backend. Changes nothing."""
    layers = tuple(layer_costs(state.model, context.example, config.calls))
    slowest = max(layers, key=lambda cost: cost.time_ns)
    return replace(
        state, layers=layers, note=f"nothing changed, compiled kernels; NumPy's slowest: {slowest.kind} {slowest.name}"
    )


def quantize(state: State, config: settings.Quantize, context: Context) -> State:
    """int8 weights per output channel, and activations on grids measured with training data."""
    calibration = context.calibration(config.samples, config.seed)
    with eagerly("numpy"):
        model = quantized(state.model, calibration.x, activations=config.activations, percentile=config.percentile)
    activations = (
        f"activations uint8, {len(calibration.ids)} training samples" if config.activations else "weights only"
    )
    return with_model(state, model, calibration=calibration, note=f"int8 stored, f32 arithmetic; {activations}")


def prune(state: State, config: settings.Prune, context: Context) -> State:
    """Leave out the smallest weights, or the weakest channels."""
    if config.method == "channels":
        before = sum(p.size for p in state.model.parameters())
        pruned: Layer = channel_prune(state.model, config.amount)
        left = sum(p.size for p in pruned.parameters())
        return with_model(state, pruned, note=f"channels removed: {before:,} -> {left:,} parameters")
    pruned = magnitude_prune(state.model, config.amount, config.scope)
    return with_model(
        state, pruned, note=f"{measure_sparsity(pruned):.1%} of the weights are zero; sparse stored where smaller"
    )


def cache(state: State, config: settings.Cache, context: Context) -> State:
    """Prepare what never changes: packed weights, folded batch norm, shape-derived tables, memory. Never answers."""
    arm = candidate_arm(state.model, "prepared", context.example, context.threads)
    return replace(state, arm=arm, form="prepared", note="weights packed, tables and memory laid out, steps one by one")


def accelerate(state: State, config: settings.Accelerate, context: Context) -> State:
    """Capture the model into one plan: fused steps, one arena, no Python in between."""
    arm = candidate_arm(state.model, "plan", context.example, context.threads)
    return replace(state, arm=arm, form="plan", note="one plan: fused steps in one compiled call")


FUNCTIONS: dict[str, Callable[[State, Any, Context], State]] = {
    "profile": profile,
    "quantize": quantize,
    "prune": prune,
    "cache": cache,
    "accelerate": accelerate,
}


# -- measuring them ----------------------------------------------------------------------------------------------------


class Meter:
    """Measures a state against the task's reference. The only part of the pipeline that knows test data."""

    def __init__(self, task: Task, reference: Arm, effort: Effort) -> None:
        self.task, self.reference, self.effort = task, reference, effort
        self.samples = queries(task.data.x_test)

    def correct(self, arm: Arm) -> int:
        """Right answers on the whole test set, asked one by one."""
        return int((self.task.labels(answers(arm, self.samples)) == self.task.data.y_test).sum())

    def __call__(self, state: State) -> Outcome:
        timed = compare(self.reference, state.arm, self.samples, self.effort)
        blocks = Blocks(**{name: timed[name] for name in Blocks.model_fields})
        return Outcome(blocks, self.correct(state.arm), size_on_disk(state.model), flops(state.model, self.samples[0]))


def run(
    task: Task, recipe: Recipe, threads: int = 1, progress: Callable[[str], object] = lambda stage: None
) -> tuple[State, list[Row]]:
    """Run and measure all stages that are switched on; `progress(stage)` is called after each of the five."""
    reference = task.reference()
    context = Context(task.data.x_train, threads)
    meter = Meter(task, reference_arm(reference), ESTIMATE)
    state, rows = start(reference, context), []
    for name in STAGES:
        config = getattr(recipe, name)
        row = Row(name, config.model_dump(exclude={"enabled"}))
        if config.enabled:
            state = FUNCTIONS[name](replace(state, calibration=None), config, context)
            row = replace(
                row, outcome=meter(state), emulated=state.emulated, note=state.note, calibration=state.calibration
            )
        rows.append(row)
        progress(name)
    return state, rows
