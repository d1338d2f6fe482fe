"""What is in each plot, as plain numbers and labels; nothing of how it is drawn (`plots.py`).

Where there are more layers than fit, those inside one another are taken together, as deep as still fits: the twelve
blocks of a GPT instead of their hundred layers. If the outermost are still too many, the small ones become one row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from profiler import units
from profiler.report import Line, Report
from profiler.roofline import Roof, roof
from profiler.tables import PHASES
from tinytorch.engine.dispatch import Phase

MOST_ROWS = 18
LABELLED, LEAST_SHARE = 8, 0.02  # dots of a roofline that get a label: at most so many, none of a smaller share
NO_LAYER, OUTSIDE = "(no layer)", "outside ops"


# -- rows --------------------------------------------------------------------------------------------------------------


def folded(lines: Iterable[Line], most: int = MOST_ROWS) -> dict[str, str]:
    """For each layer the name of its row: its own and its class, or the outer layer it is in, as deep as leaves at most
    so many rows.
    """
    kinds = {line.layer: line.kind for line in lines}
    shown: dict[str, str] = {}
    for depth in range(max((name.count(".") + 1 for name in kinds), default=1), 0, -1):
        cut = {name: ".".join(name.split(".")[:depth]) for name in kinds}
        shown = {name: named(to, kinds[name] if list(cut.values()).count(to) == 1 and to == name else "")
                 for name, to in cut.items()}  # fmt: skip
        if len(set(shown.values())) <= most:
            break
    return shown


def named(layer: str, kind: str) -> str:
    """A layer with its class, where that says more than its name."""
    return f"{layer} {kind}".rstrip() if kind != layer.rpartition(".")[2] and layer else layer or NO_LAYER


class Row(NamedTuple):
    """A layer, or several: how much in each phase."""

    name: str
    values: dict[Phase, float]

    @property
    def total(self) -> float:
        return sum(self.values.values())


def rows(report: Report, value: Callable[[Line], float], names: Mapping[str, str]) -> list[Row]:
    """The layers in the order they ran, under the names that are shown."""
    found: dict[str, dict[Phase, float]] = {}
    for line in report.lines:
        of = found.setdefault(names[line.layer], {})
        of[line.phase] = of.get(line.phase, 0) + value(line)
    return [Row(name, values) for name, values in found.items()]


def small(weights: Mapping[str, float], most: int = MOST_ROWS) -> set[str]:
    """The names of least weight that are too many."""
    return set(sorted(weights, key=lambda name: -weights[name])[most:])


# -- plots -------------------------------------------------------------------------------------------------------------


class Layers(NamedTuple):
    """Time and bytes moved by layer, in one pass; the same rows in both, in the order the layers ran."""

    title: str
    ns: tuple[Row, ...]
    bytes: tuple[Row, ...]
    outside_ns: float


def layers(report: Report) -> Layers:
    names = folded(report.lines)
    times, moved = rows(report, lambda line: line.ns, names), rows(report, lambda line: line.bytes, names)
    others = small({row.name: row.total for row in times})
    if others:
        times, moved = ([*(row for row in part if row.name not in others), joined(part, others)]
                        for part in (times, moved))  # fmt: skip
    return Layers(heading(report), tuple(times), tuple(moved), report.outside_ns)


def joined(part: Sequence[Row], others: set[str]) -> Row:
    inside = [row for row in part if row.name in others]
    sums = {phase: sum(row.values.get(phase, 0) for row in inside) for phase in PHASES}
    return Row(f"{len(inside)} others", {phase: value for phase, value in sums.items() if value})


class Dot(NamedTuple):
    """A layer in one phase: operations executed for each byte moved, and in a second; its share of the pass."""

    name: str
    phase: Phase
    arithmetic: str
    per_byte: float
    per_s: float
    share: float


class Roofline(NamedTuple):
    """Roofs of the arithmetic in use, and a dot for each layer and phase, the largest first. `labels`: for some dots,
    by number, a text. `left_out`: layers that computed nothing.
    """

    title: str
    roofs: tuple[Roof, ...]
    dots: tuple[Dot, ...]
    labels: tuple[tuple[int, str], ...]
    left_out: tuple[str, ...]


def roofline(report: Report) -> Roofline | None:
    """None without ceilings, or where nothing was computed."""
    if report.ceilings is None:
        return None
    dots = []
    for (layer, phase), lines in report.grouped(lambda line: (line.layer, line.phase)).items():
        operations, moved, ns = (sum(getattr(line, key) for line in lines) for key in ("operations", "bytes", "ns"))
        if operations and moved and ns:
            name, arithmetic = named(layer, lines[0].kind), max(lines, key=lambda line: line.operations).arithmetic
            per_byte, per_s = operations / moved, 1e9 * operations / ns
            dots.append(Dot(name, phase, arithmetic, per_byte, per_s, ns / report.wall_ns))
    if not dots:
        return None
    shown = {dot.name for dot in dots}
    every = dict.fromkeys(named(line.layer, line.kind) for line in report.lines)
    used = [name for name in ("float32", "int8") if any(dot.arithmetic == name for dot in dots)]
    roofs = tuple(roof(report.ceilings, name) for name in used)
    ordered = tuple(sorted(dots, key=lambda dot: -dot.share))
    left_out = tuple(name for name in every if name not in shown)
    return Roofline(heading(report), roofs, ordered, tuple(labels(ordered)), left_out)


def labels(dots: Sequence[Dot]) -> Iterator[tuple[int, str]]:
    """The largest dots that matter, and what is written beside them. Layers that are the same in each of several
    blocks get one label, at the largest of them.
    """
    alike: dict[tuple[str, Phase], list[int]] = {}
    for i, dot in enumerate(dots):
        alike.setdefault((re.sub(r"(?<![^.])\d+(?=\.)", "*", dot.name), dot.phase), []).append(i)
    groups = [(name, numbers, sum(dots[i].share for i in numbers)) for (name, _), numbers in alike.items()]
    for name, numbers, share in sorted(groups, key=lambda group: -group[2])[:LABELLED]:
        if share >= LEAST_SHARE:
            text = f"{name} ({len(numbers)})" if len(numbers) > 1 else dots[numbers[0]].name
            yield numbers[0], f"{text}  {share:.0%}"


class Kinds(NamedTuple):
    """Memory by kind, in bytes: what is held, then the most at one moment; `resident_bytes` of the whole process."""

    title: str
    held: dict[str, int]
    peak_bytes: int
    resident_bytes: int


HELD = {
    "parameters": "parameter_bytes", "gradients": "gradient_bytes", "optimizer": "optimizer_bytes",
    "activations for backward": "activation_bytes", "arena": "arena_bytes", "constants": "constant_bytes",
}  # fmt: skip


def kinds(report: Report) -> Kinds | None:
    """None where memory was not measured, but for the size of the process."""
    memory = report.memory
    if memory is None:
        return None
    held = {name: value for name, key in HELD.items() if (value := getattr(memory, key))}
    if not held and not memory.peak_bytes:
        return None
    return Kinds(heading(report), held, memory.peak_bytes, memory.resident_bytes)


class Span(NamedTuple):
    """Ops of one phase that follow one another: from which, up to which (not included), counted from 0."""

    phase: Phase
    begin: int
    end: int


class Timeline(NamedTuple):
    """Memory op by op: what lives after each, the most while it ran, and where the most of all was."""

    title: str
    live_bytes: tuple[int, ...]
    peak_bytes: tuple[int, ...]
    spans: tuple[Span, ...]
    at: int
    what: str


def timeline(report: Report) -> Timeline | None:
    """None where there is none."""
    moments = report.memory.timeline if report.memory else ()
    if not moments:
        return None
    spans, begin = [], 0
    for phase, group in groupby(moment.phase for moment in moments):
        spans.append(Span(phase, begin, end := begin + len(list(group))))
        begin = end
    at = max(range(len(moments)), key=lambda i: moments[i].peak_bytes)
    most = moments[at]
    what = f"{units.memory(most.peak_bytes)}: {most.op}, {most.phase} of {most.layer or 'no layer'}"
    live, peak = (tuple(getattr(moment, key) for moment in moments) for key in ("bytes", "peak_bytes"))
    return Timeline(heading(report), live, peak, tuple(spans), at, what)


class Pair(NamedTuple):
    """One quantity in two reports; None where one of them has no such layer."""

    name: str
    before: float | None
    after: float | None


class Comparison(NamedTuple):
    """The whole of two reports, then time, bytes moved and FLOPs by layer, with the same rows in each."""

    before: str
    after: str
    whole: tuple[Pair, ...]
    ns: tuple[Pair, ...]
    bytes: tuple[Pair, ...]
    flops: tuple[Pair, ...]


def comparison(before: Report, after: Report) -> Comparison:
    reports = (before, after)
    whole = [Pair("one pass", before.wall_ns, after.wall_ns), Pair("outside ops", before.outside_ns, after.outside_ns),
             Pair("FLOPs", before.flops, after.flops), Pair("bytes moved", before.bytes, after.bytes)]  # fmt: skip
    if before.memory is not None and after.memory is not None and (before.memory.peak_bytes or after.memory.peak_bytes):
        whole.append(Pair("peak memory", before.memory.peak_bytes, after.memory.peak_bytes))
    names = folded(line for report in reports for line in report.lines)
    ns, moved, flops = (paired(reports, value, names) for value in (
        lambda line: line.ns, lambda line: line.bytes, lambda line: line.flops))  # fmt: skip
    others = small({pair.name: max(pair.before or 0, pair.after or 0) for pair in ns})
    parts = (tuple(together(part, others)) for part in (ns, moved, flops))
    return Comparison(label(before), label(after), tuple(whole), *parts)


def paired(
    reports: tuple[Report, Report], value: Callable[[Line], float], names: Mapping[str, str]
) -> list[Pair]:
    """A pair for each layer of either, in the order of the first, then those that only the second has."""
    a, b = ({row.name: row.total for row in rows(report, value, names)} for report in reports)
    return [Pair(name, a.get(name), b.get(name)) for name in {**a, **b}]


def together(pairs: Sequence[Pair], others: set[str]) -> Iterator[Pair]:
    """The pairs, those of these names as the last one."""
    yield from (pair for pair in pairs if pair.name not in others)
    if others:
        inside = [pair for pair in pairs if pair.name in others]
        sums = (sum(value or 0 for value in values) for values in list(zip(*inside))[1:])
        yield Pair(f"{len(inside)} others", *sums)


# -- words -------------------------------------------------------------------------------------------------------------


def label(report: Report) -> str:
    threads = f"{report.threads} thread{'s' * (report.threads != 1)}"
    return f"{report.subject}, {report.form}, {report.backend}, {threads}"


def heading(report: Report) -> str:
    return f"{label(report)}: one pass {units.duration(report.wall_ns)}"
