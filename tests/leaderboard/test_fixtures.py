"""A committed file for every code that a file can raise: it fails for that reason alone, and all reasons are told."""

import json

import jsonschema
import pytest

from leaderboard import json_schema, load_all
from leaderboard.proof import prove_file
from mlperf import tasks
from mlperf.pins import file_reasons
from tests.leaderboard import faults, fixtures

FILES = sorted(path.name for path in fixtures.FOLDER.glob("*.json"))
CODES = {*faults.INVALID, *faults.HANDED_IN, *faults.FORGED, "BENCHMARK_VERSION"}
NOT_BY_SCHEMA = {"SCHEMA.json", "SCHEMA_VERSION.json"}


def reasons_of(name):
    """Every code against a file: of reading it, of its own data, and of the pins of the task that is installed."""
    submission, wrong = prove_file(fixtures.FOLDER / name)
    if submission is None:
        return [code for code, _ in wrong]
    found = [reason.code for reason in submission.validity.reasons if reason.severity == "invalid"]
    return found + [reason.code for reason in file_reasons(submission, tasks.find("cnn")) if reason.code not in found]


def test_the_committed_files_are_what_the_script_makes():
    made = fixtures.all_files()
    there = {name: (fixtures.FOLDER / name).read_bytes() for name in FILES if not name.startswith("v")}
    assert sorted(made) == sorted(there)
    assert [name for name in made if made[name] != there[name]] == [], "run python -m tests.leaderboard.fixtures"


def test_the_honest_file_is_valid_without_remark():
    submission, _ = prove_file(fixtures.FOLDER / "honest.json")
    assert (submission.validity.status, submission.validity.reasons) == ("VALID", ())
    assert reasons_of("honest.json") == []


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_file_fails_for_its_reason_alone(code):
    assert reasons_of(f"{code}.json") == [code]


def test_a_file_of_many_faults_tells_them_all():
    assert reasons_of("MANY.json") == list(faults.MANY)


def test_a_listing_shows_each_file_or_says_why_not():
    loaded = load_all(fixtures.FOLDER)
    assert {problem.path for problem in loaded.problems} == {f"{code}.json" for code in faults.FORGED}
    assert len(loaded.submissions) == len(FILES) - len(faults.FORGED)
    for problem in loaded.problems:
        assert faults.FORGED[problem.code].says in problem.reason


def test_the_schema_that_others_read_is_that_of_the_models():
    path = fixtures.FOLDER.parents[2] / "leaderboard" / "submission.schema.json"
    run = "run python -m leaderboard.json_schema > leaderboard/submission.schema.json"
    assert path.read_text(encoding="utf-8") == json_schema.text(), run
    jsonschema.Draft202012Validator.check_schema(json_schema.document())


@pytest.mark.parametrize("name", FILES)
def test_files_fit_the_schema_unless_they_break_it(name):
    validator = jsonschema.Draft202012Validator(json_schema.document())
    errors = [error.message for error in validator.iter_errors(json.loads((fixtures.FOLDER / name).read_bytes()))]
    assert bool(errors) == (name in NOT_BY_SCHEMA), errors


@pytest.mark.parametrize(("place", "value"), [
    ("raw.workers.0.ref_block_ns.0", 0), ("raw.workers.0.ref_block_ns.0", 1.5), ("division", "expert"),
    ("env.surprise", 1), ("submitter.id", "../x"), ("quality", []), ("files", {"../x": "0" * 64}), ("threads", None),
])  # fmt: skip
def test_the_schema_refuses_what_the_models_refuse(place, value):
    content = json.loads((fixtures.FOLDER / "honest.json").read_bytes())
    fixtures.honest.change(content, {place: value})
    assert list(jsonschema.Draft202012Validator(json_schema.document()).iter_errors(content))
