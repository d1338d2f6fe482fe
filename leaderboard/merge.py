"""`python -m leaderboard merge`: several directories become one, whatever the order, and as often as one likes.

A submission is copied with its files if all of it proves itself, a record of a replay if its signature fits; anything
else is listed with its reason and stays where it is. Nothing that is there is ever replaced: where something else lies
under the same name, both sides stay as they are and it is reported. So merging is idempotent, commutative and
associative as long as nothing clashes, and one that was killed is simply run again.

A ledger tells the history of one leaderboard, and keys say whom its owner trusts: neither is merged. Records need no
ledger, since each carries its own signature; whose key is unknown here is copied and not believed.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from leaderboard import signing, travelling, verification
from leaderboard.atomic import make_folder, remove_stale, sync_folder, write_atomically
from leaderboard.proof import Faults, prove, read, unreadable
from leaderboard.store import (
    VERIFICATIONS,
    Conflict,
    Problem,
    StoreError,
    default_directory,
    found_in,
    keep,
    path_of,
)
from leaderboard.tables import problems_text
from leaderboard.text import inert
from leaderboard.verdict import canonical

EXAMPLES = """\
  python -m leaderboard merge ada/ bob/                  into the leaderboard of this checkout
  python -m leaderboard merge returned/* --into course   into another one
"""


class Merged(NamedTuple):
    """What came of it. `known` were there already; `problems` were not copied, their paths begin with the source's."""

    submissions: int
    records: int
    known: int
    problems: tuple[Problem, ...]


class Refused(Exception):
    """A file that is not copied, with every (code, reason)."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults


def merge(
    sources: Iterable[Path], into: Path, bar: Callable[[Sequence[Any]], Iterable[Any]] = lambda work: work
) -> Merged:
    """Copy what proves itself from all sources into one directory; `bar` shows progress over the files.

    Raises StoreError where a source cannot be read or the directory not be written: then some is copied, and merging
    again completes it.
    """
    work = []
    for source in sources:
        work += [("submissions", copy_submission, path) for path in sorted(found_in(source))]
        work += [("records", copy_record, path) for path in _records_in(source)]
    counts, problems = Counter[str](), []
    for kind, copy, path in bar(work):
        try:
            counts[kind if copy(path, into) else "known"] += 1
        except Refused as refused:
            problems += [Problem(path.as_posix(), code, reason) for code, reason in refused.faults]
    return Merged(counts["submissions"], counts["records"], counts["known"], tuple(problems))


def copy_submission(path: Path, into: Path) -> bool:
    """Copy one submission with its files; whether it was not there yet. Raises Refused, and StoreError on a full disk.

    What is written is the content that was read, in its one form: written out by the model, a default that it left
    unsaid would change its hash.
    """
    try:
        data = read(path)
    except OSError as error:
        raise Refused([unreadable(error)]) from None
    submission, faults = prove(data)
    if submission is None:
        raise Refused(faults)
    declared, folder = submission.files or {}, path.with_name(submission.submission_id + travelling.SUFFIX)
    try:
        wrong = travelling.check(declared, folder)
        files = {} if wrong else travelling.read(declared, folder)
    except OSError as error:
        wrong = [f"{folder.name} cannot be read: {error.strerror or error}"]
    if wrong:
        raise Refused([("FILE_HASH", reason) for reason in wrong])
    is_new = not (into / path_of(submission)).exists()
    try:
        keep(path_of(submission), canonical(json.loads(data)) + b"\n", declared, into, files)
    except Conflict as error:
        raise Refused([("CONFLICT", str(error))]) from None
    return is_new


def copy_record(path: Path, into: Path) -> bool:
    """Copy one record of a replay; whether it was not there yet. Raises Refused, and StoreError on a full disk."""
    try:
        data, record = read(path), verification.read(path)
    except (OSError, ValueError) as error:
        raise Refused([("VERIFICATION", getattr(error, "strerror", None) or str(error))]) from None
    if path.name != record.file_name:
        raise Refused([("VERIFICATION", f"it must be called {record.file_name}, after what it is about")])
    target = into / VERIFICATIONS / record.file_name
    try:
        known = target.with_name(f"{record.verifier}.pub")
        if known.exists() and signing.public_key(known) != record.public_key:
            raise Refused([("VERIFICATION", f"signed by another key than {known}, which is {record.verifier}'s here")])
        if _is_new(target, data):
            return True
        if read(target) == data:
            return False
    except (OSError, signing.KeyProblem) as error:
        place, reason = target.parent, getattr(error, "strerror", None) or error
        raise StoreError(f"leaderboard: cannot keep records of replays under {place}: {reason}; make room") from error
    raise Refused([("CONFLICT", f"{target} is another record by {record.verifier}: keep the one that counts by hand")])


def _records_in(source: Path) -> list[Path]:
    folder = source / VERIFICATIONS
    return sorted(folder.glob("*.json")) if folder.is_dir() and not folder.is_symlink() else []


def _is_new(target: Path, data: bytes) -> bool:
    """Write a record unless there is one; whether it was written."""
    if target.exists():
        return False
    make_folder(target.parent)
    remove_stale(target.parent)
    try:
        write_atomically(target, data, replaces=False)
    except FileExistsError:  # another process was quicker
        return False
    sync_folder(target.parent)
    return True


def add_parser(commands: Any) -> None:
    """Add `merge` to the command line."""
    command = commands.add_parser(
        "merge",
        help="copy submissions, their files and records of replays from other directories",
        description=__doc__,
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("sources", nargs="+", type=Path, metavar="DIR", help="directories of submissions")
    command.add_argument("--into", type=Path, metavar="DIR", help="where they are kept (default: this leaderboard)")


def run(options: argparse.Namespace) -> int:
    """Merge, and say what came of it. 1 if anything was not copied. Raises StoreError."""
    into = options.into or default_directory()
    for source in options.sources:
        if not source.is_dir():
            raise StoreError(f"merge: no directory {source}: name directories that `mlperf submit` wrote to")
        if into.exists() and source.samefile(into):
            raise StoreError(f"merge: {source} is the directory that is merged into; name others, or another --into")
    merged = merge(options.sources, into, lambda work: tqdm(work, "merge", unit="file", file=sys.stderr))
    print(
        f"{merged.submissions} submissions and {merged.records} records of replays copied into {inert(str(into))}, "
        f"{merged.known} were there already, {len(merged.problems)} problems"
    )
    if merged.problems:
        print(f"\n{problems_text(merged.problems, 'Not copied')}\n")
    summary = merged._asdict() | {"problems": [problem._asdict() for problem in merged.problems]}
    print(json.dumps(summary, separators=(",", ":"), allow_nan=False))
    return 1 if merged.problems else 0
