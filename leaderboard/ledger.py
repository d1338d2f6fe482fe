"""The history of verifications, one JSON object a line, each with the SHA-256 of the line before it.

A line that is edited, deleted or moved breaks the chain at a place that is named. Nobody can rewrite a part of it
unseen; who rewrites all that follows can, unless somebody noted the `head` of an earlier day, which no longer occurs
then. A line that was cut off while it was written (a kill, a full disk) is told apart from that and removed by the next
that is appended; nothing before it is touched.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import ValidationError

from leaderboard.atomic import locked, make_folder, sync_folder, write_durably
from leaderboard.fields import Part, Positive, Sha256, Slug, SubmissionId, Utc
from leaderboard.schema import utc_now
from leaderboard.store import StoreError
from leaderboard.verdict import canonical

GENESIS = "0" * 64  # what stands in the first line for the one before it


class Line(Part):
    """That a record was written. `record_sha256` is of the record's file, so that it cannot be exchanged later."""

    submission_id: SubmissionId
    verifier: Slug
    result: Literal["PASS", "FAIL"]
    record_sha256: Sha256
    created_utc: Utc

    @classmethod
    def about(cls, submission_id: str, verifier: str, result: Literal["PASS", "FAIL"], record: bytes) -> Self:
        digest = hashlib.sha256(record).hexdigest()
        return cls(
            submission_id=submission_id, verifier=verifier, result=result, record_sha256=digest, created_utc=utc_now()
        )

    @property
    def record_name(self) -> str:
        return f"{self.submission_id}.{self.verifier}.json"


class Link(Line):
    """A line in its place: `number` counts from 1, `previous` is the SHA-256 of the line before, without its end."""

    number: Positive
    previous: Sha256


class Fault(NamedTuple):
    """What is wrong; `line` counts from 1, and is 0 where it is about the whole."""

    line: int
    code: Literal["LEDGER", "TORN"]
    text: str


class Chain(NamedTuple):
    """A ledger as read: its lines up to the first fault, the hash of the last of them, that fault, and what follows
    the end of the last line.
    """

    links: tuple[Link, ...]
    head: str
    fault: Fault | None
    torn: bytes


def enter(path: Path, line: Line, record: bytes) -> str:
    """Put a record beside the ledger, replacing an older one, and add its line. Returns the hash of the line, the head.

    One process at a time; both happen or neither: the record is on the disk before its line is, and takes its place
    after; whoever comes next finishes that for a process that was killed between. Raises StoreError where the ledger
    is damaged, for a chain is not to be continued behind a fault, or where the disk is full; then all is as it was.
    """
    try:
        make_folder(path.parent)
        with _alone(path) as handle:
            content = _content(handle)
            chain = parsed(content)
            if chain.fault and chain.fault.code != "TORN":
                raise StoreError(f"ledger {path}: {chain.fault.text}; restore it from a copy before it is continued")
            _clear_up(path.parent, chain.links)
            staged = _staged(path.parent, line)
            link = Link(**line.model_dump(), number=len(chain.links) + 1, previous=chain.head)
            text = canonical(link.model_dump(mode="json"))
            try:
                write_durably(staged, record)
                _write(handle, len(content) - len(chain.torn), text + b"\n")
            except BaseException:
                staged.unlink(missing_ok=True)
                raise
            os.replace(staged, path.parent / line.record_name)
            sync_folder(path.parent)
            return hashlib.sha256(text).hexdigest()
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"ledger {path}: cannot be continued: {error.strerror}; make room there") from error


def _staged(folder: Path, line: Line) -> Path:
    """Where a record waits for its line."""
    return folder / f".{line.record_sha256}.staged"


def _is_staged(folder: Path, line: Line) -> bool:
    """Whether the record of a line waits there, whole."""
    waiting = _staged(folder, line)
    return waiting.exists() and hashlib.sha256(waiting.read_bytes()).hexdigest() == line.record_sha256


def _clear_up(folder: Path, links: Sequence[Link]) -> None:
    """Finish for a process that was killed: its record takes its place if its line was written, else it goes."""
    if links and _is_staged(folder, links[-1]):
        os.replace(_staged(folder, links[-1]), folder / links[-1].record_name)
    for waiting in folder.glob(".*.staged"):
        waiting.unlink()


