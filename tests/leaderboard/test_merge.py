"""Merging: the same tree in whatever order and however often; what does not prove itself stays where it is."""

import argparse
import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaderboard import StoreError, files_of, finalise, load_all, merge, signing, verification, write
from leaderboard.measured import Env
from leaderboard.store import path_of
from leaderboard.verdict import canonical
from leaderboard.verification import Check, Replay

FILES = {"weights.safetensors": b"weights", "entry/main.py": b"pass\n", "entry/a.json": b"{}"}


def tree(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def record(submission, verifier, key):
    """A signed record of a replay that passed."""
    content = {
        "submission_id": submission.submission_id,
        "content_sha256": submission.integrity.content_sha256,
        "verifier": verifier,
        "created_utc": "2025-03-01T12:00:00Z",
        "machine": Env(),
        "secret_seed_sha256": "e" * 64,
        "sandboxed": True,
        "checks": [Check(code="LABELS_MISMATCH", passed=True, measured=0, required="0")],
        "result": "PASS",
    }
    return verification.sign(Replay.model_validate(content), key)


@pytest.fixture
def with_files(alter):
    declared = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    return finalise(alter({"files": declared, "notes": "replayable"}))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys of two verifiers."""
    folder, made = tmp_path_factory.mktemp("keys"), {}
    for verifier in ("grace", "barbara"):
        signing.generate(folder / f"{verifier}.pem")
        made[verifier] = signing.private_key(folder / f"{verifier}.pem")
    return made


@pytest.fixture
def pieces(entry, with_files, keys):
    """Things a directory may hold: functions that put one into it."""
    some = [entry(name, 4.0, 0.01) for name in ("Ada", "Bob", "Cyd")]
    puts = [functools.partial(write, one) for one in some]
    puts.append(lambda directory: write(with_files, directory, FILES))
    for one, verifier in ((some[0], "grace"), (some[0], "barbara"), (with_files, "grace")):
        puts.append(functools.partial(verification.write, record(one, verifier, keys[verifier])))
    return puts


def merged(*sources, into):
    result = merge.merge(sources, into)
    assert result.problems == ()
    return tree(into)


@pytest.fixture
def lawful(pieces):
    """Directories in a folder, each with the pieces of these numbers."""

    def make(root, *chosen):
        for place, numbers in enumerate(chosen):
            (root / str(place)).mkdir()
            for number in sorted(numbers):
                pieces[number](root / str(place))
        return [root / str(place) for place in range(len(chosen))]

    return make


@pytest.fixture
def quick_disk(monkeypatch):
    """Nobody waits for the disk, which would take most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_merging_is_idempotent_commutative_and_associative(lawful, quick_disk, data):
    some = st.sets(st.integers(0, 6), max_size=5)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        a, b, c = lawful(root, *(data.draw(some) for _ in range(3)))
        before = [tree(one) for one in (a, b, c)]
        whole = merged(a, b, c, into=root / "abc")
        assert merged(a, b, c, into=root / "abc") == whole  # again
        assert merged(c, a, b, a, into=root / "cab") == whole  # in another order, and one twice
        merged(a, b, into=root / "ab")
        merged(b, c, into=root / "bc")
        assert merged(root / "ab", c, into=root / "(ab)c") == whole
        assert merged(a, root / "bc", into=root / "a(bc)") == whole
        assert [tree(one) for one in (a, b, c)] == before  # sources are only read
        mine = ("ledger.jsonl", ".pub")  # of one leaderboard each
        everything = {path: content for one in before for path, content in one.items() if not path.endswith(mine)}
        assert whole == everything


def test_submissions_files_and_records_arrive(with_files, keys, tmp_path):
    write(with_files, tmp_path / "ada", FILES)
    verification.write(record(with_files, "grace", keys["grace"]), tmp_path / "ada")
    result = merge.merge([tmp_path / "ada"], tmp_path / "course")
    assert result == (1, 1, 0, ())
    assert load_all(tmp_path / "course") == ((with_files,), ())
    assert tree(files_of(with_files, tmp_path / "course")) == FILES
    assert merge.merge([tmp_path / "ada"], tmp_path / "course") == (0, 0, 2, ())


def test_a_copied_record_is_believed_only_with_a_key_that_is_known_here(honest, keys, tmp_path):
    write(honest, tmp_path / "ada")
    verification.write(record(honest, "grace", keys["grace"]), tmp_path / "ada")
    course = tmp_path / "course"
    merge.merge([tmp_path / "ada"], course)
    assert verification.load_all(course).records == {}
    shutil.copy(tmp_path / "ada" / "verifications" / "grace.pub", course / "verifications")
    assert honest.submission_id in verification.load_all(course).records


def test_a_mailed_pair_goes_to_its_place(with_files, tmp_path):
    """A student sends the file and the folder beside it, without the folders above."""
    path = write(with_files, tmp_path / "home", FILES)
    (tmp_path / "mail").mkdir()
    shutil.copy(path, tmp_path / "mail" / "my entry.json")
    shutil.copytree(path.with_suffix(".files"), tmp_path / "mail" / path.with_suffix(".files").name)
    assert merged(tmp_path / "mail", into=tmp_path / "course") == tree(tmp_path / "home")


def test_a_submission_that_leaves_defaults_unsaid_keeps_its_hash(honest, tmp_path):
    from leaderboard.verdict import content_sha256

    content = honest.model_dump(mode="json")
    del content["notes"], content["raw"]["calibration_kernel_ns"]
    content["integrity"]["content_sha256"] = content_sha256(content)
    content["submission_id"] = content["integrity"]["content_sha256"][:12]
    (tmp_path / "terse").mkdir()
    (tmp_path / "terse" / "x.json").write_text(json.dumps(content, indent=2))
    assert load_all(tmp_path / "terse").problems == ()
    merge.merge([tmp_path / "terse"], tmp_path / "course")
    ((path, data),) = tree(tmp_path / "course").items()
    assert load_all(tmp_path / "course").problems == () and data == canonical(content) + b"\n"
    assert path.endswith(f"{content['submission_id']}.json")


def test_what_does_not_prove_itself_is_listed_and_stays(honest, with_files, keys, forge, tmp_path):
    source = tmp_path / "eve"
    write(honest, source)
    write(with_files, source, FILES)
    (files_of(with_files, source) / "entry" / "main.py").write_bytes(b"import os")
    verification.write(record(honest, "grace", keys["grace"]), source)
    name = f"verifications/{honest.submission_id}.grace.json"
    (source / name).write_text((source / name).read_text().replace("PASS", "FAIL"))
    (source / "verifications" / "notes.json").write_bytes(b"{}")
    forge({"derived.ratio": 9.0}).rename(source / "forged.json")
    (source / "torn.json").write_bytes(b'{"a')
    (source / "pipe.json").symlink_to("/dev/zero")
    result = merge.merge([source], tmp_path / "course")
    listed = {(Path(problem.path).relative_to(source).as_posix(), problem.code) for problem in result.problems}
    assert listed == {
        ("forged.json", "DERIVED_MISMATCH"),
        ("torn.json", "NOT_JSON"),
        ("pipe.json", "UNREADABLE"),
        (path_of(with_files).as_posix(), "FILE_HASH"),
        (name, "VERIFICATION"),
        ("verifications/notes.json", "VERIFICATION"),
    }
    assert list(tree(tmp_path / "course")) == [path_of(honest).as_posix()]


def test_where_two_things_have_one_name_both_sides_stay_whole(honest, with_files, keys, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    write(with_files, there, FILES)
    write(honest, there).write_bytes(json.dumps(honest.model_dump(mode="json"), indent=1).encode())
    write(honest, here).write_bytes(b"{")
    write(with_files, here, FILES)
    (files_of(with_files, here) / "weights.safetensors").write_bytes(b"other")
    for place, verifier_s in ((here, "a" * 64), (there, "b" * 64)):
        one = record(honest, "grace", keys["grace"]).model_copy(update={"secret_seed_sha256": verifier_s})
        verification.write(verification.sign(Replay.model_validate(one.model_dump(exclude={"public_key", "signature"})),
                                             keys["grace"]), place)  # fmt: skip
    before = tree(here), tree(there)
    problems = merge.merge([there], here).problems
    assert [problem.code for problem in problems] == ["CONFLICT"] * 3
    assert sum("exists with other content" in problem.reason for problem in problems) == 2
    assert sum("is another record by grace: keep the one that counts" in problem.reason for problem in problems) == 1
    assert (tree(here), tree(there)) == before


def test_a_stranger_cannot_take_a_known_verifiers_name(honest, keys, tmp_path):
    write(honest, tmp_path / "eve")
    verification.write(record(honest, "grace", keys["barbara"]), tmp_path / "eve")
    (tmp_path / "course" / "verifications").mkdir(parents=True)
    pem = signing.public_pem(signing.text_of(keys["grace"].public_key()))
    (tmp_path / "course" / "verifications" / "grace.pub").write_bytes(pem)
    ((path, code, reason),) = merge.merge([tmp_path / "eve"], tmp_path / "course").problems
    assert code == "VERIFICATION" and "grace.pub, which is grace's here" in reason and path.endswith(".grace.json")


def test_a_merge_that_was_interrupted_completes_when_run_again(pieces, tmp_path, monkeypatch):
    for put in pieces:
        put(tmp_path / "there")
    whole = merged(tmp_path / "there", into=tmp_path / "whole")
    syncs = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (syncs.append(1), real(handle)))
    merge.merge([tmp_path / "there"], tmp_path / "counted")
    for dies_at in range(1, len(syncs), 3):
        left = iter(range(dies_at))

        def full(handle, left=left):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        into = tmp_path / f"course {dies_at}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StoreError, match="No space left on device"):
                merge.merge([tmp_path / "there"], into)
        assert load_all(into).problems == ()
        assert not list(into.rglob("*.tmp"))
        assert merged(tmp_path / "there", into=into) == whole


# --- the command -----------------------------------------------------------------------------------------------------


def command(*words):
    parser = argparse.ArgumentParser()
    merge.add_parser(parser.add_subparsers())
    return merge.run(parser.parse_args(["merge", *map(str, words)]))


def test_the_command_says_what_was_copied(honest, tmp_path, capsys):
    write(honest, tmp_path / "ada")
    assert command(tmp_path / "ada", "--into", tmp_path / "course") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("1 submissions and 0 records of replays copied into ")
    assert json.loads(shown[-1]) == {"submissions": 1, "records": 0, "known": 0, "problems": []}
    (tmp_path / "ada" / "evil\x1b[31m.json").write_bytes(b"{")
    assert command(tmp_path / "ada", "--into", tmp_path / "course") == 1
    shown = capsys.readouterr().out
    assert "Not copied (1):" in shown and "evil\\x1b[31m.json" in shown and "\x1b" not in shown
    assert json.loads(shown.splitlines()[-1])["problems"][0]["code"] == "NOT_JSON"


def test_directories_that_cannot_be_merged(tmp_path):
    with pytest.raises(StoreError, match=r"no directory .*none: name directories that `mlperf submit` wrote to"):
        command(tmp_path / "none")
    with pytest.raises(StoreError, match="is the directory that is merged into; name others, or another --into"):
        command(tmp_path, "--into", tmp_path)
