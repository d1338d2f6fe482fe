"""The five stages in order, each a plain function from state to state, each measured by a `Meter` after it ran.

A stage sees its settings and a `Context` made from the training split; the test split is known to the meter alone.
The state carries the network in float32 beside the candidate and how to quantise it: pruning, with or without training
afterwards, works on the former and quantises again, with the same samples, so that grids fit what is left.
Switched-off stages are listed and not measured. The algorithms are in `tinytorch.perf`; the numbers here are estimates
made in this process, the ones that count are `worker.py`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from leaderboard import Blocks
from leaderboard.derive import pair_median
from mlperf import recipe as settings
from mlperf.answering import Answering, Form, eagerly
from mlperf.costs import LayerCost, layer_costs, query_flops, size_on_disk
from mlperf.harness import ESTIMATE, Arm, Effort, Progress, compare, unseen
from mlperf.metrics import Score
from mlperf.recipe import STAGES, Recipe, RecipeError
from mlperf.tasks import Batches, Lessons, Task
from profiler import clock
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.layers import Layer, Packed
from tinytorch.perf.compression import block_prune, channel_prune, magnitude_prune, measure_sparsity
from tinytorch.perf.finetuning import Loss, finetune
from tinytorch.perf.quantization import on_integers, weights_only
from tinytorch.perf.quantization import quantize as quantized
from tinytorch.perf.weighted import executed, skips_blocks, weighted_layers

Watch = Callable[[str], AbstractContextManager[Progress]]  # what takes longer: its name, and inside how far it is

BATCH_SIZE = 64  # of further training


@contextmanager
def unwatched(name: str) -> Iterator[Progress]:
    """Nobody watches."""
    yield unseen


class Calibration(NamedTuple):
    """Training samples a stage may look at, and which ones they are."""

    x: np.ndarray
    ids: np.ndarray

    @property
    def ids_sha256(self) -> str:
        return hashlib.sha256(self.ids.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Context:
    """All a stage may know besides its settings: the training split, what is lowered there, and the threads allowed.

    `lessons` makes of its samples what the network reads and what it should answer; `batched`, where there is more to
    do than that, makes batches to train on of them and a seed. `example` is one query.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    example: np.ndarray
    answering: Answering
    lessons: Lessons
    batched: Batches | None
    loss: Loss
    threads: int = 1
    watch: Watch = unwatched

    @classmethod
    def of(cls, task: Task, threads: int = 1, watch: Watch = unwatched) -> Context:
        x, y, answering = task.data.x_train, task.data.y_train, task.answering
        example = answering.queries(x[:1])[0]
        return cls(x, y, example, answering, task.lessons, task.batches, task.loss, threads, watch)

    def arm(self, model: Layer, form: Form, threads: int | None = None) -> Arm:
        """A model as a contestant, with all threads unless told otherwise."""
        return self.answering.candidate(model, form, self.example, self.threads if threads is None else threads)

    def calibration(self, samples: int, seed: int) -> Calibration:
        """At most `samples` training samples, drawn with a seed."""
        ids = np.random.default_rng(seed).permutation(len(self.x_train))[:samples]
        return Calibration(self.lessons(self.x_train[ids], self.y_train[ids])[0], ids)

    def batches(self, seed: int) -> DataLoader:
        """The training split, in another order each epoch."""
        if self.batched is not None:
            return self.batched(self.x_train, self.y_train, seed)
        data = TensorDataset(*self.lessons(self.x_train, self.y_train))
        return DataLoader(data, BATCH_SIZE, shuffle=True, seed=seed)

    def trained(self, model: Layer, epochs: int, lr: float, seed: int) -> Layer:
        """The model after some more epochs on the training split, by as many threads as this process has: how many
        changes no result, and nothing is timed here.
        """
        from kernels.threads import config, exactly

        batches, most = self.batches(seed), config.NUMBA_NUM_THREADS
        with self.watch("training") as progress, exactly(most):
            return finetune(model, batches, self.loss, epochs=epochs, lr=lr, threads=most, progress=progress)