def _write(handle: int, place: int, text: bytes) -> None:
    """Write from `place` on, or leave the file with what stood before it."""
    os.ftruncate(handle, place)
    os.lseek(handle, place, os.SEEK_SET)
    try:
        rest = text
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except BaseException:
        os.ftruncate(handle, place)
        raise


@contextmanager
def _alone(path: Path) -> Iterator[int]:
    """The ledger, opened while this process alone may write to it."""
    with locked(path.parent) as is_ours:
        if not is_ours:
            raise StoreError(f"ledger {path}: this file system has no locks, so two could write at once; use another")
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield handle
        finally:
            os.close(handle)


def _content(handle: int) -> bytes:
    with open(os.dup(handle), "rb") as file:
        file.seek(0)
        return file.read()


def parsed(content: bytes) -> Chain:
    """The lines of a ledger as far as they prove themselves, and the first fault, if there is one."""
    links: list[Link] = []
    head = GENESIS
    *lines, torn = content.split(b"\n")
    for number, text in enumerate(lines, 1):
        try:
            links.append(_link(number, text, head))
        except ValueError as error:
            return Chain(tuple(links), head, Fault(number, "LEDGER", f"line {number} {error}"), torn)
        head = hashlib.sha256(text).hexdigest()
    if not torn:
        return Chain(tuple(links), head, None, torn)
    number, cut = len(lines) + 1, "was cut off while it was written; the next verification removes it"
    return Chain(tuple(links), head, Fault(number, "TORN", f"line {number} {cut}"), torn)


def _link(number: int, text: bytes, head: str) -> Link:
    """The line, proved to stand at its place behind one whose hash is `head`. ValueError says what is wrong."""
    try:
        link = Link.model_validate_json(text, strict=True)
    except ValidationError:
        raise ValueError("is no line of a ledger: it was edited") from None
    if canonical(link.model_dump(mode="json")) != text:
        raise ValueError("is not in the form in which it was written: it was edited")
    if link.number != number:
        raise ValueError(f"says it is number {link.number}: lines were deleted or moved")
    if link.previous != head:
        raise ValueError(
            f"follows {link.previous[:12]}..., but the line before it is {head[:12]}...: that one was edited or moved"
        )
    return link


def check(path: Path, head: str | None = None) -> tuple[Fault, ...]:
    """Every fault of a ledger and of the records beside it that it tells of; none where there is no ledger.

    The last line about a record holds its hash, so a record that was deleted or exchanged is a fault. `head`, noted at
    an earlier time, must still occur. Raises StoreError where the ledger cannot be read.
    """
    content = _read_ledger(path)
    chain = parsed(content)
    found = [chain.fault] if chain.fault else []
    if head is not None and head not in _heads(content):
        found.append(Fault(0, "LEDGER", f"no line has the hash {head}: the ledger was rewritten since it was noted"))
    last = {link.record_name: link for link in chain.links}
    return (*found, *(fault for link in last.values() if (fault := _misplaced(path.parent, link))))


def unlisted(path: Path) -> tuple[str, ...]:
    """Records beside a ledger of which no line tells: copied from elsewhere, or the last lines were deleted."""
    known = {link.record_name for link in parsed(_read_ledger(path)).links}
    return tuple(sorted(record.name for record in path.parent.glob("*.json") if record.name not in known))


def head(path: Path) -> str:
    """The hash of the last line that proves itself: who notes it can tell later whether anything was rewritten."""
    return parsed(_read_ledger(path)).head


def _read_ledger(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise StoreError(f"ledger {path}: cannot be read: {error.strerror}") from error


def _heads(content: bytes) -> set[str]:
    return {GENESIS} | {hashlib.sha256(text).hexdigest() for text in content.split(b"\n")[:-1]}


def _misplaced(folder: Path, link: Link) -> Fault | None:
    """Whether the record that a line tells of is another, or gone."""
    place, tells = folder / link.record_name, f"line {link.number} tells of {link.record_name}"
    try:
        if hashlib.sha256(place.read_bytes()).hexdigest() == link.record_sha256:
            return None
        words = "with another content: it was exchanged"
    except OSError:
        words = "which is not there any more"
    if _is_staged(folder, link):
        return Fault(link.number, "TORN", f"{tells}, which a killed process left unfinished; the next one finishes it")
    return Fault(link.number, "LEDGER", f"{tells}, {words}")
