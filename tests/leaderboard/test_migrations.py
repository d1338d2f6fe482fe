"""Files of every version of the schema: read forever, judged by the rules of their day, never more than they knew."""

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from leaderboard import Submission, load_all, write
from leaderboard.migrations import ADDED, STEPS, newest
from leaderboard.schema import READABLE, SCHEMA_VERSION
from leaderboard.verdict import content_sha256

FIXTURES = Path(__file__).parent / "fixtures"
OLD = ("1.0.0", "1.1.0")


def content_of(version):
    return json.loads((FIXTURES / f"v{version}.json").read_text())


def load(content, folder):
    """Seal changed content anew and read it."""
    content["integrity"]["content_sha256"] = content_sha256(content)
    content["submission_id"] = content["integrity"]["content_sha256"][:12]
    (folder / "file.json").write_text(json.dumps(content))
    return load_all(folder)


@pytest.mark.parametrize("version", OLD)
def test_a_file_of_an_older_version_loads_and_stays_what_it_was(version, tmp_path):
    """Made by the very code of that version; copying it through the store changes no byte."""
    loaded = load_all(FIXTURES)
    (one,) = (one for one in loaded.submissions if one.schema_version == version)
    assert (one.validity.status, one.derived.score) == ("VALID", one.derived.ratio_lo)
    assert write(one, tmp_path).read_bytes() == (FIXTURES / f"v{version}.json").read_bytes()


def test_every_older_version_has_a_step_to_the_next():
    assert list(STEPS) == list(READABLE[:-1]) and READABLE[-1] == SCHEMA_VERSION
    assert [target for target, _ in STEPS.values()] == list(READABLE[1:]) == list(ADDED)
    assert all(step.__name__ == f"to_{target.replace('.', '_')}" for target, step in STEPS.values())


def added_fields(model, place=""):
    """Paths of all fields that some version added, found in the models themselves."""
    for name, field in model.model_fields.items():
        if field.exclude_if is not None:
            yield f"{place}{name}"
        kinds, stack = [], [field.annotation]
        while stack:
            kind = stack.pop()
            kinds.append(kind)
            stack += get_args(kind)
        star = ".*" if tuple in (getattr(kind, "__origin__", None) for kind in kinds) else ""
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from added_fields(kind, f"{place}{name}{star}.")


def test_the_steps_name_all_that_was_added():
    assert sorted(added_fields(Submission)) == sorted(path for paths in ADDED.values() for path in paths)


@pytest.mark.parametrize("version", OLD)
def test_what_a_version_added_is_unknown_in_older_files(version):
    content = content_of(version)
    before = json.dumps(content)
    migrated = newest(content)
    assert json.dumps(content) == before and migrated["schema_version"] == version
    assert migrated["files"] is None and migrated["raw"]["workers"][4]["kept"] is None
    assert (migrated["generation"] is None) == (version == "1.0.0")


@pytest.mark.parametrize(("version", "place", "value", "says"), [
    ("1.0.0", "generation", {}, "schema 1.0.0 does not know generation, which came with 1.1.0"),
    ("1.0.0", "files", {"a": "0" * 64}, "schema 1.0.0 does not know files, which came with 1.2.0"),
    ("1.1.0", "entry", {"main": "a.py"}, "schema 1.1.0 does not know entry, which came with 1.2.0"),
    ("1.1.0", "raw.workers.kept", 3, "schema 1.1.0 does not know raw.workers.*.kept, which came with 1.2.0"),
])  # fmt: skip
def test_a_file_says_no_more_than_its_version_knows(tmp_path, version, place, value, says):
    content = content_of(version)
    if place.startswith("raw"):
        content["raw"]["workers"][2]["kept"] = value
    else:
        content[place] = value
    loaded = load(content, tmp_path)
    assert not loaded.submissions
    assert [(problem.code, problem.reason) for problem in loaded.problems] == [("SCHEMA", says)]


def test_an_old_file_cannot_claim_to_be_new(tmp_path):
    """Renaming the version brings the rules of today with it."""
    content = content_of("1.1.0")
    content["schema_version"] = SCHEMA_VERSION
    (problem, *_) = load(content, tmp_path).problems
    assert (problem.code, problem.reason) == ("VALIDITY_MISMATCH", "status is VALID, but the data make it INVALID")


@pytest.mark.parametrize("damage", [[], 3, None, {"workers": 3}, {"workers": [None, 3]}])
def test_a_damaged_old_file_is_refused_by_the_models(tmp_path, damage):
    content = content_of("1.0.0")
    content["raw"] = damage
    (problem,) = load(content, tmp_path).problems
    assert problem.code == "SCHEMA" and problem.reason.startswith("raw")