@dataclass(frozen=True)
class State:
    """The candidate between two stages. `note` says what the last stage did, in a few words.

    `model` is `pack(source)`: the float32 network as it is stored. `threads` is what the arm uses.
    """

    model: Layer
    source: Layer
    arm: Arm
    pack: Callable[[Layer], Layer] = lambda source: source
    form: Form = "eager"
    threads: int = 1
    retrained: bool = False
    note: str = ""
    layers: tuple[LayerCost, ...] = ()
    calibration: Calibration | None = None

    @property
    def emulated(self) -> bool:
        """Whether a weight is in a format whose arithmetic is imitated in float32: small, but not faster for it."""
        return any(
            isinstance(one.layer.weight, Packed) and not on_integers(one.layer) and not skips_blocks(one.layer.weight)
            for one in weighted_layers(self.model)
        )


@dataclass(frozen=True)
class Outcome:
    """A state as measured: blocks against the reference, quality on the test split, bytes on disk, FLOPs a query."""

    blocks: Blocks
    score: Score
    bytes: int
    flops: int

    @property
    def log_ratio(self) -> float:
        """ln(the reference's time / the state's time)."""
        return pair_median(self.blocks)


@dataclass(frozen=True)
class Row:
    """One line of the waterfall; `outcome` is None for a stage switched off."""

    stage: str
    settings: dict[str, Any]
    outcome: Outcome | None = None
    emulated: bool = False
    retrained: bool = False
    note: str = "switched off"
    calibration: Calibration | None = None


# -- the stages --------------------------------------------------------------------------------------------------------


def start(model: Layer, context: Context) -> State:
    """The reference network as a candidate: the same weights, op by op on compiled kernels."""
    return State(model, model, context.arm(model, "eager"), threads=context.threads)


def packed(state: State, context: Context, **changes: Any) -> State:
    """The state with some changes, its candidate made anew from them and executed eagerly."""
    changed = replace(state, **changes)
    model = changed.pack(changed.source)
    return replace(changed, model=model, arm=context.arm(model, "eager"))


def profile(state: State, config: settings.Profile, context: Context) -> State:
    """Where the time goes, layer by layer, on the NumPy backend. Changes nothing."""
    run = context.answering.observable(state.model, "eager")
    layers = tuple(layer_costs(state.model, run, context.example, config.calls))
    slowest = max(layers, key=lambda cost: cost.time_ns)
    return replace(
        state, layers=layers, note=f"nothing changed, compiled kernels; NumPy's slowest: {slowest.kind} {slowest.name}"
    )


def quantize(state: State, config: settings.Quantize, context: Context) -> State:
    """int8 weights per output channel, and activations on grids measured with training data."""
    calibration = context.calibration(config.samples, config.seed)

    def pack(source: Layer) -> Layer:
        with eagerly("numpy"):
            return quantized(source, calibration.x, activations=config.activations, percentile=config.percentile)

    note = "int8 weights, float32 arithmetic"
    if config.activations:
        note = f"int8 weights, uint8 activations from {len(calibration.ids)} training samples, integer arithmetic"
    return packed(state, context, pack=pack, calibration=calibration, note=note)


def prune(state: State, config: settings.Prune, context: Context) -> State:
    """Leave out the smallest weights, or the weakest blocks or channels; if asked to, train what is left."""
    if config.method == "channels":
        try:
            source = channel_prune(state.source, config.amount)
        except TypeError as error:  # a network that is no chain of layers
            raise RecipeError(f'prune: {error}: method = "magnitude" or "blocks"') from None
    else:
        by = block_prune if config.method == "blocks" else magnitude_prune
        source = by(state.source, config.amount, config.scope)
    note = ""
    if config.finetune_epochs:
        source = context.trained(source, config.finetune_epochs, config.finetune_lr, config.seed)
        note = f"; trained {config.finetune_epochs} epochs more on the training split"
    changed = packed(state, context, source=source, retrained=state.retrained or config.finetune_epochs > 0)
    if config.method == "channels":
        before, left = (sum(p.size for p in model.parameters()) for model in (state.source, source))
        return replace(changed, note=f"channels removed: {before:,} -> {left:,} parameters{note}")
    zeros = f"{measure_sparsity(changed.model):.1%} of the weights are zero"
    if config.method == "blocks":
        weights = [one.layer.weight for one in weighted_layers(changed.model)]
        skipping = sum(map(skips_blocks, weights))
        return replace(changed, note=f"{zeros}, by blocks, which {skipping} of {len(weights)} layers may skip{note}")
    return replace(changed, note=f"{zeros}; sparse stored where smaller, computed dense{note}")


