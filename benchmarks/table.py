"""What a person reads: a table for each group and number of threads, then the targets; and one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from benchmarks import kernels, transformer
from benchmarks.accuracy import Race, races
from benchmarks.contest import QUIET_CORES, Contestant, Result, Spread
from benchmarks.libraries import OURS
from benchmarks.targets import Target, fraction
from benchmarks.transformer_work import Text
from profiler.units import duration, figures

LIMITS = (kernels.FMA_LIMIT, kernels.DOT_LIMIT)
MEGABYTE = 1 << 20


def spread(ratio: Spread | None) -> str:
    """A median and, in brackets, the range."""
    return "-" if ratio is None else f"{figures(ratio.median)} ({figures(ratio.least)}..{figures(ratio.greatest)})"


def group_table(results: Sequence[Result]) -> str:
    """One line for each contestant: its time, and how often our quickest fits into it; below, why others have none."""
    rows = []
    for result in results:
        ours = result.quickest([str(each) for each in result.case.contestants if is_ours(each)])
        for i, each in enumerate(each for each in result.case.contestants if each not in LIMITS):
            name, first = str(each), str(result.case) if i == 0 else ""
            if name not in result.times_ns:
                rows.append((first, name, "-", "-", "", "see below"))
                continue
            ratio = result.ratio(name, ours) if ours and name != ours else None
            share = fraction(result) if each == kernels.REPEATED else None
            note = f"{figures(share.median)} of the limit" if share else ""
            if name in result.peak_bytes:
                note = f"holds {figures(result.peak_bytes[name] / MEGABYTE)} MB"
            rows.append((first, name, duration(result.median_ns(name)), spread(ratio), rate(result, name), note))
    headers = ("work", "by", "time", "time / our quickest", "Gop/s", "note")
    align = ("left", "left", "right", "right", "right", "left")
    failures = [f"{result.case}, {name}: {why}" for result in results for name, why in result.failed.items()]
    return "\n".join([tabulate(rows, headers, colalign=align, disable_numparse=True), *failures])


def is_ours(contestant: Contestant) -> bool:
    """Whether this is one of our implementations; the limits are the machine's."""
    return contestant.package == OURS and contestant not in LIMITS


def rate(result: Result, name: str) -> str:
    """FLOPs in a ns, where the work has FLOPs."""
    flops = getattr(result.case.work, "flops", None)
    return "" if flops is None else figures(flops / result.median_ns(name))


def limits_line(results: Sequence[Result]) -> str:
    """The machine's limits as measured between all the others; empty where they were not."""
    parts = []
    for limit, what in ((kernels.FMA_LIMIT, "f32 multiply-adds"), (kernels.DOT_LIMIT, "int8 dot products")):
        rates = [1 / ns for result in results for ns in result.times_ns.get(str(limit), ())]
        if rates:
            parts.append(f"{what} {spread(Spread.of(rates))} Gop/s")
    return f"limits of one core: {', '.join(parts)}" if parts else ""


def disturbance_line(results: Sequence[Result]) -> str:
    """What other processes did to the run; empty where they were quiet."""
    cores = [cores for result in results for cores in result.others_cores]
    busy, repeated = sum(one > QUIET_CORES for one in cores), sum(result.repeated for result in results)
    if not busy and not repeated:
        return ""
    text = f"other processes were busy: {repeated} rounds were done again"
    return text + (f", {busy} of the {len(cores)} that count are disturbed; quieten the machine" if busy else "")


def cache_table(results: Sequence[Result]) -> str:
    """What a cache gains over reading all again, op by op and compiled; empty where no text was written."""
    rows = []
    for result in results:
        if isinstance(result.case.work, Text):
            pairs = [[str(each) for each in pair] for pair in (transformer.WRITERS[:2], transformer.WRITERS[2:])]
            cells = [spread(result.ratio(*pair)) if set(pair) <= result.times_ns.keys() else "-" for pair in pairs]
            rows.append((str(result.case.work.tokens), *cells))
    headers = ("tokens", "eager: no cache / cache", "compiled: no cache / cache")
    return tabulate(rows, headers, colalign=("right",) * 3, disable_numparse=True) if rows else ""


