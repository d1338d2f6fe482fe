"""The store: what is written is whole or absent, what is read is proved, and no file hides or breaks another."""

import errno
import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaderboard import StoreError, atomic, default_directory, finalise, load_all, proof, store, write
from leaderboard.verdict import canonical


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


def codes(directory):
    return [problem.code for problem in load_all(directory).problems]


def test_what_is_written_is_read_again(honest, tmp_path):
    path = write(honest, tmp_path)
    assert path == tmp_path / "ada" / "cnn" / "closed-t1" / f"{honest.submission_id}.json"
    assert load_all(tmp_path) == ((honest,), ())
    assert path.read_bytes() == canonical(json.loads(path.read_bytes())) + b"\n"


def test_writing_twice_keeps_one_file(honest, tmp_path):
    assert write(honest, tmp_path) == write(honest, tmp_path)
    assert len(files(tmp_path)) == 1


def test_a_damaged_file_is_not_overwritten(honest, tmp_path):
    path = write(honest, tmp_path)
    path.write_bytes(b"{")
    with pytest.raises(StoreError, match="exists with other content: it is damaged; move it away"):
        write(honest, tmp_path)
    assert path.read_bytes() == b"{"


def test_a_directory_that_is_not_there_holds_nothing(tmp_path):
    assert load_all(tmp_path / "none") == ((), ())


def test_a_file_instead_of_the_directory_cannot_be_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot read .*file: Not a directory; name a directory of submissions"):
        load_all(tmp_path / "file")


def test_the_default_directory_is_the_checkouts(monkeypatch, tmp_path):
    package = tmp_path / "leaderboard"
    package.mkdir()
    monkeypatch.setattr(store, "__file__", str(package / "store.py"))
    assert default_directory().parts == ("leaderboard", "submissions")  # installed elsewhere: relative to where we are
    (tmp_path / "pyproject.toml").touch()
    assert default_directory() == package / "submissions"


# --- a writer in trouble ---------------------------------------------------------------------------------------------


def test_a_directory_that_cannot_be_made(honest, tmp_path):
    (tmp_path / "file").write_text("untouched")
    with pytest.raises(StoreError, match=r"cannot keep the submission under .*file: .* --leaderboard DIR"):
        write(honest, tmp_path / "file")
    assert files(tmp_path) == [tmp_path / "file"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(honest, tmp_path, monkeypatch, failing):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(StoreError, match=r"No space left on device\. Make room or choose another place"):
            write(honest, tmp_path)
    assert files(tmp_path) == []
    write(honest, tmp_path)
    assert load_all(tmp_path).submissions == (honest,)


def test_ctrl_c_while_writing_leaves_nothing(honest, tmp_path, monkeypatch):
    (tmp_path / store.path_of(honest)).parent.mkdir(parents=True)

    def interrupted(_):
        assert len(files(tmp_path)) == 1  # the temporary file is there and not yet named
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(honest, tmp_path)
    assert files(tmp_path) == []


def test_leftovers_of_a_killed_writer_are_invisible_and_swept_up_later(honest, tmp_path, monkeypatch):
    folder = write(honest, tmp_path).parent
    leftover, others = folder / ".left.tmp", folder / ".left.files-0.tmp"
    leftover.write_bytes(b"{")
    (others / "entry").mkdir(parents=True)
    (others / "entry" / "config.json").write_bytes(b"{")
    os.utime(leftover, (0, 0))  # copied with an old date, it still came just now
    write(honest, tmp_path)
    assert leftover.exists() and others.exists()
    assert load_all(tmp_path) == ((honest,), ())
    monkeypatch.setattr(atomic, "STALE_SECONDS", -1)
    write(honest, tmp_path)
    assert files(tmp_path) == [tmp_path / store.path_of(honest)] and not others.exists()


def test_a_submission_too_large_to_be_read_is_not_written(honest, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LARGEST_FILE", 1000)
    with pytest.raises(StoreError, match="at most 1000 are read again"):
        write(honest, tmp_path)
    assert files(tmp_path) == []


# --- a file in trouble -----------------------------------------------------------------------------------------------

FORGED = {
    "a derived figure": (
        {"derived.ratio_lo": 9.0},
        ["DERIVED_MISMATCH"],
        "derived.ratio_lo is 9.0, but the raw data give",
    ),
    "a score": ({"derived.score": None}, ["DERIVED_MISMATCH"], "derived.score is None"),
    "a stage's ratio": ({"derived.stage_ratios.1": 3.0}, ["DERIVED_MISMATCH"], "derived.stage_ratios"),
    "a worker too many": ({"derived.worker_medians": lambda x: [*x, 1.0]}, ["DERIVED_MISMATCH"], "worker_medians"),
    "a status": (
        {"validity.status": "INVALID"},
        ["VALIDITY_MISMATCH"],
        "status is INVALID, but the data make it VALID",
    ),
    "a dropped warning": ({"env.turbo": True}, ["VALIDITY_MISMATCH"], "reasons are none, but the data give TURBO"),
    "a hidden fault": (
        {"raw.workers.0.steady": False},
        ["VALIDITY_MISMATCH", "DERIVED_MISMATCH"],
        "status is VALID, but the data make it INVALID",
    ),
    "a false id": (
        {"submission_id": "0" * 12},
        ["HASH_MISMATCH"],
        "submission_id is 000000000000, but the content's is",
    ),
    "an unknown key": ({"bonus": 1}, ["SCHEMA"], "bonus: Extra inputs are not permitted"),
    "a text for a number": ({"threads": "1"}, ["SCHEMA"], "threads: Input should be a valid integer"),
    "another version": (
        {"schema_version": "2.0.0"},
        ["SCHEMA_VERSION"],
        "schema 2.0.0; this leaderboard reads 1.0.0, 1.1.0",
    ),
    "no version": ({"schema_version": None}, ["SCHEMA"], "schema_version"),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_careful_forgery_is_refused_for_its_own_reason(forge, tmp_path, case):
    changes, expected, reason = FORGED[case]
    path = forge(changes)
    if "submission_id" in changes:
        content = json.loads(path.read_bytes()) | changes
        path.write_text(json.dumps(content))
    submissions, problems = load_all(tmp_path)
    assert submissions == ()
    assert [problem.code for problem in problems] == expected
    assert reason in problems[0].reason
    assert {problem.path for problem in problems} == {"forged.json"}


def test_casual_editing_breaks_the_hash(forge, tmp_path):
    forge({"notes": "mine"}, resealed=False)
    assert codes(tmp_path) == ["HASH_MISMATCH"]
    forge({"derived.ratio": 9.0}, resealed=False)
    assert codes(tmp_path) == ["HASH_MISMATCH", "DERIVED_MISMATCH"]


def test_resealed_alone_is_still_valid(forge, tmp_path):
    """The forger's tool itself leaves an unchanged submission valid, so the cases above fail for their reason alone."""
    forge({})
    assert load_all(tmp_path).problems == ()


def test_a_reworded_hint_does_not_outlaw_old_files(alter, forge, tmp_path):
    old = finalise(alter({"env.turbo": True})).model_dump(mode="json")
    old["validity"]["reasons"][0]["hint"] = "as it was worded a year ago"
    forge({"env.turbo": True, "validity": old["validity"]})
    assert load_all(tmp_path).problems == ()


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"", "NOT_JSON", "broken or truncated: Expecting value"),
        (b"\x00\xff\xfe junk", "NOT_JSON", "can't decode byte"),
        (b'{"a": 1, "a": 2}', "NOT_JSON", "a key stands twice"),
        (b'{"a": NaN}', "NOT_JSON", "NaN is not JSON"),
        (b"[" * 100_000, "NOT_JSON", "recursion"),
        (b"9" * 10_000, "NOT_JSON", "integer string conversion"),
        (b"[]", "SCHEMA", "not a JSON object"),
        (b"{}", "SCHEMA", "schema_version: Field required (and "),
        (b'{"schema_version": 1}', "SCHEMA", "schema_version: Input should be '1.0.0', '1.1.0' or '1.2.0'"),
    ],
)
def test_junk_is_listed_and_hides_nothing(honest, tmp_path, data, code, reason):
    write(honest, tmp_path)
    (tmp_path / "junk.json").write_bytes(data)
    submissions, problems = load_all(tmp_path)
    assert submissions == (honest,)
    assert [(problem.path, problem.code) for problem in problems] == [("junk.json", code)]
    assert reason in problems[0].reason


