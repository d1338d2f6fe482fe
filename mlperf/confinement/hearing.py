"""What a worker's process says, heard with caution: it may be foreign code's writing, of any size and shape.

How a process ends without a result is said here too, as errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import IO, Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from leaderboard import codes
from mlperf.confinement.limits import Limits

MOST_TOLD = 4000  # characters of why something is refused


class WorkerError(RuntimeError):
    """A worker ended without a result; the text holds its last words."""


class Refused(WorkerError):
    """A process found a breach of the rules; `code` is the reason's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class LimitExceeded(Refused):
    """A process was ended at a limit; `limit` is its name in `Limits`, the figures are in its own unit."""

    def __init__(self, limit: str, allowed: float, used: float) -> None:
        spent, most = (amount(limit, value) for value in (used, allowed))
        super().__init__("LIMIT_EXCEEDED", f"stopped at the limit {limit}: {spent} used, {most} allowed")
        self.limit, self.allowed, self.used = limit, allowed, used


def amount(limit: str, value: float) -> str:
    """A figure in the unit that its limit's name tells."""
    if limit.endswith("_bytes"):
        return f"{value / 1e6:,.1f} MB"
    return f"{value:,.1f} s" if limit == "seconds" else f"{value:,.0f}"


class Report(NamedTuple):
    """What a worker found: fields of the leaderboard's `Worker`, `Queries`, `Audits`, and what both arms told.

    `generation` holds lists, an entry a prompt: those of the leaderboard's `Generation`, and how many tokens were the
    `same` without a cache.
    """

    worker: dict[str, Any]
    queries: dict[str, list[int]]
    trace: list[int]
    ref_told: list[Any]
    opt_told: list[Any]
    pools: dict[str, Any]
    calibration_kernel_ns: int
    generation: dict[str, list[Any]] | None = None
    audits: dict[str, float] | None = None
    shuffled: dict[str, Any] | None = None


def lines(stream: IO[bytes], limits: Limits) -> Iterator[bytes]:
    """A worker's reports; LimitExceeded if they are too many or too long, before more is read."""
    used, most = 0, -1 if limits.output_bytes is None else limits.output_bytes
    for number in count(1):
        line = stream.readline(most - used + 1 if most >= 0 else -1)
        if not line:
            return
        used += len(line)
        if 0 <= most < used:
            raise LimitExceeded("output_bytes", most, used)
        if limits.reports is not None and number > limits.reports:
            raise LimitExceeded("reports", limits.reports, number)
        yield line


def read(line: bytes, name: str) -> dict[str, Any]:
    """One report; WorkerError if it is none."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        event = json.loads(line, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise WorkerError(f"{name} reported something that is no JSON: {line[:80]!r}: {error}") from None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise WorkerError(f"{name} reported something that is no event: {line[:80]!r}")
    return event


def refusal(event: dict[str, Any], name: str) -> WorkerError:
    """A breach of the rules as a worker reports it: Refused, if there is such a rule."""
    code, text = event.get("code"), event.get("text")
    if isinstance(code, str) and code in codes.catalogue() and isinstance(text, str):
        return Refused(code, text[:MOST_TOLD])
    return WorkerError(f"{name} reported a breach of a rule that there is not: {str(code)[:80]!r}")


@cache
def shape() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def checked(found: dict[str, Any], name: str) -> Report:
    """What a worker found, if it has a Report's fields with values of their types; WorkerError otherwise."""
    try:
        return shape().validate_python(found, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WorkerError(f"{name} reported something else than a measurement: {where}: {first['msg']}") from None
