"""What a profile says, as data: lines of ops, memory, the machine's ceilings; written as JSON and read again.

All figures are for one pass: one forward, or one whole training step, or one run of a script. Units are in the names.
Left out: how it is measured (`profiling.py`), how it is shown (`tables.py`, `plots.py`) and judged (`advice.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from profiler.roofline import Ceilings
from tinytorch.engine.dispatch import Phase
from tinytorch.files import write_atomically

SCHEMA_VERSION = 1
Shape = tuple[int, ...]


class ReportError(ValueError):
    """A file that is no report of this version."""


class Data(BaseModel):
    """Immutable, and nothing in it that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Line(Data):
    """All calls of an op with one signature. `layer` is "" outside all layers, `kind` its class; `kernels` are the
    compiled ones that ran, none where NumPy's reference did.

    `flops` are those of the mathematics, 2 for a multiply-add; `operations` those really executed, fewer with sparse
    weights and fast transforms; `bytes` every input and the output once. `ns` is the median over passes of the time of
    all calls, between the ends of its 95 % interval; of a single pass there is none, and the three are equal.
    """

    layer: str
    kind: str
    phase: Phase
    op: str
    kernels: tuple[str, ...] = ()
    shapes: tuple[Shape | None, ...]
    out_shape: Shape
    calls: int
    flops: int
    operations: int
    arithmetic: Literal["float32", "int8"] = "float32"
    bytes: int
    ns: float
    ns_low: float
    ns_high: float


class Moment(Data):
    """Memory after an op: bytes that live, and the most there were while it ran, both beyond what was there before."""

    at_ns: int
    layer: str
    phase: Phase
    op: str
    bytes: int
    peak_bytes: int


class Memory(Data):
    """Where memory goes. `activation_bytes` are held for backward when forward ends; arena and constants are a plan's.

    `peak_bytes` is the most that was allocated at one moment beyond what was there before; `resident_bytes` the whole
    process at the end.
    """

    parameter_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int = 0
    activation_bytes: int = 0
    arena_bytes: int = 0
    constant_bytes: int = 0
    peak_bytes: int = 0
    resident_bytes: int = 0
    timeline: tuple[Moment, ...] = ()

    @property
    def at_peak(self) -> Moment | None:
        """When there was the most."""
        return max(self.timeline, key=lambda moment: moment.peak_bytes, default=None)


class Total(Data):
    """Several lines together: those of a layer, or of an op."""

    name: str
    kind: str = ""
    calls: int
    flops: int
    operations: int
    bytes: int
    ns: float

    @classmethod
    def of(cls, name: str, lines: list[Line], kind: str = "") -> Total:
        keys = ("calls", "flops", "operations", "bytes", "ns")
        sums = {key: sum(getattr(line, key) for line in lines) for key in keys}
        return cls(name=name, kind=kind, **sums)


class Report(Data):
    """A whole profile. `wall_ns` is one pass with nobody watching, `observed_ns` one with the profiler on; the lines
    and `outside_ns`, the time outside all ops without what watching adds, make `wall_ns` but for medians not adding up.

    `doubts` say in words why figures should not be trusted.
    """

    schema_version: int = SCHEMA_VERSION
    subject: str
    form: Literal["eager", "plan", "script"]
    backend: str
    threads: int
    created_utc: str
    passes: int
    wall_ns: float
    wall_low_ns: float
    wall_high_ns: float
    observed_ns: float
    outside_ns: float
    lines: tuple[Line, ...]
    memory: Memory | None = None
    ceilings: Ceilings | None = None
    doubts: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        return sum(line.flops for line in self.lines)

    @property
    def ops_ns(self) -> float:
        """Time inside ops."""
        return sum(line.ns for line in self.lines)

    @property
    def bytes(self) -> int:
        return sum(line.bytes for line in self.lines)

    def grouped(self, key: Callable[[Line], Any]) -> dict[Any, list[Line]]:
        """Lines by a key, in the order of first appearance."""
        groups: dict[Any, list[Line]] = {}
        for line in self.lines:
            groups.setdefault(key(line), []).append(line)
        return groups

    def by_layer(self, phase: Phase | None = None) -> list[Total]:
        """A total for each layer that computed something, in the order they ran, in one phase or in all."""
        groups = self.grouped(lambda line: line.layer)
        parts = ((name, [line for line in lines if phase in (None, line.phase)]) for name, lines in groups.items())
        return [Total.of(name, lines, lines[0].kind) for name, lines in parts if lines]

    def by_op(self) -> list[Total]:
        """A total for each op, the longest first."""
        totals = [Total.of(op, lines) for op, lines in self.grouped(lambda line: line.op).items()]
        return sorted(totals, key=lambda total: -total.ns)

    def save(self, path: str | PathLike) -> None:
        """Write as JSON, whole or not at all. OSError says what failed."""
        write_atomically(path, self.model_dump_json(indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path: str | PathLike) -> Report:
        """Read what `save` wrote. ReportError for another version or damage, OSError where it cannot be read."""
        try:
            raw = json.loads(Path(path).read_bytes())
        except ValueError as error:
            raise ReportError(
                f"{path}: not JSON ({error}); make a report with: python -m profiler cnn -o {path}"
            ) from None
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise ReportError(
                f"{path}: its schema_version is {version!r}, this profiler reads {SCHEMA_VERSION}; profile again to "
                "compare"
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ReportError(
                f"{path}: {where}: {first['msg']}; the file is damaged or was edited: profile again"
            ) from None

    def suggestions(self) -> tuple[str, ...]:
        """What bounds the hottest layers, and which stage would help, in sentences."""
        from profiler.advice import suggestions

        return suggestions(self)

    def __str__(self) -> str:
        from profiler.tables import text

        return text(self)
