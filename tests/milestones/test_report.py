"""The four parts and the questions, from reports made by hand, so that each printed figure can be checked."""

from __future__ import annotations

import runpy
from dataclasses import replace

import pytest

from milestones import language, report
from milestones.report import Findings
from milestones.run import Run
from milestones.sweeps import Point, Sweep, Swept
from profiler.report import Line, Memory, Moment, Report
from tests.milestones.test_scripts import ROOT, SCRIPTS
from tinytorch import GPT, Conv2d, Linear, ReLU, Sequential

SYSTEMS = ROOT / "milestones" / "06_2024_systems_age" / "systems_report.py"
MNIST = ROOT / "milestones" / "03_1986_mlp_revival" / "mlp_mnist.py"
CIFAR10 = ROOT / "milestones" / "04_1998_cnn_revolution" / "studies.py"
EVERYTHING = (
    "inputs", "parameters", "flops_per_s", "multiply_adds", "passes", "steps", "training_s", "training_flops", "shown",
    "examples", "width", "layers", "query_flops", "threads", "bytes",
)  # fmt: skip


def a_line(layer, kind, phase, op, flops, ns):
    return Line(
        layer=layer, kind=kind, phase=phase, op=op, shapes=((64, 8),), out_shape=(64, 8), calls=1, flops=flops,
        operations=flops, bytes=4096, ns=ns, ns_low=ns, ns_high=ns,
    )  # fmt: skip


def a_report(lines, ns, memory=None, doubts=()):
    inside = sum(line.ns for line in lines)
    return Report(
        subject="net", form="eager", backend="numba", threads=2, created_utc="2026-01-01T00:00:00Z", passes=7,
        wall_ns=ns, wall_low_ns=0.9 * ns, wall_high_ns=1.2 * ns, observed_ns=1.1 * ns, outside_ns=ns - inside,
        lines=tuple(lines), memory=memory, doubts=doubts,
    )  # fmt: skip


def findings(scale=1, year=1986):
    """A net of two layers; every figure grows with `scale`."""
    model = Sequential(Conv2d(1, 4 * scale, 3), ReLU(), Linear(4 * scale, 2))
    forward = [
        a_line("0", "Conv2d", "forward", "conv2d", 4096 * scale, 1000.0 * scale),
        a_line("1", "ReLU", "forward", "relu", 256 * scale, 100.0 * scale),
        a_line("2", "Linear", "forward", "linear", 1024 * scale, 500.0 * scale),
    ]
    backward = [
        a_line("2", "Linear", "backward", "matmul", 2048 * scale, 900.0 * scale),
        a_line("0", "Conv2d", "backward", "conv2d_weight_grad", 8192 * scale, 2500.0 * scale),
        a_line("", "", "forward", "mean", 64, 50.0),
        a_line("0", "Conv2d", "update", "sgd_step", 72 * scale, 200.0 * scale),
    ]
    peak = Moment(at_ns=5, layer="0", phase="backward", op="conv2d_weight_grad", bytes=900, peak_bytes=70_000 * scale)
    small = Memory(parameter_bytes=184 * scale, peak_bytes=1500 * scale, resident_bytes=1 << 28)
    large = Memory(
        parameter_bytes=184 * scale, gradient_bytes=184 * scale, optimizer_bytes=368 * scale, resident_bytes=1 << 28,
        activation_bytes=50_000 * scale, peak_bytes=70_000 * scale, timeline=(peak,),
    )  # fmt: skip
    passes = {
        "one query": a_report(forward, 4000.0 * scale**1.5, small),
        "a step of 64": a_report([*forward, *backward], 12_000.0 * scale**1.5, large, ("the samples spread",)),
    }
    sizes = [scale * size for size in (1, 2, 4, 8, 16)]
    points = tuple(
        Point(n, 9 * n, 100 * n ** (1 + scale), 1e3 * n**1.3 * scale**n, 640 * n * scale + 1000, 2 * n * scale)
        for n in sizes
    )
    sweeps = [
        Swept(Sweep("width", f"a step, {count} threads", sizes, report.training_case, apart="attention"), points)
        for count in (1, 2)
    ]
    return Findings(model, passes, sweeps, year, dict.fromkeys(EVERYTHING, 1000.0 * scale), 15_000.0)