def test_what_is_no_regular_file_is_listed_and_never_waited_for(honest, tmp_path):
    path = write(honest, tmp_path)
    (tmp_path / "link.json").symlink_to(path)
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "README.md").write_text("not a submission")
    with open(tmp_path / "huge.json", "wb") as file:
        file.truncate(proof.LARGEST_FILE + 1)
    submissions, problems = load_all(tmp_path)
    assert submissions == (honest,)
    reasons = {problem.path: problem.reason for problem in problems}
    assert {problem.code for problem in problems} == {"UNREADABLE"}
    assert sorted(reasons) == ["dangling.json", "huge.json", "link.json", "loop", "pipe.json"]
    assert "symbolic link" in reasons["link.json"]
    assert "not a regular file" in reasons["pipe.json"]
    assert "larger than 1048576 bytes" in reasons["huge.json"]


def test_a_copy_is_listed_as_such(honest, tmp_path):
    shutil.copy(write(honest, tmp_path), tmp_path / "zz.json")
    submissions, problems = load_all(tmp_path)
    assert submissions == (honest,)
    assert problems == (("zz.json", "DUPLICATE", f"submission {honest.submission_id} was read already"),)


@st.composite
def damage(draw):
    """A function that damages bytes: cut off, flip bits, overwrite, or replace everything."""
    kind = draw(st.sampled_from(["truncate", "flip", "splice", "replace"]))
    where, length = draw(st.floats(0, 1)), draw(st.integers(1, 40))
    junk, bit = draw(st.binary(max_size=40)), draw(st.integers(0, 7))

    def apply(data):
        place = int(where * (len(data) - 1))
        if kind == "truncate":
            return data[:place]
        if kind == "flip":
            return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        if kind == "splice":
            return data[:place] + junk + data[place + length :]
        return junk

    return apply


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(harm=damage())
def test_no_damage_crashes_or_goes_unnoticed(honest, tmp_path, harm):
    good = write(honest, tmp_path / "good")
    bad = tmp_path / "good" / "bad.json"
    original = good.read_bytes()
    damaged = harm(original)
    bad.write_bytes(damaged)
    submissions, problems = load_all(tmp_path / "good")
    assert submissions == (honest,)
    assert {problem.path for problem in problems} == {"bad.json"}
    assert problems[0].reason
    if problems[0].code == "DUPLICATE":  # only white space was harmed
        assert json.loads(damaged) == json.loads(original)


def test_the_order_on_disk_does_not_matter(entry, tmp_path):
    some = [entry(name, 4.0, 0.01) for name in ("Ada", "Bob", "Cyd", "Dan")]
    for name, order in (("there", some), ("back", some[::-1])):
        for one in order:
            write(one, tmp_path / name)
            (tmp_path / name / f"{one.submitter.id}.json").write_bytes(b"{")
    assert load_all(tmp_path / "there") == load_all(tmp_path / "back")
    assert len(load_all(tmp_path / "there").submissions) == 4
