"""Listing thousands: the verdicts of `load_all`, whatever state the cache is in, which proves nothing."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from leaderboard import crew, listing, load_all, proven, write
from leaderboard.listing import list_all
from leaderboard.standing import Standing


@pytest.fixture
def board(entry, tmp_path, monkeypatch):
    """Six submissions, one of them invalid, and some junk, with a cache of its own that serves any number of files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "LEAST", 1)
    directory = tmp_path / "board"
    for number, name in enumerate(("Ada", "Bob", "Cyd", "Dan", "Eve", "Fay")):
        write(entry(name, 4.0 + number / 10, 0.01, **{"task.n_test": 361} if name == "Eve" else {}), directory)
    (directory / "torn.json").write_bytes(b'{"a')
    (directory / "link.json").symlink_to("torn.json")
    return directory


@pytest.fixture
def proofs(monkeypatch):
    """How often a file's bytes were proved."""
    counted = []
    real = proven.prove
    monkeypatch.setattr(proven, "prove", lambda data: counted.append(data) or real(data))
    return counted


def same_as_load_all(directory):
    loaded, listed = load_all(directory), list_all(directory)
    assert listed.rows == tuple(map(Standing.of, loaded.submissions))
    assert listed.problems == loaded.problems
    return True


def kept(cache):
    return [path for path in cache.rglob("*") if path.is_file()]


def test_what_was_proven_is_not_proven_again(board, proofs):
    assert same_as_load_all(board)
    assert len(proofs) == 7  # the link is not followed
    assert same_as_load_all(board)
    assert len(proofs) == 7


def test_one_more_file_costs_one_proof(board, proofs, entry):
    list_all(board)
    write(entry("Gus", 5.0, 0.01), board)
    assert same_as_load_all(board) and len(proofs) == 8
    (board / "ada").rename(board / "elsewhere")
    assert same_as_load_all(board) and len(proofs) == 8  # a name means nothing


def test_other_bytes_under_the_same_name_and_time_are_proven(board, proofs):
    list_all(board)
    path = next(board.glob("bob/*/*/*.json"))
    status = path.stat()
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"ratio":4', b'"ratio":9'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert "HASH_MISMATCH" in [problem.code for problem in list_all(board).problems]
    assert same_as_load_all(board)
    path.write_bytes(data)
    assert same_as_load_all(board)


def harm_nothing(cache):
    cache.unlink()


def harm_cut(cache):
    cache.write_bytes(cache.read_bytes()[:-20])


def harm_flip(cache):
    data = bytearray(cache.read_bytes())
    data[-40] ^= 1
    cache.write_bytes(data)


def harm_forge(cache):
    """Better figures in place of the true ones; the checksum is not renewed."""
    cache.write_bytes(cache.read_bytes().replace(b'"VALID"', b'"INVALID"'))


def harm_version(cache):
    code, rest = cache.read_bytes().split(b"\n", 1)
    cache.write_bytes(code[::-1] + b"\n" + rest)


def harm_junk(cache):
    cache.write_bytes(b"\xff\x00\n\n[]" * 99)


def harm_shape(cache):
    body = b'{"a":[["too few"],[]]}'
    cache.write_bytes(f"{proven.code_version()}\n{proven.hashlib.sha256(body).hexdigest()}\n".encode() + body)


def harm_others(cache):
    """Writable by others, so that they may have written it."""
    cache.chmod(0o666)


def harm_link(cache):
    cache.rename(cache.with_name("aside"))
    cache.symlink_to("aside")


def harm_folder(cache):
    cache.unlink()
    cache.mkdir()


@pytest.mark.parametrize("harm", [value for name, value in globals().items() if name.startswith("harm_")])
def test_a_cache_that_is_not_right_is_none(board, proofs, tmp_path, harm):
    list_all(board)
    (cache,) = kept(tmp_path / "cache")
    harm(cache)
    assert same_as_load_all(board)
    assert len(proofs) == 14
    if harm is not harm_folder:  # which is not removed, so every listing proves
        assert same_as_load_all(board)
        assert len(proofs) == 14


def test_other_code_proves_anew(board, proofs, monkeypatch):
    list_all(board)
    monkeypatch.setattr(proven, "code_version", lambda: "f" * 64)
    assert same_as_load_all(board)
    assert len(proofs) == 14


def test_the_version_covers_every_source_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "leaderboard"
    shutil.copytree(proven.Path(proven.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(proven, "__file__", str(package / "proven.py"))
    seen = {proven.code_version.__wrapped__()}
    for name in ("schema.py", "gates/quality.py", "derive.py"):
        (package / name).write_text((package / name).read_text() + "\n# another\n")
        seen.add(proven.code_version.__wrapped__())
    assert len(seen) == 4


def test_a_cache_that_cannot_be_written_is_done_without(board, tmp_path, proofs):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert same_as_load_all(board) and same_as_load_all(board)
    assert len(proofs) == 14


def test_a_small_board_leaves_no_trace(board, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "LEAST", 100)
    assert same_as_load_all(board)
    assert not (tmp_path / "cache").exists()


def test_two_listers_at_once_do_not_disturb_each_other(board, tmp_path):
    code = (
        "import sys\nfrom leaderboard import listing\nlisting.LEAST = 1\n"
        "for _ in range(30):\n    found = listing.list_all(sys.argv[1])\n"
        "    assert (len(found.rows), len(found.problems)) == (6, 2), found\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(board)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(kept(tmp_path / "cache")) == 1
    assert same_as_load_all(board)


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def many(monkeypatch):
    """Several processes for any number of files."""
    monkeypatch.setattr(crew, "LEAST", 1)
    monkeypatch.setattr(crew, "cpus", lambda: 2)


def test_several_processes_come_to_the_same(board, many, proofs):
    (board / "a\nb\udcff.json").write_bytes(b"[]")  # a name that is not UTF-8
    assert same_as_load_all(board)
    assert proofs == []  # others did it


@pytest.mark.parametrize(
    "death", ["raise SystemExit(3)", "print('junk')", "print('[99, 1, [null, []]]')", "import os; os.abort()"]
)
def test_a_process_that_dies_is_missed_by_nobody(board, many, monkeypatch, tmp_path, death):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f"#!{sys.executable}\n{death}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert same_as_load_all(board)


def test_the_process_speaks_json(board):
    path = next(board.glob("ada/*/*/*.json"))
    done = subprocess.run(
        [sys.executable, "-m", "leaderboard.crew"],
        input=json.dumps([str(path), "nowhere"]),
        capture_output=True,
        text=True,
    )
    (first, digest, (row, faults)), (second, none, (nothing, missing)) = map(json.loads, done.stdout.splitlines())
    assert (first, second, faults, none, nothing) == (0, 1, [], "", None)
    assert row[0] == path.stem and len(digest) == 64
    assert missing == [["UNREADABLE", "No such file or directory"]]