def test_the_whole_text(golden):
    golden("milestone_report", f"{report.text(findings(), ['Why 5?', 'Why 7?'])}\n")


def test_costs_add_up_and_none_is_lost():
    found = findings()
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == ["0", "1", "2", "no layer", "outside ops"]
    assert layers["0"].parameters == 40 and layers["2"].parameters == 10
    assert (layers["0"].forward_ns, layers["0"].backward_ns, layers["0"].ns) == (1000, 2500, 3700)
    assert sum(layer.ns for layer in layers.values()) == pytest.approx(12_000)
    assert sum(layer.flops for layer in layers.values()) == found.main.flops
    assert found.outside == pytest.approx(6750 / 12_000)
    assert found.share("parameters", "Conv2d") == 0.8 and found.largest("ns").name == "outside ops"
    assert found.held("optimizer") == 368 and found.then("passes") == 1425


def test_blocks_that_are_alike_share_a_row():
    model = GPT(28, 8, 3, 2, 16)
    lines = [
        a_line(name, type(layer).__name__, "forward", "op", 10, 1.0)
        for name, layer in model.named_modules() if not list(layer.named_modules())[1:]
    ]  # fmt: skip
    costs = report.layer_costs(model, a_report(lines, 1000.0))
    assert len(costs) <= report.MOST_LAYERS + 1 and sum(cost.flops for cost in costs) == 10 * len(lines)
    names = {cost.name: cost for cost in costs}
    assert names["blocks.*.mlp"].kind == "MLP" and names["blocks.*.mlp"].parameters == 3 * (8 * 32 + 32 + 32 * 8 + 8)
    assert sum(cost.parameters for cost in costs) == sum(p.size for p in model.parameters())


def test_a_step_of_a_plan_has_the_parameters_of_its_layers():
    model = Sequential(Linear(8, 4), ReLU(), Linear(4, 2))
    lines = [a_line("0+1", "Linear+ReLU", "forward", "linear", 10, 1.0)]
    first, outside = report.layer_costs(model, a_report(lines, 5.0))
    assert (first.name, first.kind, first.parameters) == ("0+1", "Linear+ReLU", 36) and outside.ns == 4


def questions_of(name):
    """What asks the questions of a script."""
    if name == "transformer":
        return language.questions
    scripts = {**SCRIPTS, "systems": SYSTEMS, "mlp-mnist": MNIST, "cnn-cifar10": CIFAR10, "cifar10-best": CIFAR10}
    return runpy.run_path(str(scripts[name]))["best_questions" if name == "cifar10-best" else "questions"]


@pytest.mark.parametrize(
    ("name", "year"),
    [("perceptron", 1957), ("xor", 1969), ("mlp", 1986), ("cnn", 1998), ("transformer", 2017), ("systems", 2024),
     ("mlp-mnist", 1986), ("cnn-cifar10", 1998), ("cifar10-best", 1998)],
)  # fmt: skip
def test_every_question_points_at_numbers_that_were_measured(name, year):
    asked = []
    for scale in (1, 2):
        found = findings(scale, year)
        if name == "systems":
            query, step = found.passes.values()
            found = replace(found, passes={"one query before": step, "one query after": query})
        asked.append(questions_of(name)(found))
    assert 3 <= len(asked[0]) <= 4
    for small, large in zip(*asked):
        assert small != large, "with other measurements the sentence is another one"
        assert "?" in small and any(c.isdigit() for c in small) and not small.endswith(" ")


def test_a_report_is_printed_drawn_and_returned(tmp_path, capsys):
    run = Run(0, 1, tmp_path)
    found = report.shown(findings(), ["Why 5?"], run)["report"]
    printed = capsys.readouterr().out
    assert "1. Why 5?" in printed and [path.name for path in tmp_path.iterdir()] == ["scaling.png"]
    assert found["performance"]["a step of 64"] == {
        "flops": 15_752, "ns": 12_000, "low_ns": 10_800, "high_ns": 14_400, "outside_ns": 6750,
    }  # fmt: skip
    assert found["memory"]["a step of 64"]["optimizer_bytes"] == 368 and len(found["scaling"]) == 2
    assert found["then"]["weights and biases"] == 17 and found["here"]["weights and biases"] == 1000
