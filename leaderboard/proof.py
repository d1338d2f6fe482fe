"""Reading one file and proving it: whatever does not follow from its own data is no submission, and every fault told.

Nothing in a file is trusted and nothing in it can crash its reader. Where files lie is not decided here.
"""

import json
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from leaderboard import migrations
from leaderboard.schema import READABLE, Submission
from leaderboard.travelling import open_regular
from leaderboard.verdict import canonical, discrepancies

LARGEST_FILE = 2**20  # bytes; an honest submission has about 12 thousand, and a larger file costs the reader time

Faults = list[tuple[str, str]]  # (code, reason)


def prove_file(path: Path) -> tuple[Submission | None, Faults]:
    """The submission in a file, or None and every (code, reason) against it."""
    try:
        data = read(path)
    except OSError as error:
        return None, [unreadable(error)]
    return prove(data)


def unreadable(error: OSError) -> tuple[str, str]:
    """The (code, reason) against a file that could not be read."""
    return "UNREADABLE", error.strerror or str(error)


def read(path: Path) -> bytes:
    """The bytes of a regular file of reasonable size. Raises OSError for anything else; never waits for a pipe."""
    with open_regular(path) as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise OSError(f"larger than {LARGEST_FILE} bytes")
    return data


def prove(data: bytes) -> tuple[Submission | None, Faults]:
    """The submission that these bytes are, or None and every (code, reason) against it."""
    try:
        content = json.loads(data.decode(), object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return None, [("NOT_JSON", f"broken or truncated: {error}")]
    if not isinstance(content, dict):
        return None, [("SCHEMA", "not a JSON object")]
    version = content.get("schema_version")
    if isinstance(version, str) and version not in READABLE:
        shown = version[:20].encode("ascii", "backslashreplace").decode()
        return None, [("SCHEMA_VERSION", f"schema {shown}; this leaderboard reads {', '.join(READABLE)}")]
    try:
        if version in migrations.STEPS:
            data = canonical(migrations.newest(content))
    except (ValueError, RecursionError) as error:
        return None, [("SCHEMA", str(error))]
    try:
        submission = Submission.model_validate_json(data, strict=True)
        found = list(discrepancies(submission, content))
    except ValidationError as error:
        return None, [("SCHEMA", first_error(error))]
    except (ValueError, OverflowError, RecursionError) as error:
        return None, [("SCHEMA", f"cannot be recomputed: {error}")]
    return (None, found) if found else (submission, [])


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def first_error(error: ValidationError) -> str:
    """Where and what, without repeating the offending value."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    place = ".".join(str(step) for step in errors[0]["loc"]) or "submission"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {errors[0]['msg']}{more}"