def cache(state: State, config: settings.Cache, context: Context) -> State:
    """Keep what never changes: packed weights, folded batch norm, shape-derived tables, memory; of a text that is
    being written, the keys and values of what was read. Never answers.
    """
    return replace(state, arm=context.arm(state.model, "prepared"), form="prepared", note=context.answering.kept)


def accelerate(state: State, config: settings.Accelerate, context: Context) -> State:
    """Capture the model into one plan: fused steps, one arena, no Python in between; the quickest of a few.

    The choice is kept where the candidate is rebuilt from: arithmetic in the weights' file, threads in the state.
    """
    plans = {variant: variant.state(state, context) for variant in variants(state, context, config.tune)}
    note = context.answering.captured
    if len(plans) == 1:
        return replace(next(iter(plans.values())), note=note)
    runs = {variant.name: partial(plan.arm.run, context.example) for variant, plan in plans.items()}
    times = clock.compare(runs)
    chosen = clock.fastest(times)
    told = ", ".join(f"{name} {time.median_ns / 1000:.2f} us" for name, time in times.items())
    return replace(
        next(plan for variant, plan in plans.items() if variant.name == chosen), note=f"{note}; {chosen} ({told})"
    )


class Variant(NamedTuple):
    """One way to execute a candidate as a plan; `dense` ones compute with blocks of zeros like with others."""

    arithmetic: str
    threads: int
    dense: bool = False

    @property
    def name(self) -> str:
        return self.arithmetic + ", dense" * self.dense + f", {self.threads} threads" * (self.threads > 1)

    def state(self, state: State, context: Context) -> State:
        """The state as this variant; without integers the codes stay what is stored, inputs are not rounded."""
        model = weights_only(state.model) if self.arithmetic == "float32" else state.model
        model = executed(model, "dense") if self.dense else model
        arm = context.arm(model, "plan", self.threads)
        return replace(state, model=model, arm=arm, form="plan", threads=self.threads)


def variants(state: State, context: Context, tune: bool) -> list[Variant]:
    """What there is to choose from, simplest first: arithmetic as quantised or in float32, with and without skipping
    blocks where there are such, one thread or all.
    """
    weighted = list(weighted_layers(state.model))
    integers = any(on_integers(one.layer) for one in weighted)
    arithmetics = ["integers", "float32"] if integers and tune else ["integers" if integers else "as stored"]
    threads = sorted({1, context.threads}) if tune else [context.threads]
    ways = [False, True] if tune and any(skips_blocks(one.layer.weight) for one in weighted) else [False]
    return [Variant(arithmetic, count, way) for count in threads for arithmetic in arithmetics for way in ways]


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

    def __init__(self, task: Task, reference: Arm, effort: Effort, watch: Watch = unwatched) -> None:
        self.task, self.reference, self.effort, self.watch = task, reference, effort, watch
        self.samples = task.answering.queries(task.data.x_test)

    def score(self, arm: Arm) -> Score:
        """Quality on the whole test set."""
        metric, data = self.task.metric, self.task.data
        with self.watch("test set") as progress:
            told = metric.told(arm, self.samples, data.x_test, data.y_test, progress)
        return metric.score(told, data.y_test)

    def __call__(self, state: State) -> Outcome:
        timed = compare(self.reference, state.arm, self.samples, self.effort)
        blocks = Blocks(**{name: timed[name] for name in Blocks.model_fields})
        run = self.task.answering.observable(state.model, state.form)
        flops = query_flops(state.model, run, self.samples[0])
        return Outcome(blocks, self.score(state.arm), size_on_disk(state.model), flops)


def run(
    task: Task,
    recipe: Recipe,
    threads: int = 1,
    progress: Callable[[str], object] = lambda stage: None,
    watch: Watch = unwatched,
) -> tuple[State, list[Row]]:
    """Run and measure all stages that are switched on; `progress(stage)` is called after each of the five."""
    reference = task.reference()
    context = Context.of(task, threads, watch)
    meter = Meter(task, task.answering.reference(reference), ESTIMATE, watch)
    state, rows = start(reference, context), []
    for name in STAGES:
        config = getattr(recipe, name)
        row = Row(name, config.model_dump(exclude={"enabled"}))
        if config.enabled:
            state = FUNCTIONS[name](replace(state, calibration=None), config, context)
            row = replace(
                row, outcome=meter(state), emulated=state.emulated, retrained=state.retrained, note=state.note,
                calibration=state.calibration,
            )  # fmt: skip
        rows.append(row)
        progress(name)
    return state, rows
