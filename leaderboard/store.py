"""The directory of submissions: one immutable JSON file each, `<submitter>/<model>/<division>-<threads>/<id>.json`.

Beside it lies `<id>.files/`, what a replay needs, if anything. Writing is atomic and reading trusts nothing: whatever
does not follow from its own data is left out and listed as a `Problem`, and no file can hide or break another. There is
no index, so merging is copying files.
"""

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol, TypeVar

from leaderboard import travelling
from leaderboard.atomic import locked, make_folder, remove_stale, sync_folder, write_atomically
from leaderboard.proof import LARGEST_FILE, Faults, prove_file, read
from leaderboard.schema import Submission
from leaderboard.verdict import canonical

DAMAGED = "it is damaged; move it away and submit again"
VERIFICATIONS = "verifications"  # whose own files are records of replays, no submissions


class StoreError(OSError):
    """A submission could not be kept, or the directory not be read; the text says why and what to do."""


class Conflict(StoreError):
    """Something else lies where a submission belongs; neither was touched."""


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


def files_of(submission: Submission, directory: Path | str | None = None) -> Path:
    """The folder of a submission's travelling files, whether it has any or not."""
    root = default_directory() if directory is None else Path(directory)
    return (root / path_of(submission)).with_suffix(travelling.SUFFIX)


def file_problems(submission: Submission, directory: Path | str | None = None) -> tuple[Problem, ...]:
    """FILE_HASH for every travelling file that is missing, differs, or does not belong; reads them all."""
    folder = files_of(submission, directory)
    try:
        wrong = travelling.check(submission.files or {}, folder)
    except OSError as error:
        wrong = [f"{folder.name} cannot be read: {error.strerror or error}"]
    return tuple(Problem(path_of(submission).as_posix(), "FILE_HASH", reason) for reason in wrong)


def write(
    submission: Submission, directory: Path | str | None = None, files: Mapping[str, bytes] | None = None
) -> Path:
    """Keep a submission with its travelling files, return its path; writing the same one again changes nothing.

    The files come first and the submission last, and it appears whole or not at all, also on a full disk, at Ctrl-C or
    when the power fails. `files` are exactly those that `submission.files` declares; None if they lie there already.
    Raises StoreError if it cannot be kept.
    """
    content = canonical(submission.model_dump(mode="json")) + b"\n"
    return keep(path_of(submission), content, submission.files or {}, directory, files)


def keep(
    path: Path,
    content: bytes,
    declared: Mapping[str, str],
    directory: Path | str | None,
    files: Mapping[str, bytes] | None,
) -> Path:
    """`write` for a submission whose bytes, place and declared files are known already."""
    root = default_directory() if directory is None else Path(directory)
    target = root / path
    if len(content) > LARGEST_FILE:
        raise StoreError(f"leaderboard: the submission has {len(content)} bytes, at most {LARGEST_FILE} are read again")
    if files is not None and (wrong := list(travelling.against(declared, files))):
        raise StoreError(f"leaderboard: cannot keep the submission's files: {'; '.join(wrong)}")
    try:
        make_folder(target.parent)
        _sweep(target.parent)
        try:
            with locked(target.parent, shared=True):  # so that nobody sweeps what is just being written
                _keep(target, content, declared, files)
        except BaseException:
            _withdraw(target.with_suffix(travelling.SUFFIX))
            raise
    except OSError as error:
        _explain(root, error)
    return target


def _keep(target: Path, content: bytes, declared: Mapping[str, str], files: Mapping[str, bytes] | None) -> None:
    folder = target.with_suffix(travelling.SUFFIX)
    is_there = _already_there(target, content)
    if files is None and (wrong := travelling.check(declared, folder)):
        raise StoreError(f"leaderboard: {wrong[0]}; hand the files over with the submission")
    if files:
        if wrong := travelling.keep(files, declared, folder):
            raise Conflict(f"leaderboard: {folder} exists with other content ({wrong[0]}): {DAMAGED}")
        sync_folder(target.parent)
    if not is_there:
        write_atomically(target, content)
        sync_folder(target.parent)
    travelling.finish(folder)


def _sweep(folder: Path) -> None:
    """Remove what killed writers left; folders with a submission's own name only while nobody can be writing them."""
    remove_stale(folder)
    with locked(folder, waits=False) as nobody_writes:
        if nobody_writes:
            travelling.tidy_all(folder)


def _withdraw(folder: Path) -> None:
    """Remove the files of a submission that could not be kept, unless somebody else is writing the same."""
    with suppress(OSError), locked(folder.parent, waits=False) as nobody_writes:
        if nobody_writes:
            travelling.tidy(folder, lambda marker: True)


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
        present = read(target)
    except FileNotFoundError:
        return False
    if present == content:
        return True
    raise Conflict(f"leaderboard: {target} exists with other content: {DAMAGED}")


def load_all(directory: Path | str | None = None) -> Loaded:
    """Read every `*.json` below a directory and prove it. A directory that is not there yet holds nothing.

    Travelling files are not looked at: no figure on a board follows from them. Raises StoreError only if the directory
    itself cannot be read.
    """
    root = default_directory() if directory is None else Path(directory)
    with uncollected():
        return Loaded(*assemble(root, ((path, *prove_file(path)) for path in sorted(found_in(root)))))


class Identified(Protocol):
    """Whatever stands for a submission."""

    @property
    def submission_id(self) -> str: ...


One = TypeVar("One", bound=Identified)


def assemble(
    root: Path, proved: Iterable[tuple[Path, One | None, Faults]]
) -> tuple[tuple[One, ...], tuple[Problem, ...]]:
    """What stands for the submissions, each once and ordered by id; and the problems, in the order of the files."""
    found: dict[str, One] = {}
    problems = []
    for path, one, faults in proved:
        name = path.relative_to(root).as_posix()
        if one is None:
            problems += [Problem(name, code, reason) for code, reason in faults]
        elif one.submission_id in found:
            problems.append(Problem(name, "DUPLICATE", f"submission {one.submission_id} was read already"))
        else:
            found[one.submission_id] = one
    return tuple(found[key] for key in sorted(found)), tuple(problems)


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the search for garbage: thousands of submissions hold no circles, and going through them takes longer than
    proving them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def found_in(root: Path) -> Iterator[Path]:
    """Everything that claims to be a submission; links and closed folders, too, to be reported.

    Raises StoreError if the directory itself cannot be read.
    """
    folders = [root]
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
            yield folder
            continue
        has_records = folder == root / VERIFICATIONS
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.endswith((travelling.SUFFIX, ".tmp")):
                    folders.append(folder / entry.name)
            elif entry.is_symlink() or (entry.name.endswith(".json") and not has_records):
                yield folder / entry.name
