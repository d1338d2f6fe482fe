"""A web server on this machine whose answers go wrong in the ways of the real ones, and small files to serve."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinytorch.datasets import Published, cifar


class Answer(NamedTuple):
    """What is answered: `cut` bytes of it and then the connection is closed; parts of it only where `ranges`."""

    content: bytes = b""
    status: int = 200
    cut: int | None = None
    ranges: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    length: bool = True  # whether it is announced
    claim: str = ""  # another part than the one that is sent
    held: Held | None = None  # after `cut` bytes, until the test goes on


class Held(NamedTuple):
    """A connection that stands still: `sent` is set when it does, and `go_on` ends it."""

    sent: threading.Event
    go_on: threading.Event


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        answers = self.server.pages.get(self.path, [Answer(status=404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.status != 200:
            self.send_error(answer.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and answer.ranges else 0
        size = len(answer.content)
        if start >= size > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", answer.claim or f"bytes {start}-{size - 1}/{size}")
        if answer.length:
            self.send_header("Content-Length", str(size - start))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(answer.content[start:] if answer.cut is None else answer.content[start:][: answer.cut])
            if answer.held:
                self.wfile.flush()
                answer.held.sent.set()
                answer.held.go_on.wait(timeout=60)
        except ConnectionError:
            pass  # it had heard enough

    def log_message(self, *_):
        pass


class Site(ThreadingHTTPServer):
    """`site[path] = Answer(...)`, or several to be given one after the other; `site.asked` says what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str | None]] = []

    def __setitem__(self, path: str, answers: bytes | Answer | list[Answer]) -> None:
        answers = Answer(answers) if isinstance(answers, bytes) else answers
        self.pages[path] = [answers] if isinstance(answers, Answer) else list(answers)

    def hold(self, path: str, content: bytes, cut: int) -> Held:
        """`path` sends so many bytes of its content, and then nothing until the test goes on."""
        held = Held(threading.Event(), threading.Event())
        self[path] = Answer(content, cut=cut, held=held)
        return held

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def handle_error(self, *_):
        pass


def digest(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def published_at(
    site: Site, content: bytes, *paths: str, file: str = "play/input.txt", algorithm="sha256"
) -> Published:
    """`content` as a published file with these paths of the server as its addresses."""
    return Published(file, tuple(site.url(path) for path in paths), len(content), digest(content, algorithm))


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# -- small files of the real forms -------------------------------------------------------------------------------------


def idx_file(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def place_mnist(folder: Path, arrays: dict[str, np.ndarray], compressed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        content = idx_file(array)
        (folder / f"{name}.gz" if compressed else folder / name).write_bytes(
            gzip.compress(content, mtime=0) if compressed else content
        )
    return folder


def pack_cifar(contents: dict[str, bytes], suffix: str = "gz", folder: str = cifar.FOLDER) -> bytes:
    """The files as the archive `cifar-10-binary.tar.<suffix>`, with what else is in the published one."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{suffix}") as archive:
        for name, content in {"batches.meta.txt": "\n".join(cifar.CLASSES).encode(), **contents}.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()
