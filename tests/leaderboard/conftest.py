"""The honest submission as fixtures: changed, sealed, forged, or with a chosen interval (`honest.py`)."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from leaderboard import Measured, Submission, finalise
from leaderboard.verdict import content_sha256
from tests.leaderboard import honest as made


@pytest.fixture
def alter() -> Callable[..., Measured]:
    """`alter({"quality.opt_correct": 350})`: the honest run with these values changed."""

    def build(changes: Mapping[str, Any] | None = None) -> Measured:
        content = made.honest()
        made.change(content, changes or {})
        return Measured.model_validate(content)

    return build


@pytest.fixture
def entry() -> Callable[..., Submission]:
    """`entry("Ada", 4.0, 0.05, **{"quality.n": ...})`: a submission with a chosen interval."""
    return made.entry


@pytest.fixture
def generating() -> dict[str, Any]:
    """Changes that make the honest run one whose answers are written token by token."""
    return made.generating()


@pytest.fixture
def honest(alter: Callable[..., Measured]) -> Submission:
    """The honest submission, VALID without any warning."""
    return finalise(alter())


@pytest.fixture
def forge(honest: Submission, tmp_path: Path) -> Callable[..., Path]:
    """Write the honest submission with changes; `resealed` gives it a fitting hash, as a careful forger would."""

    def build(changes: Mapping[str, Any], resealed: bool = True) -> Path:
        content = honest.model_dump(mode="json")
        made.change(content, changes)
        if resealed:
            content["integrity"]["content_sha256"] = content_sha256(content)
            content["submission_id"] = content["integrity"]["content_sha256"][:12]
        path = tmp_path / "forged.json"
        path.write_text(json.dumps(content))
        return path

    return build
