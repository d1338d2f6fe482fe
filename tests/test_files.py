"""Writing files: there whole, or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tinytorch import Linear, Sequential, weights
from tinytorch.files import alone, require_writable, write_atomically, write_together


def test_a_file_is_written_whole_and_readable(tmp_path):
    assert write_atomically(tmp_path / "a", b"content") == 7
    assert (tmp_path / "a").read_bytes() == b"content"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    write_atomically(tmp_path / "a", b"")
    assert (tmp_path / "a").read_bytes() == b"" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("failing", ["fsync", "replace", "chmod"])
def test_whatever_fails_nothing_half_written_stays(tmp_path, monkeypatch, failing):
    write_atomically(tmp_path / "a", b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match=r"cannot write .*a: No space left on device; free some space or choose another"):
        write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    target, code = tmp_path / "a[1]", (
        "import sys, time; from tinytorch.files import atomic_file\n"
        "with atomic_file(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); print('ready', flush=True); sys.stdin.read()\n"
    )  # fmt: skip
    start = [sys.executable, "-c", code, str(target)]
    with subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        (half,) = tmp_path.iterdir()
        os.utime(half, (0, 0))
        write_atomically(target, b"meanwhile")
        assert half.read_bytes() == b"half"
        write_atomically(tmp_path / "a", b"of another name")
        process.kill()
    write_atomically(tmp_path / "a", b"of another name")
    assert half.exists()
    write_atomically(target, b"whole")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"of another name", "a[1]": b"whole"}


def test_ctrl_c_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_directory_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "missing" / "a", tmp_path / "file" / "a"):
        with pytest.raises(OSError, match=r"cannot write .*a: .*; choose a directory that exists and is writable"):
            write_atomically(bad, b"x")
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_nothing_of_a_weights_file(tmp_path):
    """A limit on the size of files stands in for a full disk: the kernel refuses the write half way."""
    model = Sequential(Linear(64, 64))
    weights.save(model, tmp_path / "w.safetensors")
    old = (tmp_path / "w.safetensors").read_bytes()
    model[0].weight.data += 1
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*w.safetensors: .*; free some space or choose another"):
            weights.save(model, tmp_path / "w.safetensors")
        with pytest.raises(OSError, match="cannot write"):
            weights.save(model, tmp_path / "new.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["w.safetensors"] and (tmp_path / "w.safetensors").read_bytes() == old


def test_a_reader_never_sees_half_a_file(tmp_path):
    """Another process rewrites the file again and again; each time it is read, it is one of the two whole ones."""
    path, size = tmp_path / "a", 1 << 20
    write_atomically(path, bytes(size))
    code = (
        "import sys; from tinytorch.files import require_writable, write_atomically\n"
        f"for i in range(60): write_atomically({str(path)!r}, bytes([i % 2]) * {size})\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 20
        while writer.poll() is None and time.monotonic() < end:
            content = np.frombuffer(path.read_bytes(), np.uint8)
            assert len(content) == size and (content == content[0]).all()
        assert writer.wait(timeout=20) == 0
    finally:
        writer.kill()
    assert os.listdir(tmp_path) == ["a"]


def test_looking_for_a_writable_place_leaves_nothing(tmp_path):
    require_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_no_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to .*folder: .*file is no writable directory; choose another"):
        require_writable(tmp_path / "file" / "folder")


def test_files_together_are_all_there_and_older_ones_are_replaced(tmp_path):
    folder = tmp_path / "new" / "deep"
    assert write_together(folder, {"a": b"1", "b": b"2"}) == [folder / "a", folder / "b"]
    assert write_together(folder, {"b": b"3", "c": b"4"}) == [folder / "b", folder / "c"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1", "b": b"3", "c": b"4"}
    assert os.listdir(tmp_path) == ["new"] and folder.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    old = os.umask(0)
    os.umask(old)
    return old


@pytest.mark.parametrize("failing", ["fsync", "rename"])
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_of_files_together_none_is_written_when_one_cannot_be(tmp_path, monkeypatch, failing, after, error):
    (tmp_path / "a").write_bytes(b"old")
    calls, real = iter(range(100)), getattr(os, failing)

    def fail(*args):
        if next(calls) == after:
            raise error
        return real(*args)

    monkeypatch.setattr(os, failing, fail)
    contents = dict.fromkeys("abcde", b"new")
    with pytest.raises(type(error)) as raised:
        write_together(tmp_path, contents)
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"
    if isinstance(error, OSError):
        assert str(raised.value) == (
            f"cannot write to {tmp_path}: No space left on device; free some space or choose another directory"
        )
    if failing == "fsync" or not after:
        calls = iter(range(100))
        with pytest.raises(type(error)):
            write_together(tmp_path / "new" / "deep", contents)
        assert os.listdir(tmp_path) == ["a"]


def test_files_cannot_lie_in_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(OSError, match=r"cannot write to .*file.*: Not a directory; free some space or choose"):
            write_together(bad, {"a": b""})
    assert os.listdir(tmp_path) == ["file"]


def test_one_at_a_time_is_alone_in_a_directory_and_its_end_lets_the_next_in(tmp_path):
    pytest.importorskip("fcntl")
    code = (
        "import sys, time; from tinytorch.files import alone\n"
        "with alone(sys.argv[1]): print('in', flush=True); time.sleep(60)\n"
    )
    first, second, elsewhere = (
        subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
        for folder in (tmp_path, tmp_path, tmp_path.parent)
    )
    crowd = {first, second}
    try:
        assert elsewhere.stdout.readline() == "in\n"  # another directory is no matter
        inside, _, _ = select.select([each.stdout for each in crowd], [], [], 20)
        winner = next(each for each in crowd if each.stdout in inside)
        (other,) = crowd - {winner}
        assert len(inside) == 1 and not select.select([other.stdout], [], [], 0.5)[0]
        winner.kill()  # -9: no lock stays behind
        assert other.stdout.readline() == "in\n" and not os.listdir(tmp_path)
    finally:
        for each in (*crowd, elsewhere):
            each.kill()
            each.communicate()
    with pytest.raises(OSError), alone(tmp_path / "missing"):
        pass
