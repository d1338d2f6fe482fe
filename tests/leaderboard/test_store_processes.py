"""The store under real processes: many writers at once, Ctrl-C, kill -9 at any moment, a real limit on file size."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import leaderboard
from leaderboard import load_all

ROOT = Path(leaderboard.__file__).parents[1]

# argv: file with a Measured, directory, writer's name, number of submissions. Acknowledges every id that write() kept.
WRITER = """
import os, sys
from leaderboard import Measured, finalise, write
measured = Measured.model_validate_json(open(sys.argv[1], "rb").read())
for number in range(int(sys.argv[4])):
    submission = finalise(measured.model_copy(update={"notes": f"{sys.argv[3]} {number}"}))
    write(submission, sys.argv[2])
    os.write(1, (submission.submission_id + "\\n").encode())
"""

SLOW_DISK = "import os, time\nos.fsync = lambda handle: (os.write(1, b'syncing\\n'), time.sleep(60))\n"
SMALL_FILES = (
    "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
)


@pytest.fixture
def writer(alter, tmp_path):
    """Start `WRITER` on its own process, with some lines before it."""
    measured = tmp_path / "measured.txt"
    measured.write_text(alter().model_dump_json())
    started = []

    def start(name="one", number=1, before=""):
        arguments = [sys.executable, "-c", before + WRITER, str(measured), str(tmp_path / "board"), name, str(number)]
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def kept(directory):
    submissions, problems = load_all(directory)
    assert problems == ()
    return {submission.submission_id for submission in submissions}


@pytest.mark.parametrize("writers", [2, 8])
def test_writers_at_once_lose_nothing(writer, tmp_path, writers):
    running = [writer(name=f"writer {number}", number=20) for number in range(writers)]
    acknowledged = {line for process in running for line in process.communicate(timeout=60)[0].split()}
    assert [process.returncode for process in running] == [0] * writers
    assert len(acknowledged) == 20 * writers
    assert kept(tmp_path / "board") == acknowledged
    assert not list((tmp_path / "board").rglob("*.tmp"))


def test_kill_9_leaves_no_half_file_and_loses_nothing_acknowledged(writer, tmp_path):
    moments, acknowledged = random.Random(7), set()
    for life in range(10):
        process = writer(name=f"life {life}", number=100_000)
        acknowledged.add(process.stdout.readline().strip())
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        # A last line may have been cut by the kill; whole ones are acknowledgements.
        acknowledged |= {line for line in process.communicate()[0].split() if len(line) == 12}
    assert len(acknowledged) >= 10
    assert kept(tmp_path / "board") >= acknowledged


def test_ctrl_c_leaves_no_partial_file(writer, tmp_path):
    (tmp_path / "board" / "ada" / "cnn" / "closed-t1").mkdir(parents=True)
    process = writer(before=SLOW_DISK)
    assert process.stdout.readline() == "syncing\n"
    assert len(list((tmp_path / "board").rglob("*.tmp"))) == 1
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=10)[1]
    assert [path for path in (tmp_path / "board").rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.name == "nt", reason="needs RLIMIT_FSIZE")
def test_a_file_that_cannot_grow_is_explained_and_removed(writer, tmp_path):
    process = writer(before=SMALL_FILES)
    errors = process.communicate(timeout=10)[1]
    assert process.returncode == 1
    assert "StoreError: leaderboard: cannot keep the submission under" in errors
    assert "File too large. Make room or choose another place with --leaderboard DIR" in errors
    assert [path for path in (tmp_path / "board").rglob("*") if path.is_file()] == []
