"""What a rule is: a function from what was measured to a finding or nothing. Its name is its code.

Rules that came with a later version of the schema leave older files as they were judged then.
"""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

from leaderboard.schema import READABLE, Measured, SchemaVersion


class Finding(NamedTuple):
    """What a rule found amiss."""

    measured: int | float | str
    required: str
    hint: str


Rule = Callable[[Measured], Finding | None]


def code_of(rule: Callable[..., object]) -> str:
    """QUALITY_GATE of `quality_gate`."""
    return rule.__name__.upper()


def made_with(measured: Measured, version: SchemaVersion) -> bool:
    """Is the file of this version of the schema or a later one?"""
    return READABLE.index(measured.schema_version) >= READABLE.index(version)


def since(version: SchemaVersion) -> Callable[[Rule], Rule]:
    """Makes a rule one that files of older versions are not judged by."""

    def later(rule: Rule) -> Rule:
        @wraps(rule)
        def judged(measured: Measured) -> Finding | None:
            return rule(measured) if made_with(measured, version) else None

        return judged

    return later


def audit_missing(measured: Measured, what: str) -> Finding | None:
    """What is found where an audit was not made: nothing in a practice run, which may leave it out."""
    if measured.division == "practice":
        return None
    return Finding("not measured", what, "submit again: the harness of this version measures it in every ranked run")