def accuracy_table(results: Sequence[Result]) -> str:
    """How races went: a line for each contestant; below, what the columns count, and why a contestant is missing."""
    rows, notes = [], []
    for race in races(results):
        ours = race.quickest([str(each) for each in race.case.contestants if is_ours(each)])
        for i, (name, laps) in enumerate(race.laps.items()):
            ratio = race.ratio(name, ours) if ours and name != ours else None
            waiting = laps[-1].waited_ns / sum(race.times_ns[name])
            tests = duration(sum(lap.tested_ns for lap in laps))
            rows.append((
                str(race.case) if i == 0 else "", name, duration(race.median_ns(name)), spread(ratio),
                *arrival(race, name), f"{laps[-1].accuracy:.2%}", f"{waiting:.2%}", tests,
            ))  # fmt: skip
        if (goal := race.training.goal) is not None:
            notes.append(f"goal: {goal:.0%} of {race.training.tested:,} test images")
        notes += [f"{race.case}, {name}: {why}" for name, why in race.failed.items()]
    headers = ("training", "by", "epoch", "epoch / ours", "goal in", "after", "and start", "end", "waiting", "tests")
    align = ("left", "left", *["right"] * (len(headers) - 2))
    legend = (
        "epoch: median; goal in: the first epoch whose test reaches it; after: training until then; and start: with\n"
        "building, capturing and a first step; end: accuracy after the last epoch; waiting: for batches, of all\n"
        "training; tests: after all epochs, in no other column"
    )
    return "\n".join([tabulate(rows, headers, colalign=align, disable_numparse=True), legend, *notes])


def arrival(race: Race, name: str) -> tuple[str, str, str]:
    """The epoch in which the goal is reached, the time until then without and with the start."""
    reached = race.reached(name)
    if reached is None:
        return "-" if race.training.goal is None else "never", "-", "-"
    epoch, ns = reached
    return f"epoch {epoch}", duration(ns), duration(ns + race.start_ns(name))


def target_table(targets: Sequence[Target]) -> str:
    """All targets, reached or not."""
    rows = [
        (target.name, target.threads, f"{target.required:g}", spread(target.measured),
         "yes" if target.reached else "NO", target.case)
        for target in targets
    ]  # fmt: skip
    headers = ("target", "threads", "required", "measured", "reached", "(worst) case")
    align = ("left", "right", "right", "right", "left", "left")
    return tabulate(rows, headers, colalign=align, disable_numparse=True)


def document(results: Sequence[Result], targets: Sequence[Target], machine: dict[str, Any]) -> dict[str, Any]:
    """Everything, for programs; times in ns, round by round."""
    return {
        "machine": machine,
        "targets": [
            {
                "name": target.name,
                "threads": target.threads,
                "required": target.required,
                "measured": None if target.measured is None else target.measured._asdict(),
                "reached": target.reached,
                "case": target.case,
            }
            for target in targets
        ],
        "results": [
            {
                "group": result.case.group,
                "work": str(result.case),
                "threads": result.threads,
                "flops": getattr(result.case.work, "flops", None),
                "times_ns": result.times_ns,
                "failed": result.failed,
                "peak_bytes": result.peak_bytes,
                "others_cores": [round(cores, 3) for cores in result.others_cores],
                "repeated": result.repeated,
                **(result.told() if isinstance(result, Race) else {}),
            }
            for result in results
        ],
    }


def last_line(targets: Sequence[Target], seconds: float) -> str:
    """One compact JSON object: how many targets, which were missed."""
    content = {
        "targets": len(targets),
        "reached": sum(target.reached for target in targets),
        "missed": [
            {"name": target.name, "threads": target.threads, "required": target.required,
             "measured": target.measured and round(target.measured.median, 4)}
            for target in targets if not target.reached
        ],
        "seconds": round(seconds, 1),
    }  # fmt: skip
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
