"""The directory of submissions: one immutable JSON file each, `<submitter>/<model>/<division>-<threads>/<id>.json`.

Writing is atomic and reading trusts nothing: whatever does not follow from its own data is left out and listed as a
`Problem`, and no file can hide or break another. There is no index and no lock, so merging is copying files.
"""

import json
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pydantic import ValidationError

from leaderboard.schema import READABLE, Submission
from leaderboard.verdict import canonical, discrepancies

LARGEST_FILE = 2**20  # bytes; an honest submission has about 12 thousand, and a larger file costs the reader time
VERIFICATIONS = "verifications"  # the folder of records about submissions, which are no submissions
STALE_SECONDS = 3600  # a temporary file this old belongs to a writer that was killed


class StoreError(OSError):
    """A submission could not be kept, or the directory not be read; the text says why and what to do."""


class Problem(NamedTuple):
    """A file that is not on the board. `path` is relative to the directory that was read."""

    path: str
    code: str
    reason: str


class Loaded(NamedTuple):
    """What a directory holds: submissions ordered by id, problems ordered by path."""

    submissions: tuple[Submission, ...]
    problems: tuple[Problem, ...]


def default_directory() -> Path:
    """`leaderboard/submissions` of the checkout this package runs from, else of the current directory."""
    package = Path(__file__).resolve().parent
    here = package / "submissions"
    is_checkout = (package.parent / "pyproject.toml").is_file() and os.access(package, os.W_OK)
    return here if here.is_dir() or is_checkout else Path("leaderboard", "submissions")


def path_of(submission: Submission) -> Path:
    """Where a submission lies inside the directory. Every component was constrained by the schema."""
    policy = f"{submission.division}-{submission.thread_policy}"
    return Path(submission.submitter.id, submission.model, policy, f"{submission.submission_id}.json")


def write(submission: Submission, directory: Path | str | None = None) -> Path:
    """Keep a submission and return its path; writing the same one again changes nothing.

    The file appears whole or not at all, also on a full disk, at Ctrl-C or when the power fails. Raises StoreError if
    it cannot be kept.
    """
    root = default_directory() if directory is None else Path(directory)
    target = root / path_of(submission)
    content = canonical(submission.model_dump(mode="json")) + b"\n"
    if len(content) > LARGEST_FILE:
        raise StoreError(f"leaderboard: the submission has {len(content)} bytes, at most {LARGEST_FILE} are read again")
    try:
        new = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        if _already_there(target, content):
            return target
        _write_atomically(target, content)
        for changed in (target.parent, *(folder.parent for folder in new)):
            _sync_folder(changed)
    except OSError as error:
        _explain(root, error)
    return target


def _explain(root: Path, error: OSError) -> NoReturn:
    if isinstance(error, StoreError):
        raise error
    place = f"{error.filename}: " if error.filename else ""
    raise StoreError(
        f"leaderboard: cannot keep the submission under {root}: {place}{error.strerror or error}. "
        "Make room or choose another place with --leaderboard DIR"
    ) from error


def _already_there(target: Path, content: bytes) -> bool:
    try:
        present = _read(target)
    except FileNotFoundError:
        return False
    if present == content:
        return True
    raise StoreError(f"leaderboard: {target} exists with other content: it is damaged; move it away and submit again")


def _write_atomically(target: Path, content: bytes) -> None:
    """A reader sees no file or the whole one. The name is known before the file exists, so Ctrl-C cannot orphan it."""
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(8)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system lets folders be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_stale(folder: Path) -> None:
    """Sweep up after writers that were killed between creating and renaming."""
    for leftover in folder.glob(".*.tmp"):
        try:
            if time.time() - leftover.lstat().st_mtime > STALE_SECONDS:
                leftover.unlink(missing_ok=True)
        except FileNotFoundError:  # another process was quicker
            continue


def load_all(directory: Path | str | None = None) -> Loaded:
    """Read every `*.json` below a directory and prove it. A directory that is not there yet holds nothing.

    Raises StoreError only if the directory itself cannot be read.
    """
    root = default_directory() if directory is None else Path(directory)
    submissions: dict[str, Submission] = {}
    problems = []
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        submission, found = _load(path)
        if submission is None:
            problems += [Problem(name, code, reason) for code, reason in found]
        elif submission.submission_id in submissions:
            problems.append(Problem(name, "DUPLICATE", f"submission {submission.submission_id} was read already"))
        else:
            submissions[submission.submission_id] = submission
    return Loaded(tuple(submissions[key] for key in sorted(submissions)), tuple(problems))


def _files(root: Path) -> list[Path]:
    """Everything that claims to be a submission, in the order of its path; links and closed folders, to be reported."""
    found, folders = [], [root]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        except OSError as error:
            if folder == root:
                reason = f"{error.strerror}; name a directory of submissions"
                raise StoreError(f"leaderboard: cannot read {root}: {reason}") from error
            found.append(folder)
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(folder / entry.name)
            elif folder != root / VERIFICATIONS and (entry.is_symlink() or entry.name.endswith(".json")):
                found.append(folder / entry.name)
    return sorted(found)


def _load(path: Path) -> tuple[Submission | None, list[tuple[str, str]]]:
    """The submission in a file, or None and every (code, reason) against it."""
    try:
        data = _read(path)
    except OSError as error:
        return None, [("UNREADABLE", error.strerror or str(error))]
    try:
        content = json.loads(data.decode(), object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return None, [("NOT_JSON", f"broken or truncated: {error}")]
    if not isinstance(content, dict):
        return None, [("SCHEMA", "not a JSON object")]
    version = content.get("schema_version")
    if isinstance(version, str) and version not in READABLE:
        return None, [("SCHEMA_VERSION", f"schema {version}; this leaderboard reads {', '.join(READABLE)}")]
    try:
        submission = Submission.model_validate_json(data, strict=True)
        found = list(discrepancies(submission, content))
    except ValidationError as error:
        return None, [("SCHEMA", _first_error(error))]
    except (ValueError, OverflowError, RecursionError) as error:
        return None, [("SCHEMA", f"cannot be recomputed: {error}")]
    return (None, found) if found else (submission, [])


def _read(path: Path) -> bytes:
    """The bytes of a regular file of reasonable size. A pipe or device is never waited for."""
    if path.is_symlink():
        raise OSError("a symbolic link, which is not followed: copy the file itself")
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("not a regular file")
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise OSError(f"larger than {LARGEST_FILE} bytes")
    return data


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _first_error(error: ValidationError) -> str:
    """Where and what, without repeating the offending value."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    place = ".".join(str(step) for step in errors[0]["loc"]) or "submission"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {errors[0]['msg']}{more}"
