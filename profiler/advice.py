"""What a student may do about the hottest layers: what bounds each, and which stage of the pipeline would help.

Every sentence is made from the figures it names. Left out: doing it (`tinytorch.perf`, `mlperf`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from profiler import units
from profiler.report import Line, Report
from profiler.tables import against_roof

HOT = 0.1  # of a pass
MOST = 4  # layers that are spoken of
NEAR = 0.6  # of the roofline: from here on only less work helps
FAR = 0.3  # below it most of the time is none of what bounds: kernels are started, filled and ended
NETWORK = ("eager", "script")


def suggestions(report: Report) -> tuple[str, ...]:
    """One sentence on the time outside ops, if that is much, and one on each hot layer; () without ceilings."""
    if report.ceilings is None or not report.wall_ns:
        return ()
    said = []
    outside = report.outside_ns / report.wall_ns
    if outside > HOT and report.form in NETWORK:
        said.append(
            f"{outside:.0%} of a pass are outside ops, in Python: `accelerate` captures the network into a plan, where "
            "nothing runs between the kernels"
        )
    layers = {
        f"{name} ({lines[0].kind})" if lines[0].kind not in ("", name) else name or "outside all layers": lines
        for name, lines in report.grouped(lambda line: line.layer).items()
    }
    spoken = hot(report, layers)
    if not spoken:  # a deep network, of which no single layer is hot
        groups = report.grouped(lambda line: line.kind)
        layers = {
            f"all {kind}, {len({one.layer for one in lines})} layers": lines for kind, lines in groups.items() if kind
        }
        spoken = hot(report, layers)
    return (*said, *(f"{name}, {share:.0%} of a pass: {sentence(report, layers[name])}" for name, share in spoken))


def hot(report: Report, groups: Mapping[str, Sequence[Line]]) -> list[tuple[str, float]]:
    """The groups that take most of a pass, the hottest first, and their shares of it."""
    shares = {name: sum(line.ns for line in lines) / report.wall_ns for name, lines in groups.items()}
    return sorted(((name, share) for name, share in shares.items() if share > HOT), key=lambda one: -one[1])[:MOST]


def sentence(report: Report, lines: Sequence[Line]) -> str:
    """What bounds some lines, and what helps against it."""
    roof, by = against_roof(report, lines)
    assert roof is not None
    near = f"at {roof:.0%} of what the machine can do"
    if by == "overhead":
        calls = sum(line.calls for line in lines)
        how = f"{calls} call{'s' * (calls != 1)} of {units.duration(sum(line.ns for line in lines) / calls)}"
        if report.form in NETWORK:
            return f"bound by overhead, {how}: `accelerate` fuses them, and a larger batch shares them among examples"
        return f"bound by overhead, {how}: a larger batch shares them among examples"
    if not any(line.kernels for line in lines):
        return f"bound by {by}, {near}, in NumPy: the numba backend computes it with compiled kernels"
    trained = any(line.phase != "forward" for line in report.lines)
    fused = "" if report.form == "plan" else "`accelerate` fuses passes over the same numbers"
    if by == "memory":
        moved = units.memory(sum(line.bytes for line in lines))
        smaller = "`prune` leaves fewer channels" if trained or integers(lines) else "`quantize` moves a quarter of it"
        return f"bound by memory, {moved}, {near}: {', '.join(filter(None, (smaller, fused)))}"
    if integers(lines):
        return f"bound by compute, {near}, on integers: `prune` leaves less to do"
    if roof < FAR:
        return f"bound by compute, but only {near}: a larger batch leaves less to start and end for each example"
    less = "`prune` leaves out" if trained else "`quantize` computes on integers, `prune` leaves out"
    if roof >= NEAR:
        return f"bound by compute, {near}: only less work helps: {less}"
    return f"bound by compute, {near}: {less}{', more threads share' if report.threads == 1 else ''}"


def integers(lines: Sequence[Line]) -> bool:
    return any(line.arithmetic == "int8" for line in lines)
