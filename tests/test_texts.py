"""A published file, wherever it is: placed, cached, downloaded, damaged, or not to be had; and windows of a text."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tinytorch.datasets import DataError, all_windows, fetch, load, read_through, text, tinyshakespeare, windows

FILE = "tinyshakespeare/input.txt"
PLAY = ("First Citizen:\nBefore we proceed any further, hear me speak – naïve?\n\n" * 2000).encode()
PLACED = Path(os.environ.get("TINYTORCH_DATA", "")) / FILE


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Good, cut short, changed, or not there, by the path that is asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
            return
        content = PLAY if self.path != "/changed" else PLAY.replace(b"hear", b"here")
        self.send_response(200)
        self.send_header("Content-Length", str(len(PLAY)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/short" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A cache of one's own and no data folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("TINYTORCH_DATA", raising=False)


@pytest.fixture
def published(monkeypatch, server):
    """`published(path)`: tiny Shakespeare is PLAY, at this path of the server."""

    def publish(path="/play", content=PLAY):
        monkeypatch.setattr(text, "SHAKESPEARE_URL", f"http://127.0.0.1:{server.server_port}{path}")
        monkeypatch.setattr(text, "SHAKESPEARE_SHA256", sha256(content))

    publish()
    return publish


def place(folder, content=PLAY):
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# -- where it is ------------------------------------------------------------------------------------------------------


def test_the_first_use_downloads_the_second_finds_it(published, server, tmp_path, capfd):
    first = tinyshakespeare()
    assert "100%" in capfd.readouterr().err  # the bar
    assert first == tinyshakespeare() and server.asked == ["/play"]
    assert files_below(tmp_path) == [f"caches/tinytorch/{FILE}"]
    assert capfd.readouterr() == ("", "")


def test_the_parts_are_one_behind_the_other(published):
    whole = PLAY.decode()
    data = tinyshakespeare()
    assert data.name == "tinyshakespeare" and data.train + data.validation == whole
    assert len(data.train) == int(0.9 * len(whole)) and data.sha256 == sha256(PLAY)


def test_a_given_folder_goes_first_then_the_variable_then_the_cache(published, server, tmp_path, monkeypatch):
    def found(root=None):
        return fetch("play", FILE, text.SHAKESPEARE_URL, sha256(PLAY), root)

    cached = found()
    place(tmp_path / "variable")
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "variable"))
    assert found() == tmp_path / "variable" / FILE
    assert found(tmp_path / "given") == tmp_path / "variable" / FILE  # nothing there, and no need to download it
    place(tmp_path / "given")
    assert found(tmp_path / "given") == found(str(tmp_path / "given")) == tmp_path / "given" / FILE
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "elsewhere"))
    assert found() == cached and server.asked == ["/play"]


def test_a_download_goes_to_the_folder_that_is_given(published, tmp_path):
    tinyshakespeare(root=tmp_path / "mine")
    assert files_below(tmp_path) == [f"mine/{FILE}"]


def test_an_empty_variable_is_none(published, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYTORCH_DATA", "")
    monkeypatch.chdir(tmp_path)
    place(tmp_path, b"not this one")
    assert tinyshakespeare().sha256 == sha256(PLAY)


@pytest.mark.skipif(not PLACED.is_file(), reason="TINYTORCH_DATA with tinyshakespeare/input.txt is not set")
def test_the_real_text(monkeypatch):
    monkeypatch.setenv("TINYTORCH_DATA", str(PLACED.parent.parent))
    data = tinyshakespeare()
    assert data.sha256 == text.SHAKESPEARE_SHA256 and data.train.startswith("First Citizen:\nBefore we proceed")
    assert (len(data.train), len(data.validation)) == (1_003_854, 111_540)
    assert len(set(data.train + data.validation)) == 65


# -- what can be wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_placed_file_that_is_another_is_named_and_left_alone(published, server, tmp_path, monkeypatch, by_variable):
    path = place(tmp_path, b"another")
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path) if by_variable else "")
    with pytest.raises(DataError) as error:
        tinyshakespeare(None if by_variable else tmp_path)
    said = str(error.value)
    assert f"tinyshakespeare: {path} has sha256 {sha256(b'another')}, the published file has {sha256(PLAY)}" in said
    assert said.endswith(f"delete it, or replace it by {text.SHAKESPEARE_URL}")
    assert path.read_bytes() == b"another" and not server.asked
    assert fetch("play", FILE, text.SHAKESPEARE_URL, sha256(PLAY), tmp_path, placed_may_differ=True) == path


def test_a_damaged_cache_is_replaced(published, server, tmp_path):
    path = place(tmp_path / "caches" / "tinytorch", PLAY[:-1])
    assert tinyshakespeare().sha256 == sha256(PLAY) == sha256(path.read_bytes()) and server.asked == ["/play"]


WHY = {
    "/gone": "the server answers 404 Not Found",
    "/changed": "its sha256 is not the published one, so it was damaged on the way or changed there",
    "/short": "ChunkedEncodingError|its sha256 is not",
}


@pytest.mark.parametrize("path", WHY)
def test_a_download_that_fails_leaves_nothing_and_says_all(published, server, tmp_path, path):
    published(path)
    with pytest.raises(DataError, match=rf"could not be downloaded: ({WHY[path]})\. Download it elsewhere") as error:
        tinyshakespeare()
    assert error.value.__suppress_context__ and not files_below(tmp_path) and server.asked == [path]
    published("/play")
    assert tinyshakespeare().sha256 == sha256(PLAY)  # and the next attempt is a new one


def test_without_network_one_message_says_what_to_do(published, server, tmp_path, monkeypatch):
    monkeypatch.setattr(text, "SHAKESPEARE_URL", "http://127.0.0.1:9/input.txt")  # nobody listens there
    monkeypatch.setenv("TINYTORCH_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError) as error:
        tinyshakespeare()
    cache = tmp_path / "caches" / "tinytorch"
    assert str(error.value) == (
        f"tinyshakespeare: there is no {FILE} in {tmp_path / 'data'}, {cache}, and http://127.0.0.1:9/input.txt could "
        f"not be downloaded: ConnectionError. Download it elsewhere and put it at {cache / FILE}, "
        f"or set TINYTORCH_DATA to a folder that holds {FILE}; "
        "without it, `--quick` of the milestone runs the embedded task `reversal`"
    )


def test_a_folder_that_cannot_be_written_is_named(published, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be downloaded: (Not a directory|File exists)\. Download it"):
        tinyshakespeare(tmp_path / "file")


def test_a_text_that_is_not_utf8_is_named(published, tmp_path):
    published(content=b"caf\xe9")
    place(tmp_path, b"caf\xe9")
    with pytest.raises(DataError, match=r"input.txt is not UTF-8: byte 0xe9 at position 3; convert it"):
        tinyshakespeare(tmp_path)


def test_a_file_that_cannot_be_read_is_named(published, tmp_path, monkeypatch):
    path = place(tmp_path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"input.txt cannot be read: Permission denied; see who may read it"):
        tinyshakespeare(tmp_path)
    assert path.is_file()


def test_several_processes_may_download_at_once(published, server, tmp_path):
    code = (
        "from tinytorch.datasets import fetch\n"
        f"path = fetch('play', {FILE!r}, {text.SHAKESPEARE_URL!r}, {sha256(PLAY)!r})\n"
        f"assert path.read_bytes() == open({str(place(tmp_path / 'whole'))!r}, 'rb').read()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert files_below(tmp_path / "caches") == [f"tinytorch/{FILE}"]


# -- windows ----------------------------------------------------------------------------------------------------------


def test_random_windows_are_followed_by_their_targets():
    ids = np.arange(100, 140, dtype=np.int32)
    x, y = windows(ids, 8, 500, np.random.default_rng(0))
    assert x.shape == y.shape == (500, 8) and x.dtype == y.dtype == np.int64 and x.flags.c_contiguous
    np.testing.assert_array_equal(y, x + 1)
    np.testing.assert_array_equal(x, x[:, :1] + np.arange(8))
    assert set(x[:, 0]) == set(range(100, 132))  # the first window and the last, whose last target is the last id
    again, _ = windows(ids.tolist(), 8, 500, np.random.default_rng(0))
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("count, whole", [(9, 1), (16, 1), (17, 2), (24, 2), (25, 3)])
def test_windows_for_evaluation_cover_all_but_a_rest(count, whole):
    ids = np.arange(count)
    x, y = all_windows(ids, 8)
    np.testing.assert_array_equal(x, np.arange(8 * whole).reshape(whole, 8))
    np.testing.assert_array_equal(y, x + 1)
    assert x.dtype == y.dtype == np.int64


@pytest.mark.parametrize("cut", [lambda ids, n: windows(ids, n, 2, np.random.default_rng(0)), all_windows])
def test_too_few_ids_and_ids_that_are_none(cut):
    cut(np.arange(9), 8)
    for count, context in ((8, 8), (0, 8), (9, 0), (9, -1)):
        with pytest.raises(ValueError, match=f"context is {context}, there are {count} ids: a window needs one more"):
            cut(np.arange(count), context)
    for bad in (np.zeros((9, 2), int), np.zeros(9), ["a"] * 9):
        with pytest.raises(ValueError, match="they must be a row of integers; encode a text"):
            cut(bad, 2)


def test_what_is_read_lacks_only_the_last_token():
    data = load("reversal")
    read, written = read_through(data.x_test, data.y_test)
    assert read.shape == (500, 32) and written is data.y_test
    assert (read[:, :17] == data.x_test).all() and (read[:, 17:] == data.y_test[:, :15]).all()
