"""The models: strict, immutable, round-tripping, and harmless whatever a submitter is called."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from leaderboard import Measured, Submission, Submitter, finalise, utc_now
from leaderboard.fields import slug
from leaderboard.store import path_of


def test_a_submission_survives_json(honest):
    assert Submission.model_validate_json(honest.model_dump_json(), strict=True) == honest


def test_every_part_of_the_rule_book_is_there(honest):
    keys = set(honest.model_dump())
    assert keys == {
        *("schema_version", "benchmark_version", "submission_id", "created_utc", "submitter", "notes", "division"),
        *("thread_policy", "threads", "model", "task", "reference", "candidate", "pipeline", "harness", "seeds", "env"),
        *("raw", "quality", "audits", "derived", "validity", "integrity"),
    }


def test_parts_cannot_be_changed(honest):
    with pytest.raises(ValidationError, match="frozen"):
        honest.threads = 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise\n.*Extra inputs"),
        ({"env.surprise": 1}, "env.surprise\n.*Extra inputs"),
        ({"quality.value": float("nan")}, "quality.value\n.*finite number"),
        ({"env.load_1m": float("inf")}, "env.load_1m\n.*finite number"),
        ({"schema_version": "2.0.0"}, "schema_version\n.*'1.0.0', '1.1.0' or '1.2.0'"),
        ({"division": "expert"}, "'closed', 'open' or 'practice'"),
        ({"created_utc": "2025-13-01T00:00:00Z"}, "does not match format"),
        ({"created_utc": "yesterday"}, "created_utc\n.*pattern"),
        ({"model": "../cnn"}, "model\n.*pattern"),
        ({"submitter.id": "a/b"}, "submitter.id\n.*pattern"),
        ({"submitter.display_name": "x" * 201}, "at most 200 characters"),
        ({"raw.workers": []}, "at least one worker"),
        ({"raw.workers.0.order": []}, "15 reference blocks, 15 candidate blocks and 0 entries of order"),
        ({"raw.workers.0.cpu_ns": [1, 2]}, "cpu_ns has 2 entries for 30 blocks"),
        ({"raw.workers.0.ref_block_ns.0": 0}, "greater than or equal to 1"),
        ({"raw.workers.0.ref_block_ns.0": 2**63}, "less than or equal to 9223372036854775807"),
        ({"quality.opt_correct": 361}, "opt_correct is 361, but only n = 360 were asked"),
        ({"quality.value": 0.99}, r"the value of opt is 0.99, but 354 of 360 is 0.9833"),
        ({"quality.opt_only": 2}, "opt_correct - ref_correct is -2, but opt_only - ref_only is -1"),
        ({"quality.ref_correct": None}, "give both or neither"),
    ],
)
def test_what_does_not_fit_is_refused(alter, changes, message):
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        alter(changes)


def test_an_infinity_hidden_in_a_config_is_refused_when_sealing(alter):
    measured = alter()
    stage = measured.pipeline[1].model_copy(update={"config": {"scale": float("inf")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        finalise(measured.model_copy(update={"pipeline": (stage,)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generation.prompts": 2}, "tokens has 3 entries for 2 prompts: one per prompt"),
        ({"generation.ttft_ns": [1, 2]}, "ttft_ns has 2 entries for 3 prompts"),
        ({"generation.per_token_ns.1": [1, 2]}, "prompt 1 got 4 tokens, but times of 2 after the first"),
        ({"generation.greedy_agreement": 1.1}, "less than or equal to 1"),
        ({"generation.energy": 3}, "Extra inputs"),
    ],
)
def test_a_generation_is_whole(alter, generating, changes, message):
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        alter(generating | changes)


def test_what_came_later_is_written_only_where_it_says_something(honest, alter, generating):
    assert not {"generation", "ttft_ms_p50", "tokens_per_s"} & {*honest.model_dump(), *honest.derived.model_dump()}
    submission = finalise(alter(generating))
    assert Submission.model_validate_json(submission.model_dump_json(), strict=True) == submission
    assert set(submission.model_dump()) - set(honest.model_dump()) == {"generation"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ada", "ada"),
        ("Ada Lovelace", "ada-lovelace"),
        ("Zoë", "zoe"),
        ("..", "someone-"),
        ("李", "someone-"),
        ("李 X", "x-"),
    ],
)
def test_slugs(name, expected):
    assert slug(name).startswith(expected)
    assert (slug(name) == expected) == (not expected.endswith("-"))


def test_names_that_differ_only_in_lost_letters_keep_apart():
    assert slug("李") != slug("王")


@given(st.text(st.characters(), max_size=200))
def test_any_name_gives_a_path_inside_the_directory(name):
    submitter = Submitter.named(name)
    path = path_of(Submission.model_construct(submitter=submitter, model="cnn", division="closed", thread_policy="t1",
                                              submission_id="0" * 12))  # fmt: skip
    assert path.parts[1:] == ("cnn", "closed-t1", "000000000000.json")
    assert path.parts[0] == submitter.id
    assert set(submitter.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and submitter.id[0] != "-"


def test_an_undecodable_name_becomes_a_question_mark():
    assert Submitter.named("A\udcff").display_name == "A?"


def test_utc_now_is_a_valid_stamp(alter):
    assert alter({"created_utc": utc_now()}).created_utc.endswith("Z")


def test_the_json_schema_can_be_exported():
    schema = json.loads(json.dumps(Submission.model_json_schema()))
    assert set(schema["required"]) >= set(Submission.model_fields) - set(Measured.model_fields)
