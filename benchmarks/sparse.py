"""Layers with blocks of zeros: the dense kernel, which computes with the zeros, against the one that skips them.

In float32 and in int8, from layers of the small nets to those of the CIFAR-10 net, with more and more of the blocks
gone. The summary says from which share of zeros on skipping is quicker: the break-even that `kernels/sparse.py` keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tabulate import tabulate

from benchmarks.contest import Case, Contestant, Result
from benchmarks.libraries import OURS
from benchmarks.work import Affine, Blocked, Conv

GROUP = "sparse"
KEPT = (100, 75, 50, 25, 10)  # percent
LAYERS: tuple[Affine | Conv, ...] = (
    Affine(512, 512, 1), Affine(512, 512, 64),
    Conv(64, 128, 16, 1), Affine(8192, 128, 1), Affine(8192, 128, 64),  # of cnn-cifar10
    Affine(64, 64, 1), Conv(16, 32, 4, 1), Affine(128, 10, 1),  # of mlp and cnn
)  # fmt: skip

DENSE, BLOCKS = (Contestant(OURS, name) for name in ("dense", "blocks"))
INT8_DENSE, INT8_BLOCKS = (Contestant(OURS, f"int8 {name}", "int8") for name in ("dense", "blocks"))
PAIRS = ((DENSE, BLOCKS), (INT8_DENSE, INT8_BLOCKS))


def cases(threads: int, quick: bool) -> list[Case]:
    """What is compared: one thread tells."""
    layers, shares = (LAYERS[1::5], KEPT[::3]) if quick else (LAYERS, KEPT)
    contestants = tuple(each for pair in PAIRS for each in pair)
    return [Case(GROUP, Blocked(layer, kept), contestants) for layer in layers for kept in shares if threads == 1]


def curves(results: Sequence[Result]) -> Iterator[tuple[str, str, float, dict[int, float]]]:
    """Layer, arithmetic, the dense kernel's ns, and by share kept the time of skipping over that of computing all."""
    layers = dict.fromkeys(r.case.work.layer for r in results if isinstance(r.case.work, Blocked))
    for layer in layers:
        mine = {r.case.work.kept: r for r in results if isinstance(r.case.work, Blocked) and r.case.work.layer == layer}
        for arithmetic, (dense, blocks) in zip(("float32", "int8"), PAIRS):
            ratios = {kept: r.ratio(str(blocks), str(dense)).median for kept, r in mine.items()
                      if {str(dense), str(blocks)} <= r.times_ns.keys()}  # fmt: skip
            if ratios:
                yield str(layer), arithmetic, mine[max(ratios)].median_ns(str(dense)), ratios


def break_even(ratios: dict[int, float]) -> float | None:
    """The share of zeros, in percent, from which on skipping is quicker, on straight lines between what was measured.

    None where it is slower even with the fewest blocks.
    """
    shares = sorted(ratios)  # fewest kept first
    if ratios[shares[0]] > 1:
        return None
    for fewer, more in pairwise(shares):
        if ratios[more] > 1:
            return 100 - (fewer + (more - fewer) * (1 - ratios[fewer]) / (ratios[more] - ratios[fewer]))
    return 100.0 - shares[-1]


def summary(results: Sequence[Result]) -> str:
    """A line for each layer and arithmetic; below, why a contestant has no time."""
    shares = sorted({r.case.work.kept for r in results if isinstance(r.case.work, Blocked)}, reverse=True)
    rows = []
    for layer, arithmetic, ns, ratios in curves(results):
        share = break_even(ratios)
        told = "none" if share is None else f"{share:.0f} %"
        cells = [f"{ratios[kept]:.2f}" if kept in ratios else "-" for kept in shares]
        rows.append((layer, arithmetic, f"{ns / 1000:.3g} us", *cells, told))
    headers = ("layer", "arithmetic", "dense", *(f"{kept} %" for kept in shares), "break-even")
    align = ("left", "left", *["right"] * (len(shares) + 2))
    failures = [f"{result.case}, {name}: {why}" for result in results for name, why in result.failed.items()]
    legend = "time with so many of the blocks kept / dense time; break-even: zeros from which on skipping is quicker"
    return "\n".join([tabulate(rows, headers, colalign=align, disable_numparse=True), legend, *failures])
