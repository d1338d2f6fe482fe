"""What the pioneers had, beside what runs here: facts of each time with where they are written.

A source is named so that it can be looked up; its words are not repeated. Figures of today come from the run that
prints them. Left out: what to make of the difference, which is the reader's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tabulate import tabulate

from profiler import units

DAY_S, HOUR_S = 86_400, 3_600


class Fact(NamedTuple):
    """A figure of the time, its unit ("" for a number of things, "/s", "s" or "bytes"), and where it is written.

    `ours` names the figure of this run that stands beside it, "" where nothing here corresponds.
    """

    what: str
    then: float
    unit: str
    ours: str
    source: str


MARK_I = "Hay, Lynch and Smith 1960, Mark I Perceptron Operators' Manual: 512 association and 8 response units"
IBM_704 = "IBM Archives, 704 Data Processing System: the computer that simulated the perceptron first; additions"
PDP = "Rumelhart, Hinton and Williams 1986, Parallel Distributed Processing 1, chapter 8: XOR with one hidden unit, 0.5"
NATURE = "Rumelhart, Hinton and Williams 1986, Nature 323: a 6-2-1 net that detects mirror symmetry in 64 inputs"
LINPACK = "Dongarra, Performance of Various Computers: a VAX-11/780 with FPA, LINPACK 100x100 in double precision"
LENET = "LeCun, Bottou, Bengio and Haffner 1998, Proceedings of the IEEE 86, section II.B: LeNet-5"
LENET_TRAINED = "the same, section III: 10 to 20 passes, two to three days of a 200 MHz R10000"
TRANSFORMER = "Vaswani et al. 2017, table 3: the base model, an encoder and a decoder of 6 layers each"
TRANSFORMER_TRAINED = "the same, section 5.2 and table 2: 100,000 steps in 12 hours on 8 P100"
LLAMA = "Llama Team 2024, The Llama 3 Herd of Models, section 1: 405B"
LLAMA_GPUS = "the same, section 3.3.1: up to 16 thousand H100"
LLAMA_BYTES = "the same, section 6.1: 16 bits each, spread over 16 GPUs to answer"

ERAS: dict[int, tuple[Fact, ...]] = {
    1957: (
        Fact("inputs", 400, "", "inputs", MARK_I),
        Fact("hidden units, wired and not trained", 512, "", "", MARK_I),
        Fact("weights that learn, turned by motors", 512 * 8, "", "parameters", MARK_I),
        Fact("floating-point operations", 12_000, "/s", "flops_per_s", IBM_704),
    ),
    1969: (
        Fact("weights and biases", 7, "", "parameters", PDP),
        Fact("passes over the examples", 558, "", "passes", PDP),
        Fact("examples shown", 558 * 4, "", "shown", PDP),
    ),
    1986: (
        Fact("inputs", 6, "", "inputs", NATURE),
        Fact("weights and biases", 17, "", "parameters", NATURE),
        Fact("passes over the examples", 1425, "", "passes", NATURE),
        Fact("examples shown", 1425 * 64, "", "shown", NATURE),
        Fact("floating-point operations", 140_000, "/s", "flops_per_s", LINPACK),
    ),
    1998: (
        Fact("pixels", 32 * 32, "", "inputs", LENET),
        Fact("weights that learn", 60_000, "", "parameters", LENET),
        Fact("connections: multiply-adds of a query", 340_908, "", "multiply_adds", LENET),
        Fact("training images", 60_000, "", "examples", LENET_TRAINED),
        Fact("passes over the examples", 20, "", "passes", LENET_TRAINED),
        Fact("time to train", 2.5 * DAY_S, "s", "training_s", LENET_TRAINED),
    ),
    2017: (
        Fact("parameters", 65e6, "", "parameters", TRANSFORMER),
        Fact("width", 512, "", "width", TRANSFORMER),
        Fact("layers", 6 + 6, "", "layers", TRANSFORMER),
        Fact("steps", 100_000, "", "steps", TRANSFORMER_TRAINED),
        Fact("time to train", 12 * HOUR_S, "s", "training_s", TRANSFORMER_TRAINED),
        Fact("FLOPs to train", 3.3e18, "", "training_flops", TRANSFORMER_TRAINED),
    ),
    2024: (
        Fact("parameters", 405e9, "", "parameters", LLAMA),
        Fact("FLOPs of a token, 2 a parameter; a query", 2 * 405e9, "", "query_flops", LLAMA),
        Fact("processors, to train and to answer", 16_000, "", "threads", LLAMA_GPUS),
        Fact("weights", 405e9 * 2, "bytes", "bytes", LLAMA_BYTES),
    ),
}


def amount(value: float, unit: str) -> str:
    """A figure with its unit, as people read it."""
    if unit == "s":
        return units.duration(1e9 * value) if value < HOUR_S else f"{units.figures(value / HOUR_S)} h"
    if unit == "bytes":
        return units.memory(value)
    return f"{value:.2g}{unit}".replace("e+", "e") if value >= 1e15 else f"{units.count(value)}{unit}"


def factor(ratio: float) -> str:
    """How many times more, or as a fraction; two figures."""
    if not ratio:
        return "0"
    times = max(ratio, 1 / ratio)
    shown = f"{times:.2g}" if times < 100 else amount(float(f"{times:.2g}"), "")
    return shown if ratio >= 1 else f"1 / {shown}"


def table(facts: Sequence[Fact], ours: Mapping[str, float]) -> str:
    """Then and here beside each other, below them the sources; ValueError for a figure that nobody measured."""
    missing = [fact.ours for fact in facts if fact.ours and fact.ours not in ours]
    if missing:
        raise ValueError(f"eras.table: {', '.join(missing)} was not measured; measured: {', '.join(ours)}")
    sources = list(dict.fromkeys(fact.source for fact in facts))
    rows = []
    for fact in facts:
        now = ours.get(fact.ours)
        here = ("", "") if now is None else (amount(now, fact.unit), factor(now / fact.then))
        rows.append((fact.what, amount(fact.then, fact.unit), *here, f"[{sources.index(fact.source) + 1}]"))
    align = ("left", "right", "right", "right", "left")
    lines = tabulate(rows, ("", "then", "here", "here / then", ""), colalign=align, disable_numparse=True)
    return "\n".join([lines, *(f"[{i}] {source}" for i, source in enumerate(sources, 1))])
