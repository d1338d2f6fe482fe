"""Travelling files: a submission never appears without them, and none is trusted that its hash does not prove."""

import errno
import hashlib
import os

import pytest

from leaderboard import StoreError, atomic, file_problems, files_of, finalise, load_all, travelling, write

FILES = {"candidate.safetensors": b"weights" * 99, "entry/my_entry.py": b"import os\n", "entry/data/a.json": b"{"}


def declared(files):
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def tree(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def reasons(submission, directory):
    problems = file_problems(submission, directory)
    assert {problem.code for problem in problems} <= {"FILE_HASH"}
    return [problem.reason.partition(".files")[2] for problem in problems]


@pytest.fixture
def replayable(alter):
    """The honest submission with travelling files."""
    return finalise(alter({"schema_version": "1.2.0", "files": declared(FILES)}))


def test_files_lie_beside_their_submission(replayable, tmp_path):
    path = write(replayable, tmp_path, FILES)
    folder = files_of(replayable, tmp_path)
    assert folder == path.with_suffix(".files")
    assert tree(folder) == FILES
    assert file_problems(replayable, tmp_path) == ()
    assert load_all(tmp_path) == ((replayable,), ())  # entry/data/a.json is no submission
    before = tree(tmp_path)
    assert write(replayable, tmp_path, FILES) == write(replayable, tmp_path) == path
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "candidate.safetensors is declared in the submission's `files` but was not handed over"),
        (FILES | {"more": b""}, "more was handed over but is not declared"),
        (FILES | {"candidate.safetensors": b""}, "candidate.safetensors has the hash e3b0c44298fc..., the submission"),
        (None, "the folder of its 3 files is missing: copy it, too; hand the files over with the submission"),
    ],
)
def test_only_the_declared_files_are_kept(replayable, tmp_path, files, reason):
    with pytest.raises(StoreError) as refused:
        write(replayable, tmp_path, files)
    assert reason in str(refused.value)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"big": b"12345"}, "big has 5 bytes, at most 4 may travel in one file"),
        ({"entry/a": b"12", "entry/b": b"34"}, "the entry's source has 4 bytes, at most 3 may travel"),
        ({"a": b"", "a/b": b""}, "a is a file and cannot be a folder, too"),
    ],
)
def test_what_may_not_travel(alter, tmp_path, monkeypatch, files, reason):
    monkeypatch.setattr(travelling, "LARGEST_FILE", 4)
    monkeypatch.setattr(travelling, "LARGEST_SOURCE", 3)
    with pytest.raises(StoreError, match=reason):
        write(finalise(alter({"files": declared(files)})), tmp_path, files)
    assert tree(tmp_path) == {}


def damage_missing(folder):
    (folder / "entry" / "my_entry.py").unlink()


def damage_all(folder):
    folder.rename(folder.with_name("elsewhere"))


def damage_content(folder):
    (folder / "candidate.safetensors").write_bytes(b"other")


def damage_extra(folder):
    (folder / "entry" / "sitecustomize.py").write_bytes(b"")


def damage_name(folder):
    (folder / "a\nb\u202e").write_bytes(b"")


def damage_link(folder):
    (folder / "entry" / "my_entry.py").unlink()
    (folder / "entry" / "my_entry.py").symlink_to("/etc/hostname")


def damage_folder(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def damage_pipe(folder):
    (folder / "candidate.safetensors").unlink()
    os.mkfifo(folder / "candidate.safetensors")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_missing, "/entry/my_entry.py is missing"),
        (damage_all, ": the folder of its 3 files is missing: copy it, too"),
        (damage_content, "/candidate.safetensors has the hash d9298a10d1b0..., declared is"),
        (damage_extra, "/entry/sitecustomize.py does not belong to the submission"),
        (damage_name, "/a\nb\u202e does not belong to the submission"),
        (damage_link, "/entry/my_entry.py is no regular file"),
        (damage_folder, ": the folder of its 3 files is missing: copy it, too"),
        (damage_pipe, "/candidate.safetensors is no regular file"),
    ],
)
def test_damaged_files_are_found_and_never_overwritten(replayable, tmp_path, damage, reason):
    write(replayable, tmp_path, FILES)
    damage(files_of(replayable, tmp_path))
    (found,) = reasons(replayable, tmp_path)
    assert found.startswith(reason)
    if damage is not damage_all:  # a folder that is not there is simply written
        with pytest.raises(StoreError, match=r"(?s)exists with other content .* it is damaged; move it away"):
            write(replayable, tmp_path, FILES)
        assert reasons(replayable, tmp_path) == [found]


def test_a_submission_without_files_may_have_none(honest, tmp_path):
    write(honest, tmp_path)
    files_of(honest, tmp_path).mkdir()
    (files_of(honest, tmp_path) / "stowaway").touch()
    assert reasons(honest, tmp_path) == ["/stowaway does not belong to the submission"]


@pytest.mark.parametrize("failing", ["fsync", "rename", "replace"])
def test_a_full_disk_leaves_no_submission_without_files(replayable, tmp_path, monkeypatch, failing):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(StoreError, match=r"No space left on device\. Make room"):
            write(replayable, tmp_path, FILES)
    assert load_all(tmp_path) == ((), ())
    assert tree(tmp_path) == {}
    write(replayable, tmp_path, FILES)
    assert load_all(tmp_path).submissions == (replayable,) and file_problems(replayable, tmp_path) == ()


def test_files_of_a_killed_writer_are_removed_and_those_somebody_parked_are_not(
    replayable, honest, tmp_path, monkeypatch
):
    path = write(replayable, tmp_path, FILES)
    path.unlink()  # moved away by hand, say
    monkeypatch.setattr(atomic, "STALE_SECONDS", -1)
    write(honest, tmp_path)
    assert tree(files_of(replayable, tmp_path)) == FILES
    (files_of(replayable, tmp_path) / travelling.UNFINISHED).touch()  # killed before the submission was there
    write(honest, tmp_path)
    assert not files_of(replayable, tmp_path).exists()


def test_a_writer_killed_at_the_very_end_is_finished_by_the_next(replayable, honest, tmp_path):
    write(replayable, tmp_path, FILES)
    (files_of(replayable, tmp_path) / travelling.UNFINISHED).touch()
    assert file_problems(replayable, tmp_path) == ()
    write(honest, tmp_path)
    assert tree(files_of(replayable, tmp_path)) == FILES


def test_deep_and_countless_strangers_are_listed_briefly(replayable, tmp_path):
    write(replayable, tmp_path, FILES)
    deep = files_of(replayable, tmp_path)
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    for number in range(50):
        (files_of(replayable, tmp_path) / f"{number}").touch()
    found = reasons(replayable, tmp_path)
    assert len(found) == travelling.TOLD + 1 and found[-1] == ": 31 more of this kind"


def test_records_of_replays_are_no_submissions_but_a_submitter_may_have_that_name(entry, tmp_path):
    (tmp_path / "verifications").mkdir()
    (tmp_path / "verifications" / "abc.teacher.json").write_bytes(b"{}")
    one = entry("Verifications", 4.0, 0.01)
    write(one, tmp_path)
    assert load_all(tmp_path) == ((one,), ())
