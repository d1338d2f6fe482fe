"""A report as text: the machine's ceilings first, then how near the model came, by layer and by op."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from profiler import units
from profiler.report import Line, Memory, Report
from profiler.roofline import attainable_ns, bound
from tinytorch.engine.dispatch import Phase

PHASES: tuple[Phase, ...] = ("forward", "backward", "update")
MOST_ROWS = 30  # of a table; the rest is summed up in one row


def text(report: Report, every_line: bool = False) -> str:
    """The whole report; with `every_line` also a table of single ops with their shapes and intervals."""
    parts = [heading(report), layers_table(report), ops_table(report)]
    if every_line:
        parts.append(lines_table(report))
    if report.memory is not None:
        parts.append(memory_table(report.memory))
    parts += ["\n".join(f"- {said}" for said in report.suggestions())]
    parts += ["\n".join(f"doubt: {doubt}" for doubt in report.doubts)]
    return "\n\n".join(filter(None, parts))


def heading(report: Report) -> str:
    wall, low, high = map(units.duration, (report.wall_ns, report.wall_low_ns, report.wall_high_ns))
    threads = f"{report.threads} thread{'s' * (report.threads != 1)}"
    lines = [f"{report.subject}: {report.form}, {report.backend} backend, {threads}"]
    if report.ceilings is not None:
        most = report.ceilings
        near, far = most.bandwidth[0][1], most.bandwidth[-1][1]
        lines.append(
            f"the machine: {most.cpu} ({most.simd}); at most {units.figures(most.float32_flops_per_s / 1e9)} GFLOP/s "
            f"float32, {units.figures(most.int8_ops_per_s / 1e9)} Gop/s int8; memory {units.figures(far / 1e9)} GB/s, "
            f"nearest cache {units.figures(near / 1e9)} GB/s; a call costs {units.duration(most.call_ns)}"
        )
    if report.passes == 1:
        lines.append(f"one pass: {wall}, {units.count(report.flops)} FLOPs, {units.memory(report.bytes)} moved by ops")
    else:
        lines.append(
            f"one pass: {wall} ({low} to {high}, median of {report.passes}), {units.count(report.flops)} FLOPs, "
            f"{units.memory(report.bytes)} moved by ops; watched: {units.duration(report.observed_ns)}"
        )
    return "\n".join(lines)


def layers_table(report: Report) -> str:
    """A row for each layer, one for the time outside ops, and their sum."""
    present = [phase for phase in PHASES if any(line.phase == phase for line in report.lines)]
    groups = report.by_layer()
    shown = {total.name for total in sorted(groups, key=lambda total: -total.ns)[:MOST_ROWS]}
    rows = []
    for name, lines in report.grouped(lambda line: line.layer).items():
        if name in shown:
            rows.append((name or "(no layer)", lines[0].kind, *times(lines, present), *figures(report, lines)))
    others = [line for line in report.lines if line.layer not in shown]
    if others:
        rows.append((f"{len(groups) - len(shown)} others", "", *times(others, present), *figures(report, others)))
    headers = ("layer", "kind", *present, "FLOPs", "bytes", "time", "share", "GFLOP/s", "of roof", "bound by")
    return table(headers, [*rows, *ends(report, len(headers))], left=2)


def times(lines: Sequence[Line], phases: Sequence[Phase]) -> Iterator[str]:
    for phase in phases:
        mine = [line.ns for line in lines if line.phase == phase]
        yield units.duration(sum(mine)) if mine else ""


def ops_table(report: Report) -> str:
    """A row for each op, the longest first."""
    rows = []
    for total in report.by_op():
        lines = [line for line in report.lines if line.op == total.name]
        kernels = ", ".join(dict.fromkeys(name for line in lines for name in line.kernels)) or "NumPy"
        int8 = any(one.arithmetic == "int8" for one in lines)
        executed = units.count(total.operations) + " int8" * int8
        rows.append((total.name, kernels, f"{total.calls:,}", executed, *figures(report, lines)))
    headers = (
        "op", "kernels", "calls", "executed", "FLOPs", "bytes", "time", "share", "GFLOP/s", "of roof", "bound by"
    )  # fmt: skip
    return table(headers, [*rows, *ends(report, len(headers))], left=2)


def lines_table(report: Report) -> str:
    """A row for each op and signature, as they ran."""
    rows = [
        (
            line.layer or "(no layer)", line.phase, line.op, ", ".join(line.kernels) or "NumPy",
            " ".join("-" if shape is None else dimensions(shape) for shape in line.shapes), dimensions(line.out_shape),
            f"{line.calls:,}", f"{units.duration(line.ns_low)} to {units.duration(line.ns_high)}",
            *figures(report, [line]),
        )
        for line in report.lines
    ]  # fmt: skip
    headers = ("layer", "phase", "op", "kernels", "reads", "writes", "calls", "95 % interval")
    return table((*headers, "FLOPs", "bytes", "time", "share", "GFLOP/s", "of roof", "bound by"), rows, left=6)


def dimensions(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def figures(report: Report, lines: Sequence[Line]) -> tuple[str, ...]:
    """FLOPs, bytes, time, share of the pass, rate, share of the roofline, and what bounds most of the time."""
    ns, flops = sum(line.ns for line in lines), sum(line.flops for line in lines)
    roof, by = against_roof(report, lines)
    return (
        units.count(flops), units.memory(sum(line.bytes for line in lines)), units.duration(ns),
        f"{ns / report.wall_ns:.1%}", units.figures(flops / ns) if flops and ns else "",
        "" if roof is None else f"{roof:.0%}", by,
    )  # fmt: skip


def against_roof(report: Report, lines: Sequence[Line]) -> tuple[float | None, str]:
    """The least time that the machine needs for some lines as a share of theirs, and what bounds the largest part."""
    ns, most = sum(line.ns for line in lines), report.ceilings
    if most is None or not ns:
        return None, ""
    parts: dict[str, float] = {}
    least = 0.0
    for line in lines:
        work = line.operations, line.bytes, line.arithmetic, line.calls
        least += attainable_ns(most, *work)
        by = bound(most, *work, report.form)
        parts[by] = parts.get(by, 0.0) + line.ns
    return least / ns, max(parts, key=lambda by: parts[by])


def ends(report: Report, width: int) -> list[tuple[str, ...]]:
    """The rows that end a table: time outside ops, and the sum."""
    at = width - 5  # where the column of times stands
    summed = report.ops_ns + report.outside_ns

    def row(name: str, ns: float) -> tuple[str, ...]:
        return (name, *[""] * (at - 1), units.duration(ns), f"{ns / report.wall_ns:.1%}", "", "", "")

    return [row("outside ops", report.outside_ns), row("sum", summed)]


def memory_table(memory: Memory) -> str:
    """What was held, and the most at one moment."""
    names = ("parameter", "gradient", "optimizer", "activation", "arena", "constant", "peak", "resident")
    notes = {
        "activation": "held for backward", "peak": "the most allocated at one moment beyond what was there",
        "resident": "the whole process",
    }  # fmt: skip
    rows = [(name, units.memory(getattr(memory, f"{name}_bytes")), notes.get(name, "")) for name in names]
    rows = [row for row in rows if getattr(memory, f"{row[0]}_bytes")]
    at = memory.at_peak
    if at is not None:
        rows.append(("at the peak", "", f"{at.op}, {at.phase} of {at.layer or 'no layer'}"))
    return tabulate(rows, ("memory", "bytes", ""), colalign=("left", "right", "left"), disable_numparse=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    align = ["left"] * left + ["right"] * (len(headers) - left - 1) + ["left"]
    return tabulate(rows, headers, colalign=align, disable_numparse=True)


def comparison(before: Report, after: Report) -> str:
    """Two reports beside each other: the whole, then layers whose names agree."""

    def row(name: str, a: float, b: float, shown) -> tuple[str, ...]:  # type: ignore[no-untyped-def]
        return (name, shown(a), shown(b), units.figures(a / b) if b else "")

    whole = [
        row("one pass", before.wall_ns, after.wall_ns, units.duration),
        row("outside ops", before.outside_ns, after.outside_ns, units.duration),
        row("FLOPs", before.flops, after.flops, units.count),
        row("bytes moved", before.bytes, after.bytes, units.memory),
    ]
    if before.memory is not None and after.memory is not None:
        whole.append(row("peak memory", before.memory.peak_bytes, after.memory.peak_bytes, units.memory))
    mine, theirs = ({total.name: total.ns for total in report.by_layer()} for report in (before, after))
    both = [name for name in mine if name in theirs]
    layers = [row(name or "(no layer)", mine[name], theirs[name], units.duration) for name in both]
    alone = [name or "(no layer)" for name in {**mine, **theirs} if (name in mine) != (name in theirs)]
    headers = ("", f"A: {before.subject}, {before.form}", f"B: {after.subject}, {after.form}", "A / B")
    align = ("left", "right", "right", "right")
    parts = [tabulate(whole, headers, colalign=align, disable_numparse=True)]
    if layers:
        parts.append(tabulate(layers, ("layer", "A", "B", "A / B"), colalign=align, disable_numparse=True))
    if alone:
        parts.append(f"only in one of them: {', '.join(alone)}")
    differ = [
        f"{name}: {getattr(before, name)} and {getattr(after, name)}"
        for name in ("backend", "threads") if getattr(before, name) != getattr(after, name)
    ]  # fmt: skip
    cpus = [report.ceilings.cpu for report in (before, after) if report.ceilings is not None]
    if len(set(cpus)) > 1:
        differ.append(f"machines: {cpus[0]} and {cpus[1]}")
    return "\n\n".join([*parts, *(f"they differ in {one}" for one in differ)])
