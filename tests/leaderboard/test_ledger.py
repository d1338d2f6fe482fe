"""The ledger under edits, and under real processes: kill -9 at any moment, two writers, a full disk, a cut line."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import leaderboard
from leaderboard import StoreError
from leaderboard.ledger import GENESIS, Line, check, enter, parsed, unlisted

ROOT = Path(leaderboard.__file__).parents[1]

# argv: ledger, writer's name, number of records. Acknowledges every record that was entered.
WRITER = """
import os, sys
from pathlib import Path
from leaderboard.ledger import Line, enter
for number in range(int(sys.argv[3])):
    record = f"{sys.argv[2]} {number}".encode()
    enter(Path(sys.argv[1]), Line.about(f"{number % 5:012x}", sys.argv[2], "PASS", record), record)
    os.write(1, b"entered\\n")
"""


def fill(path, count=5):
    heads = []
    for number in range(count):
        record = f"record {number}".encode()
        heads.append(enter(path, Line.about(f"{number:012x}", "grace", "PASS", record), record))
    return heads


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "verifications" / "ledger.jsonl"
    fill(path)
    return path


def codes(path):
    return [(fault.line, fault.code) for fault in check(path)]


def test_lines_are_chained(ledger):
    chain = parsed(ledger.read_bytes())
    assert chain.fault is None and len(chain.links) == 5
    assert chain.links[0].previous == GENESIS
    assert check(ledger) == () and unlisted(ledger) == ()


def test_edited_deleted_and_moved_lines_are_named(ledger):
    whole = ledger.read_bytes()
    lines = whole.splitlines(keepends=True)

    def faulty(*changed):
        ledger.write_bytes(b"".join(changed))
        return check(ledger)[0]

    edited = lines[2].replace(b'"PASS"', b'"FAIL"')
    assert faulty(*lines[:2], edited, *lines[3:]).text.startswith("line 4 follows")
    assert faulty(*lines[:2], *lines[3:]).text == "line 3 says it is number 4: lines were deleted or moved"
    assert faulty(*lines[1:]).line == 1
    assert faulty(lines[0], lines[2], lines[1], *lines[3:]).line == 2
    assert faulty(*lines[:3], b"{}\n", *lines[3:]).text == "line 4 is no line of a ledger: it was edited"
    spaced = lines[4].replace(b":", b": ", 1)
    assert faulty(*lines[:4], spaced).text == "line 5 is not in the form in which it was written: it was edited"
    ledger.write_bytes(whole)
    assert check(ledger) == ()


def test_a_deleted_last_line_is_seen_by_its_record_and_by_a_head_that_was_noted(tmp_path):
    path = tmp_path / "ledger.jsonl"
    heads = fill(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert check(path) == () and unlisted(path) == (f"{4:012x}.grace.json",)
    assert check(path, heads[3]) == ()
    (fault,) = check(path, heads[4])
    assert f"no line has the hash {heads[4]}" in fault.text


def test_a_record_that_was_exchanged_or_deleted_is_named(ledger):
    (ledger.parent / f"{1:012x}.grace.json").write_text("another")
    (ledger.parent / f"{3:012x}.grace.json").unlink()
    first, second = check(ledger)
    assert first.text == f"line 2 tells of {1:012x}.grace.json, with another content: it was exchanged"
    assert second.text == f"line 4 tells of {3:012x}.grace.json, which is not there any more"


def test_no_chain_is_continued_behind_a_fault(ledger):
    ledger.write_bytes(ledger.read_bytes().replace(b"grace", b"ada", 1))
    before = ledger.read_bytes()
    with pytest.raises(StoreError, match=r"line 2 follows .*restore it from a copy before it is continued"):
        fill(ledger, 1)
    assert ledger.read_bytes() == before


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_a_line_that_was_cut_off_is_reported_and_then_removed(ledger, kept):
    *whole, last = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(whole) + last[:kept])
    assert codes(ledger) == [(5, "TORN")]
    fill(ledger, 1)
    assert check(ledger) == ()
    assert len(parsed(ledger.read_bytes()).links) == 5


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), data=st.data())
def test_any_changed_byte_is_noticed(tmp_path_factory, place, byte, data):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    content = THREE_LINES
    at = int(place * len(content))
    changed = content[:at] + bytes([byte]) + content[at + 1 :]
    path.write_bytes(changed)
    chain = parsed(changed)
    assert changed == content or chain.fault or chain.head != parsed(content).head


def _three_lines():
    content, head = b"", GENESIS
    from leaderboard.ledger import Link
    from leaderboard.verdict import canonical

    for number in range(1, 4):
        line = Line.about("a" * 12, "grace", "PASS", b"x")
        content += canonical(Link(**line.model_dump(), number=number, previous=head).model_dump(mode="json")) + b"\n"
        head = parsed(content).head
    return content


THREE_LINES = _three_lines()


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def writer(tmp_path):
    started = []

    def start(name, number, before=""):
        arguments = [sys.executable, "-c", before + WRITER, str(tmp_path / "ledger.jsonl"), name, str(number)]
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_writers_lose_nothing(tmp_path, writer):
    running = [writer(name, 30) for name in ("ada", "grace")]
    assert [process.communicate(timeout=60)[0].count("entered") for process in running] == [30, 30]
    assert len(parsed((tmp_path / "ledger.jsonl").read_bytes()).links) == 60
    assert check(tmp_path / "ledger.jsonl") == ()


def test_kill_9_at_any_moment_leaves_a_ledger_that_goes_on(tmp_path, writer):
    path, moments, acknowledged = tmp_path / "ledger.jsonl", random.Random(3), 0
    for _ in range(6):
        process = writer("ada", 100_000)
        acknowledged += process.stdout.readline() == "entered\n"
        time.sleep(moments.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        acknowledged += process.communicate()[0].count("entered\n")
        assert {fault.code for fault in check(path)} <= {"TORN"}
    record = b"the last"
    enter(path, Line.about("f" * 12, "grace", "PASS", record), record)
    assert check(path) == () and unlisted(path) == () and not list(tmp_path.glob(".*"))
    assert acknowledged < len(parsed(path.read_bytes()).links) <= acknowledged + 7


@pytest.mark.parametrize("room", [300, 420, 500])
def test_a_full_disk_leaves_the_ledger_and_the_record_as_they_were(tmp_path, writer, room):
    """The limit on file size stands for the disk: the record fits, its line does not, or only in part."""
    path, record = tmp_path / "ledger.jsonl", b"r" * 100
    enter(path, Line.about("0" * 12, "ada", "FAIL", record), record)
    before, limit = path.read_bytes(), room
    small = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    )
    process = writer("ada", 1, small)
    assert "StoreError" in process.communicate(timeout=60)[1]
    assert path.read_bytes() == before
    assert (tmp_path / f"{0:012x}.ada.json").read_bytes() == record
    assert check(path) == () and not list(tmp_path.glob(".*"))


def test_a_record_that_waits_for_its_place_gets_it_from_the_next(tmp_path, monkeypatch):
    """As if killed between the line and the renaming."""
    from leaderboard import ledger

    path, record = tmp_path / "ledger.jsonl", b"first"
    with monkeypatch.context() as patched:
        patched.setattr(ledger.os, "replace", _killed_unless_staging(ledger.os.replace))
        with pytest.raises(KeyboardInterrupt):
            enter(path, Line.about("a" * 12, "ada", "PASS", record), record)
    (fault,) = check(path)
    assert fault.code == "TORN" and "the next one finishes it" in fault.text
    fill(path, 1)
    assert check(path) == ()
    assert (tmp_path / f"{'a' * 12}.ada.json").read_bytes() == record


def _killed_unless_staging(replace):
    def rename(source, target):
        if str(target).endswith(".json"):
            raise KeyboardInterrupt
        replace(source, target)

    return rename
