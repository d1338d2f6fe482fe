"""Plots: the numbers behind each are golden; the pictures are whole, alike each time, and nothing in them overlaps."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from profiler import plot_data, plots
from profiler.labels import place
from profiler.palette import PHASES
from profiler.report import Line, Memory, Moment, Report
from profiler.roofline import Ceilings

FLOATS = Ceilings(
    cpu="made up", simd="avx512", threads=2, float32_flops_per_s=2e11, int8_ops_per_s=8e11, call_ns=500, step_ns=5,
    bandwidth=((1 << 14, 4e11), (1 << 18, 2e11), (1 << 22, 1e11), (1 << 27, 3e10), (1 << 28, 2e10)),
    caches=(("L1", 1 << 16), ("L2", 1 << 21), ("L3", 1 << 25)), measured_utc="2026-11-24T00:00:00Z",
)  # fmt: skip


def line(layer: str, op: str, phase: str = "forward", ns: float = 1000, **other) -> Line:
    kinds = {"conv2d": "Conv2d", "linear": "Linear", "relu": "ReLU", "reshape": "Flatten", "sgd": "Conv2d"}
    kind = kinds.get(op.split("_")[0], "")
    figures = {"flops": 64_000, "operations": 64_000, "bytes": 8_000, "calls": 1, **other}
    return Line(layer=layer, kind=kind if layer else "", phase=phase, op=op, shapes=((2, 3), None), out_shape=(2, 3),
                ns=ns, ns_low=ns, ns_high=ns, **figures)  # fmt: skip


def report(lines: list[Line], **other) -> Report:
    inside = sum(one.ns for one in lines)
    outside = other.pop("outside_ns", 500.0)
    figures = {
        "subject": "cnn", "form": "eager", "backend": "numba", "threads": 2, "created_utc": "2026-11-24T00:00:00Z",
        "passes": 6, "wall_ns": inside + outside, "wall_low_ns": inside, "wall_high_ns": inside + 2 * outside,
        "observed_ns": inside + outside + 100, "outside_ns": outside, "lines": tuple(lines), "ceilings": FLOATS,
        **other,
    }  # fmt: skip
    return Report(**figures)


def small_net(scale: float = 1.0, **other) -> Report:
    """A convolution with everything, a ReLU, a reshape that computes nothing, a linear layer, an op of no layer."""
    return report([
        line("0", "conv2d", ns=4000 * scale, flops=640_000, operations=400_000, bytes=40_000),
        line("1", "relu", ns=500, flops=5_000, operations=5_000, bytes=40_000),
        line("2", "reshape", ns=100, flops=0, operations=0, bytes=0),
        line("3", "linear", ns=1500 * scale, bytes=32_000),
        line("", "sum", ns=50, flops=10, operations=10, bytes=44),
        line("3", "linear_weight_grad", "backward", ns=1600, bytes=30_000),
        line("3", "linear_input_grad", "backward", ns=900, bytes=31_000),
        line("1", "relu_grad", "backward", ns=600, flops=5_000, operations=5_000, bytes=60_000),
        line("0", "conv2d_weight_grad", "backward", ns=5000, flops=640_000, operations=640_000, bytes=45_000),
        line("0", "sgd_step", "update", ns=200, flops=300, operations=300, bytes=1_800),
    ], **other)  # fmt: skip


def deep_net(blocks: int = 12) -> Report:
    """As many layers as a GPT has: seven in each block, and three outside."""
    lines = [line("embedding", "take", ns=900, flops=0, operations=0)]
    for i in range(blocks):
        for j, name in enumerate(("attention.q", "attention.k", "attention.v", "attention.out", "mlp.0", "mlp.2")):
            lines.append(line(f"blocks.{i}.{name}", "linear", ns=1000 + 300 * j + 40 * i, bytes=8000 + 500 * j))
            lines.append(line(f"blocks.{i}.{name}", "linear_weight_grad", "backward", ns=2000 + 600 * j + 90 * i,
                              bytes=9000 + 500 * j))  # fmt: skip
        lines.append(line(f"blocks.{i}", "add", ns=100, flops=100, operations=100))
    return report([*lines, line("head", "linear", ns=7000, bytes=16_000)], subject="gpt")


MOMENTS = tuple(
    Moment(at_ns=1000 * i, layer=layer, phase=phase, op=op, bytes=live, peak_bytes=peak)
    for i, (layer, phase, op, live, peak) in enumerate([
        ("0", "forward", "conv2d", 40_000, 52_000), ("1", "forward", "relu", 80_000, 80_000),
        ("3", "forward", "linear", 81_000, 81_000), ("3", "backward", "linear_input_grad", 121_000, 121_000),
        ("1", "backward", "relu_grad", 100_000, 161_000), ("0", "backward", "conv2d_weight_grad", 60_000, 110_000),
        ("0", "update", "sgd_step", 60_000, 60_000),
    ])
)  # fmt: skip
MEMORY = Memory(parameter_bytes=30_000, gradient_bytes=30_000, activation_bytes=81_000, peak_bytes=161_000,
                resident_bytes=200 << 20, timeline=MOMENTS)  # fmt: skip


# -- the data ----------------------------------------------------------------------------------------------------------


def told(part: object, name: str = "", indent: str = "") -> str:
    """Nested tuples as text, a line for each value."""
    fields = getattr(part, "_asdict", None)
    if fields and all(not isinstance(value, tuple) for value in fields().values()):
        return f"{indent}{name}: " + ", ".join(f"{key} {shown(value)}" for key, value in fields().items())
    if fields:
        return "\n".join([f"{indent}{name}:", *(told(value, key, indent + "  ") for key, value in fields().items())])
    if isinstance(part, tuple) and part and isinstance(part[0], tuple):
        inside = (told(value, str(i), indent + "  ") for i, value in enumerate(part))
        return "\n".join([f"{indent}{name}:", *inside])
    return f"{indent}{name}: {shown(part)}"


def shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def test_the_data_behind_each_plot(golden):
    one, other = small_net(memory=MEMORY), small_net(0.5, subject="cnn, pruned", memory=MEMORY, outside_ns=300.0)
    parts = {
        "layers": plot_data.layers(one), "roofline": plot_data.roofline(one), "memory": plot_data.kinds(one),
        "timeline": plot_data.timeline(one), "comparison": plot_data.comparison(one, other),
    }  # fmt: skip
    golden("plots", "\n\n".join(told(part, name) for name, part in parts.items()) + "\n")


def test_the_data_of_a_deep_net(golden):
    deep = deep_net()
    parts = {"layers": plot_data.layers(deep), "labels": plot_data.roofline(deep).labels}
    golden("plots_deep", "\n\n".join(told(part, name) for name, part in parts.items()) + "\n")


def test_rows_add_up_to_the_report_however_many_layers():
    for one in (small_net(), deep_net(), deep_net(40), report([line(f"l{i}", "relu", ns=i + 1) for i in range(50)])):
        data = plot_data.layers(one)
        assert len(data.ns) <= plot_data.MOST_ROWS + 1
        assert [row.name for row in data.ns] == [row.name for row in data.bytes]
        assert sum(row.total for row in data.ns) == pytest.approx(one.ops_ns, rel=1e-12)
        assert sum(row.total for row in data.bytes) == one.bytes
        compared = plot_data.comparison(one, one)
        for pairs, whole in ((compared.ns, one.ops_ns), (compared.bytes, one.bytes), (compared.flops, one.flops)):
            assert sum(pair.before for pair in pairs) == pytest.approx(whole, rel=1e-12)
            assert sum(pair.after for pair in pairs) == pytest.approx(whole, rel=1e-12)


def test_the_smallest_of_too_many_layers_are_one_row():
    data = plot_data.layers(report([line(f"l{i}", "relu", ns=1000 - i) for i in range(25)]))
    assert [row.name for row in data.ns] == [f"l{i} ReLU" for i in range(18)] + ["7 others"]
    assert data.ns[-1].values == {"forward": sum(1000 - i for i in range(18, 25))}


def test_layers_of_one_report_alone_are_compared_with_nothing():
    both, one = [line("a", "relu", ns=5), line("b", "relu", ns=6)], [line("b", "relu", ns=7)]
    data = plot_data.comparison(report(both), report(one))
    assert data.ns == (("a ReLU", 5, None), ("b ReLU", 6, 7))


def test_int8_has_its_roof_and_is_told_by_most_operations():
    mixed = report([line("0", "conv2d", arithmetic="int8"), line("0", "dequantize", operations=10, flops=0)])
    data = plot_data.roofline(mixed)
    assert [roof.arithmetic for roof in data.roofs] == ["int8"] and [dot.arithmetic for dot in data.dots] == ["int8"]
    both = plot_data.roofline(report([line("0", "conv2d", arithmetic="int8"), line("1", "relu")]))
    assert [roof.arithmetic for roof in both.roofs] == ["float32", "int8"]


def test_dots_are_where_the_figures_put_them():
    dots = {(dot.name, dot.phase): dot for dot in plot_data.roofline(small_net()).dots}
    conv = dots["0 Conv2d", "forward"]
    assert (conv.per_byte, conv.per_s) == (10, 1e11) and conv.share == 4000 / small_net().wall_ns
    both = dots["3 Linear", "backward"]
    assert both.per_byte == 128_000 / 61_000 and both.per_s == pytest.approx(128_000 / 2500e-9)


def test_without_ceilings_operations_or_memory_there_is_no_such_plot():
    assert plot_data.roofline(small_net(ceilings=None)) is None
    assert plot_data.roofline(report([line("0", "reshape", operations=0)])) is None
    assert plot_data.kinds(small_net()) is None and plot_data.timeline(small_net()) is None
    script = small_net(memory=Memory(resident_bytes=5))
    assert plot_data.kinds(script) is None and plot_data.timeline(script) is None


# -- the pictures ------------------------------------------------------------------------------------------------------


def names(*plots: str) -> list[str]:
    return [f"{plot}.{ending}" for plot in plots for ending in ("png", "svg")]


def test_all_that_there_is_data_for_is_written(tmp_path):
    paths = plots.write(small_net(memory=MEMORY), tmp_path / "new" / "plots")
    assert [path.name for path in paths] == names("roofline", "layers", "memory", "timeline")
    assert sorted(os.listdir(tmp_path / "new" / "plots")) == sorted(path.name for path in paths)
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
    assert [path.name for path in plots.write(small_net(ceilings=None), tmp_path)] == names("layers")
    paths = plots.write_comparison(small_net(), small_net(0.5), tmp_path)
    assert [path.name for path in paths] == names("comparison")


def test_the_same_report_gives_the_same_bytes(tmp_path):
    first = plots.write(small_net(memory=MEMORY), tmp_path / "a")
    again = plots.write(small_net(memory=MEMORY), tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


NOTHING = {"ns": 0, "flops": 0, "operations": 0, "bytes": 0}


@pytest.mark.parametrize("one", [report([]), report([line("", "relu", **NOTHING)]), deep_net(40)])
def test_odd_reports_are_drawn(tmp_path, one):
    plots.write(one, tmp_path)
    plots.write_comparison(one, small_net(), tmp_path)
    plots.write_comparison(small_net(), one, tmp_path)


def test_nothing_is_written_when_drawing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "timeline_figure", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.write(small_net(memory=MEMORY), tmp_path / "new")
    assert not os.listdir(tmp_path)


def test_nothing_is_written_when_the_disk_is_full(tmp_path, monkeypatch):
    calls = iter(range(100))

    def fsync(_):
        if next(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"cannot write to .*new: No space left on device; free some space or choose"):
        plots.write(small_net(memory=MEMORY), tmp_path / "new")
    assert not os.listdir(tmp_path)


def test_labels_overlap_neither_each_other_nor_dots():
    rng = np.random.default_rng(0)
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    dots = [*rng.random((25, 2)).tolist(), [0.99, 0.99], [0.98, 0.99], [0.99, 0.98]]
    boxes = place(axes, {i: f"layer number {i}" for i in range(28)}, dots, [6.0] * 28)
    assert len(boxes) > 20
    edges = axes.get_window_extent()
    for box in boxes.values():
        assert edges.x0 <= box.x0 and box.x1 <= edges.x1 and edges.y0 <= box.y0 and box.y1 <= edges.y1
    assert not any(one.overlaps(other) for one, other in combinations(boxes.values(), 2))
    centres = axes.transData.transform(dots)
    assert not any(box.contains(*centre) for box in boxes.values() for centre in centres)


def test_phases_differ_without_colour():
    assert len({look.marker for look in PHASES.values()}) == len({look.hatch for look in PHASES.values()}) == 3


def test_bars_of_phases_differ_in_grey():
    """Of each phase's bar, drawn alone: how dark it is on average, or how much that varies, tells it from the rest."""
    seen = {}
    for phase, look in PHASES.items():
        figure = Figure(figsize=(2, 1))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.barh([0], [1], 1.0, **plots.filled(look))
        axes.set(xlim=(0.1, 0.9), ylim=(-0.3, 0.3))
        axes.set_axis_off()
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        grey = np.asarray(Image.open(buffer).convert("L"), float) / 255
        seen[phase] = (grey.mean(), grey.std())
    for (one, a), (other, b) in combinations(seen.items(), 2):
        assert max(abs(a[0] - b[0]), abs(a[1] - b[1])) > 0.1, f"{one} and {other} look alike in grey"
