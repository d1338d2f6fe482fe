"""The four parts that end every milestone, measured live: memory, performance, architecture, scaling; then the figures
of the time beside ours, and questions that point at the numbers above them.

A script gives a `Study`: its network with a batch to learn from, what to make larger, and what to ask. Left out: how
things are measured (`profiler`), how sizes are compared (`sweeps.py`), and what is known of the time (`eras.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from tabulate import tabulate

import profiler
from milestones import eras
from milestones.run import Run
from milestones.sweeps import Case, Sweep, Swept, swept
from profiler import units
from profiler.profiling import profile
from profiler.report import Line, Memory, Report
from tinytorch.core.layers import Layer
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import Trainer

BUDGET_S, QUICK_BUDGET_S = 1.0, 0.3  # of measuring one pass
MOST_LAYERS = 12  # rows of a table; above it the blocks of a network, which are alike, share theirs
MOST_DOUBTS = 3
HELD = ("parameter", "gradient", "optimizer", "activation", "arena", "constant")
NAMES = {"parameter": "parameters", "gradient": "gradients", "optimizer": "optimizer state",
         "activation": "activations held for backward", "arena": "arena of the plan",
         "constant": "constants of the plan", "peak": "peak, beyond what was there",
         "resident": "the whole process"}  # fmt: skip
OUTSIDE, NO_LAYER = "outside ops", "no layer"


@dataclass(frozen=True)
class Findings:
    """What was measured. `passes` are reports by what was profiled, such as "one query"; the last is taken apart.

    `ours` are the figures that stand beside those of the time.
    """

    model: Layer
    passes: Mapping[str, Report]
    scaling: Sequence[Swept]
    year: int
    ours: Mapping[str, float]
    as_trained_ns: float | None = None

    @cached_property
    def main(self) -> Report:
        """The pass that is taken apart."""
        return list(self.passes.values())[-1]

    @cached_property
    def layers(self) -> list[LayerCost]:
        """Its costs by layer."""
        return layer_costs(self.model, self.main)

    def largest(self, cost: str) -> LayerCost:
        """The layer, time outside ops counting as one, with the most of a cost: "ns", "flops" or "parameters"."""
        return max(self.layers, key=lambda layer: getattr(layer, cost))

    def part(self, cost: str, *layers: LayerCost) -> float:
        """The part of a cost that some layers have."""
        return sum(getattr(layer, cost) for layer in layers) / sum(getattr(layer, cost) for layer in self.layers)

    def share(self, cost: str, kind: str) -> float:
        """The part of a cost that all layers of a kind have."""
        return self.part(cost, *(layer for layer in self.layers if layer.kind == kind))

    def then(self, ours: str) -> float:
        """The figure of the time that stands beside one of ours."""
        return next(fact.then for fact in eras.ERAS[self.year] if fact.ours == ours)

    def held(self, part: str) -> int:
        """Bytes of a part of memory, such as "optimizer", in the pass that is taken apart."""
        return getattr(self.main.memory or Memory(), f"{part}_bytes")

    @property
    def outside(self) -> float:
        """The part of the time that passes outside ops."""
        return self.main.outside_ns / self.main.wall_ns


@dataclass(frozen=True)
class Study:
    """A network and a batch as it was trained, an example to answer, what to vary, and what to ask of the findings."""

    trainer: Trainer
    x: np.ndarray
    y: np.ndarray
    example: np.ndarray
    year: int
    sweeps: Sequence[Sweep]
    questions: Callable[[Findings], list[str]]
    ours: Mapping[str, float] = field(default_factory=dict)

    def findings(self, run: Run) -> Findings:
        """Measure. The trained model is afterwards what it was before."""
        model, trainer = self.trainer.model, self.trainer
        brief: dict[str, Any] = {"roofline": False, "budget_s": QUICK_BUDGET_S if run.quick else BUDGET_S}
        learn = {"loss": trainer.loss_fn, "target": Tensor(self.y), "optimizer": trainer.optimizer}
        model.eval()
        query = profile(model, self.example, backward=False, **brief)
        model.train()
        step = profile(model, self.x, **learn, **brief)
        model.eval()
        ours = {
            "parameters": profiler.parameters(model), "inputs": self.example.size, "multiply_adds": query.flops / 2,
            "flops_per_s": 1e9 * step.flops / step.wall_ns, "passes": run.length, "steps": run.steps,
            "training_s": run.seconds, "training_flops": step.flops * run.steps, **self.ours,
        }  # fmt: skip
        scaling = [swept(sweep, run.quick) for sweep in self.sweeps]
        passes = {"one query": query, f"a step of {len(self.x)}": step}
        return Findings(model, passes, scaling, self.year, ours, 1e9 * run.seconds / run.steps)


def training_case(trainer: Trainer, x: np.ndarray, y: np.ndarray) -> Case:
    """For a sweep: one step of training on a batch, at a rate of 0, so that each step computes what the first does."""
    batch = Tensor(x), Tensor(y)
    trainer.optimizer.lr = 0.0

    def step() -> None:
        trainer.train_step(*batch)

    return Case(step, step, profiler.parameters(trainer.model))


def printed(study: Study, run: Run) -> dict[str, Any]:
    """Measure what a study asks for, print the report, draw its plot; returns the figures for the JSON line."""
    found = study.findings(run)
    return shown(found, study.questions(found), run)


def shown(found: Findings, questions: Sequence[str], run: Run) -> dict[str, Any]:
    """Print a report, draw its plot; returns the figures for the JSON line."""
    from milestones import plots

    print(f"\n{text(found, questions)}\n", flush=True)
    run.save_plot("scaling", plots.scaling(found.scaling))
    return {"report": figures(found)}


def text(found: Findings, questions: Sequence[str]) -> str:
    """The whole report."""
    parts = {
        "memory": memory_part(found),
        "performance": performance_part(found),
        "architecture": architecture_part(found),
        "scaling": "\n\n".join(map(scaling_part, found.scaling)),
        f"{found.year} and today": eras.table(eras.ERAS[found.year], found.ours),
        "to think about": "\n".join(f"{i}. {question}" for i, question in enumerate(questions, 1)),
    }
    return "\n\n".join(f"{title}\n{'-' * len(title)}\n{part}" for title, part in parts.items())


# -- the parts ---------------------------------------------------------------------------------------------------------


def memory_part(found: Findings) -> str:
    """What holds memory in each pass, the most at one moment, and which op ran then."""
    held = {name: report.memory or Memory() for name, report in found.passes.items()}
    rows = [
        (NAMES[key], *(units.memory(nbytes) if nbytes else "" for nbytes in sizes))
        for key in (*HELD, "peak", "resident")
        if any(sizes := [getattr(memory, f"{key}_bytes") for memory in held.values()])
    ]
    lines = [table(("", *found.passes), rows)]
    for name, memory in held.items():
        if memory.at_peak is not None:
            at = memory.at_peak
            where = f"layer {at.layer}" if at.layer else "no layer"
            lines.append(f"The peak of {name} was while {at.op} ran ({at.phase}, {where}).")
    return "\n".join(lines)


def performance_part(found: Findings) -> str:
    """Parameters, FLOPs by phase, time, rate, and the part of the time that no op has."""
    passes = list(found.passes.values())
    rows = [("parameters", *[f"{profiler.parameters(found.model):,}"] * len(passes))]
    for phase in ("forward", "backward", "update"):
        counts = [sum(line.flops for line in report.lines if line.phase == phase) for report in passes]
        if any(counts):
            rows.append((f"FLOPs, {phase}", *(f"{count:,}" if count else "" for count in counts)))
    rows.append(("time", *(units.duration(report.wall_ns) for report in passes)))
    rows.append(("its 95 % interval", *(
        f"{units.duration(report.wall_low_ns)} to {units.duration(report.wall_high_ns)}" for report in passes
    )))  # fmt: skip
    rows.append(("GFLOP/s", *(units.figures(report.flops / report.wall_ns) for report in passes)))
    rows.append(("outside ops", *(f"{report.outside_ns / report.wall_ns:.0%}" for report in passes)))
    if found.as_trained_ns is not None:
        rows.append(("as it was trained, on average", *[""] * (len(passes) - 1), units.duration(found.as_trained_ns)))
    return "\n".join([table(("", *found.passes), rows), *doubts(found.passes)])


def doubts(passes: Mapping[str, Report]) -> list[str]:
    return [f"doubt: {name}: {doubt}" for name, report in passes.items() for doubt in report.doubts]


class LayerCost(NamedTuple):
    """A layer, or several that are alike: what it holds and what it costs in one pass."""

    name: str
    kind: str
    parameters: int
    flops: int
    forward_ns: float
    backward_ns: float
    ns: float

    def __str__(self) -> str:
        if self.name == OUTSIDE:
            return "what is outside ops"
        return f"layer {self.name} ({self.kind})" if self.kind != self.name else self.name


def layer_costs(model: Layer, report: Report) -> list[LayerCost]:
    """In the order they ran; what no layer computes, loss and all, and the time outside ops last."""
    names = list(dict.fromkeys(line.layer for line in report.lines))
    brief = brief_names(names)
    kinds = {"": ""}
    for name, layer in model.named_modules():
        kinds.setdefault(shortened(name, brief), type(layer).__name__)
    sizes: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        owner = shortened(name.rpartition(".")[0], brief)
        sizes[owner] = sizes.get(owner, 0) + parameter.size
    groups: dict[str, list[Line]] = {}
    for line in sorted(report.lines, key=lambda line: line.layer == ""):
        groups.setdefault(shortened(line.layer, brief), []).append(line)
    costs = [
        LayerCost(
            name or NO_LAYER, kinds.get(name, lines[0].kind or NO_LAYER),
            sum(sizes.get(part, 0) for part in name.split("+")),  # a step of a plan is made of several layers
            sum(one.flops for one in lines), sum(one.ns for one in lines if one.phase == "forward"),
            sum(one.ns for one in lines if one.phase == "backward"), sum(one.ns for one in lines),
        )
        for name, lines in groups.items()
    ]  # fmt: skip
    return [*costs, LayerCost(OUTSIDE, "", 0, 0, 0.0, 0.0, report.outside_ns)]


def brief_names(names: Sequence[str]) -> int:
    """How much names have to be shortened for a table: 0 not, 1 all blocks in one, 2 their parts as wholes too."""
    return next((brief for brief in (0, 1) if len({shortened(name, brief) for name in names}) <= MOST_LAYERS), 2)


def shortened(name: str, brief: int) -> str:
    """blocks.0.mlp.linear1 as it is; as blocks.*.mlp.linear1; as blocks.*.mlp."""
    if brief == 0:
        return name
    alike = re.sub(r"\.\d+(?=\.|$)", ".*", name)
    return alike if brief == 1 else ".".join(alike.split(".")[:3])


def architecture_part(found: Findings) -> str:
    """A row for each layer of the pass that is taken apart, and what dominates it."""
    report, layers = found.main, found.layers
    backward = any(line.phase == "backward" for line in report.lines)
    rows = []
    for layer in layers:
        times = [layer.forward_ns, layer.backward_ns] if backward else []
        rows.append((
            layer.name, layer.kind, f"{layer.parameters:,}" if layer.parameters else "", units.count(layer.flops),
            f"{found.part('flops', layer):.1%}", *(units.duration(ns) if ns else "" for ns in times),
            units.duration(layer.ns), f"{found.part('ns', layer):.1%}",
        ))  # fmt: skip
    headers = ("layer", "kind", "parameters", "FLOPs", "of all", *["forward", "backward"] * backward, "time", "of all")
    subject = list(found.passes)[-1]
    lines = [f"{subject}:", table(headers, rows, left=2)]
    costs = {"ns": "of the time goes to", "flops": "of the FLOPs are done by", "parameters": "of the parameters are in"}
    most = {cost: found.largest(cost) for cost in costs}
    said = [f"{found.part(cost, most[cost]):.0%} {words} {most[cost]}" for cost, words in costs.items()]
    lines.append(f"What dominates: {', '.join(said)}.")
    return "\n".join(lines)


def scaling_part(found: Swept) -> str:
    """The table of a sweep, and what its clock doubts, the first few."""
    said = [f"doubt: {doubt}" for doubt in found.doubts[:MOST_DOUBTS]]
    if len(found.doubts) > MOST_DOUBTS:
        said.append(f"and {len(found.doubts) - MOST_DOUBTS} more; all of them are in the last line")
    return "\n".join([f"{found.title}:", str(found), *said])


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    align = ["left"] * left + ["right"] * (len(headers) - left)
    return tabulate(rows, headers, colalign=align, disable_numparse=True)


# -- for programs ------------------------------------------------------------------------------------------------------


def figures(found: Findings) -> dict[str, Any]:
    """The report for the JSON line; times in ns."""
    keys = (*HELD, "peak", "resident")
    return {
        "memory": {
            name: {f"{key}_bytes": getattr(report.memory or Memory(), f"{key}_bytes") for key in keys}
            for name, report in found.passes.items()
        },
        "performance": {
            name: {"flops": report.flops, "ns": round(report.wall_ns), "low_ns": round(report.wall_low_ns),
                   "high_ns": round(report.wall_high_ns), "outside_ns": round(report.outside_ns)}
            for name, report in found.passes.items()
        },
        "layers": [
            {"layer": layer.name, "kind": layer.kind, "parameters": layer.parameters, "flops": layer.flops,
             "ns": round(layer.ns)}
            for layer in found.layers
        ],
        "scaling": [one.figures() for one in found.scaling],
        "then": {fact.what: fact.then for fact in eras.ERAS[found.year]},
        "here": {fact.what: found.ours[fact.ours] for fact in eras.ERAS[found.year] if fact.ours},
    }  # fmt: skip
