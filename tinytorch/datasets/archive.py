"""Compressed files and archives that nobody vouches for: read as a stream, no more than is expected, nothing extracted.

Left out: what the bytes mean (`idx`, `cifar`).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tinytorch.datasets.download import DataError

XZ_MEMORY = 128 << 20  # bytes for the dictionary; `xz -9` asks for 65 MiB
BROKEN = (EOFError, OSError, OverflowError, ValueError, lzma.LZMAError, tarfile.TarError, zlib.error)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever can be wrong with a file while it is read becomes a DataError that names it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}; replace it by the published file") from None
    except BROKEN as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read: {why}; replace it by the published file") from None


class Xz(io.RawIOBase):
    """What an .xz file holds. Unlike `lzma.open` it bounds the memory that the file may ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.decompressor = file, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self.decompressor.eof:
            data = self.file.read(1 << 16) if self.decompressor.needs_input else b""
            if not data and self.decompressor.needs_input:
                raise EOFError("it ends in the middle")
            if out := self.decompressor.decompress(data, len(buffer)):
                buffer[: len(out)] = out
                return len(out)
        return 0


class Bounded(io.RawIOBase):
    """Another stream, of which no more than `limit` bytes may be read: a small file can unpack to a huge one."""

    def __init__(self, stream: io.BufferedIOBase | BinaryIO, limit: int) -> None:
        self.stream, self.limit, self.left = stream, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self.stream.read(min(len(buffer), self.left) or 1)
        if data and not self.left:
            raise DataError(f"it holds more than the {self.limit:,} bytes that are expected at most")
        self.left -= len(data)
        buffer[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def unpacked(path: Path, limit: int) -> Iterator[BinaryIO]:
    """The content of a .gz, .xz or plain file, told apart by how it begins: at most `limit` bytes."""
    with path.open("rb") as file:
        magic = file.peek(6)[:6]
        inner: BinaryIO = file
        if magic[:2] == b"\x1f\x8b":
            inner = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        elif magic == b"\xfd7zXZ\0":
            inner = io.BufferedReader(Xz(file))
        yield io.BufferedReader(Bounded(inner, limit))  # type: ignore[assignment]


def members(path: Path, sizes: dict[str, int], slack: int) -> Iterator[tuple[str, BinaryIO]]:
    """The files of these names and sizes in a (compressed) tar, as streams to be read at once, in the archive's order.

    No other member is read, and no more than `slack` bytes of them passed over. DataError where one is missing, twice
    there, a link or anything but a plain file, or of another size.
    """
    missing = dict(sizes)
    limit = sum(sizes.values()) + slack
    with unpacked(path, limit) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.name not in sizes:
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise DataError(f"{member.name} in it is no plain file")
            if member.name not in missing:
                raise DataError(f"{member.name} is in it twice")
            if member.size != missing.pop(member.name):
                raise DataError(f"{member.name} in it has {member.size:,} bytes, not {sizes[member.name]:,}")
            inside = archive.extractfile(member)
            assert inside is not None  # of a plain file there is one
            yield member.name, inside  # type: ignore[misc]
        while stream.read(1 << 20):
            pass  # to the end, where the check sum is
        if missing:
            raise DataError(f"there is no {' and no '.join(missing)} in it")
