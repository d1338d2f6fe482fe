"""The store under Ctrl-C. Many writers at once, kills and full disks are the self-test's: `test_selftest.py`."""

import signal
import subprocess
import sys

from leaderboard.store import path_of

WRITER = """
import os, sys, time
from leaderboard import Measured, finalise, write
os.fsync = lambda handle: (os.write(1, b"syncing\\n"), time.sleep(60))
write(finalise(Measured.model_validate_json(open(sys.argv[1], "rb").read())), sys.argv[2])
"""


def test_ctrl_c_leaves_no_partial_file(honest, alter, tmp_path):
    (tmp_path / "measured.txt").write_text(alter().model_dump_json())
    board = tmp_path / "board"
    (board / path_of(honest)).parent.mkdir(parents=True)
    words = [sys.executable, "-c", WRITER, str(tmp_path / "measured.txt"), str(board)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "syncing\n"
        assert len(list(board.rglob("*.tmp"))) == 1
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
    assert [path for path in board.rglob("*") if path.is_file()] == []
