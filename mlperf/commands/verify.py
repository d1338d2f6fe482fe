"""`python -m mlperf verify`: replay submissions with a secret seed, compare, and sign what was found.

Checks that need no clock come first: the file follows from its data, and task, harness, code, weights and other files
are those that are installed or travel with it. Then its candidate is made again from the recipe, with the same bits.
Then it is measured again, in the workers that `submit` uses, with all audits, with seeds that nobody could know and on
test data that nobody has seen. What must agree, and how closely, is in mlperf/replays (tolerances.py, hidden.py).

With --key the record is signed, kept and entered into the ledger; without, it is only shown. Of several submissions,
--jobs are made again at once; what is timed takes turns.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaderboard import StoreError, ledger, signing, verification
from leaderboard.fields import slug
from leaderboard.store import VERIFICATIONS, found_in
from leaderboard.text import inert
from mlperf import report
from mlperf.commands.keygen import default_key
from mlperf.commands.submit import user_name
from mlperf.commands.terminal import UsageError, add_command, compile_all, phase
from mlperf.confinement import sandbox
from mlperf.replays.replay import Secret, steps
from mlperf.replays.verifying import TRIES, Options, Prepared, prepare, verified
from tinytorch.datasets import DataError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from leaderboard.verification import Replay
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf verify FILE.json                       replay a submission, show what was found
  python -m mlperf verify DIR --key --jobs 2              all below a directory, signed with the default key
  python -m mlperf verify FILE.json --hidden real.npz     on withheld data instead of data drawn in secret
  python -m mlperf verify --check RECORD.json --public KEY.pub   is this record genuine?
  python -m mlperf verify --check DIR --head SHA256       all records of a directory, and its ledger
"""


def add_parser(commands: Commands) -> None:
    """Add `verify` to the command line."""
    help = "replay submissions with a secret seed and sign the result"
    command = add_command(commands, "verify", help, EXAMPLES, __doc__)
    command.add_argument("path", type=Path, nargs="?", metavar="FILE|DIR", help="a submission, or a directory of them")
    command.add_argument(
        "--key", type=Path, nargs="?", const=default_key(), metavar="FILE",
        help="sign with this private key (without FILE: that of `keygen`), keep the record",
    )  # fmt: skip
    command.add_argument("--verifier", metavar="NAME", help="in whose name (default: your user name)")
    command.add_argument("--leaderboard", type=Path, metavar="DIR", help="where records are kept (default: found)")
    command.add_argument("--jobs", type=int, default=1, metavar="N", help="candidates made again at once (default: 1)")
    command.add_argument("--hidden", type=Path, metavar="FILE", help="withheld test data, .npz with x and y")
    command.add_argument("--no-retrain", action="store_true", help="do not make the candidate again; it is recorded")
    command.add_argument("--no-sandbox", action="store_true", help="run what the files bring with limits alone")
    command.add_argument("--show-seed", action="store_true", help="tell the secret seed afterwards")
    command.add_argument("--check", type=Path, metavar="RECORD|DIR", help="check records instead of making some")
    command.add_argument("--public", type=Path, metavar="FILE", help="with --check: the key that must have signed")
    command.add_argument("--head", metavar="SHA256", help="with --check DIR: a head of the ledger, noted before")


def run(options: argparse.Namespace) -> int:
    """Verify or check. Returns the exit code."""
    if options.check is not None:
        if options.path is not None:
            raise UsageError("--check RECORD|DIR takes no other path")
        return check(options.check, options.public, options.head)
    if options.path is None:
        raise UsageError("name a submission or a directory of them, or a record with --check")
    if options.jobs < 1:
        raise UsageError(f"--jobs is {options.jobs}; at least 1")
    try:
        key = signing.private_key(options.key) if options.key else None
    except signing.KeyProblem as error:
        raise UsageError(str(error)) from None
    paths = submissions_below(options.path)
    if not options.no_sandbox and (why := sandbox.available()):
        raise UsageError(why)
    name = slug(options.verifier or user_name())
    how = Options(name, not options.no_retrain, not options.no_sandbox, options.hidden)
    compile_all()
    try:
        prepared = prepare_all(paths, how, options.jobs)
    except DataError as error:
        print(f"mlperf: verify: {error}", file=sys.stderr)
        return 2
    results = []
    for one in prepared:
        secret = Secret()
        results.append(finish(one, secret, how, key, options))
        print(told(*results[-1], secret if options.show_seed else None), flush=True)
    print(last_line(results, key is not None), flush=True)
    return 0 if all(replay and replay.result == "PASS" for _, replay, _ in results) else 1


def submissions_below(path: Path) -> list[Path]:
    """The files to verify, in the order of their paths. Raises UsageError where there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"no file or directory {path}: name a submission, <id>.json, or a directory of them")
    found = sorted(found_in(path))
    if not found:
        raise UsageError(f"no submissions below {path}")
    return found


def prepare_all(paths: Sequence[Path], how: Options, jobs: int) -> list[Prepared]:
    """What needs no clock, for all; `jobs` of them at once."""
    with phase("make again", len(paths), "submission") as bar:
        if jobs == 1 or len(paths) == 1:
            done = []
            for path in paths:
                done.append(prepare(path, how))
                bar.update()
            return done
        with ProcessPoolExecutor(min(jobs, len(paths)), get_context("spawn")) as pool:
            waiting = [pool.submit(prepare, path, how) for path in paths]
            for future in waiting:
                future.add_done_callback(lambda _: bar.update())
            return [future.result() for future in waiting]


Result = tuple[Prepared, "Replay | None", "Path | None"]


def finish(
    one: Prepared, secret: Secret, how: Options, key: Ed25519PrivateKey | None, options: argparse.Namespace
) -> Result:
    """Measure one submission, one at a time, and keep the record if there is a key."""
    if one.submission is None:
        return one, None, None
    todo = 0 if one.failed else steps(one.submission)
    with phase(f"measure {one.submission.submission_id[:7]}", todo, "step") as bar:
        replay = verified(one, secret, how, bar.update)
    if key is None or replay is None:
        return one, replay, None
    root = options.leaderboard or root_of(one.path)
    return one, replay, verification.write(verification.sign(replay, key), root)


def root_of(path: Path) -> Path:
    """The directory of submissions in which one lies: <submitter>/<model>/<division>-<threads>/<id>.json."""
    return path.absolute().parents[3]


# -- what is shown -----------------------------------------------------------------------------------------------------


def told(one: Prepared, replay: Replay | None, record: Path | None, secret: Secret | None) -> str:
    """What was found, for a person."""
    name = one.submission.submission_id if one.submission else one.path.name
    checks = replay.checks if replay else one.checks
    lines = [f"\n{name}  {result_of(one, replay)}", "", report.checks_table(checks)]
    if one.submission is not None and replay is None:
        lines.append(f"Measured {TRIES} times, each time beside other programs: no verdict and no record.")
    elif replay is None:
        lines.append("No submission, so no record: a record is about a submission that proves itself.")
    elif record is None:
        lines.append("Not signed: nothing was written. With --key the record is kept and entered into the ledger.")
    else:
        lines.append(f"Signed: {record}")
    if secret is not None:
        lines.append(f"Secret seed: {secret.content.hex()} (SHA-256 {secret.sha256[:12]}...)")
    return inert_lines(lines)


def result_of(one: Prepared, replay: Replay | None) -> str:
    """PASS, FAIL, or UNDECIDED where times that differ may be the machine's fault."""
    return replay.result if replay else "FAIL" if one.submission is None else "UNDECIDED"


def inert_lines(lines: Sequence[str]) -> str:
    """Text from files is shown without what could steer a terminal."""
    return "\n".join(inert(line) for text in lines for line in text.split("\n"))


def last_line(results: Sequence[Result], signed: bool) -> str:
    """One compact JSON object with what a program wants to know."""
    entries: list[dict[str, Any]] = []
    for one, replay, record in results:
        checks = replay.checks if replay else one.checks
        entries.append(
            {
                "file": str(one.path),
                "id": one.submission.submission_id if one.submission else None,
                "result": result_of(one, replay),
                "failed": sorted({check.code for check in checks if check.passed is False}),
                "ratio": replay.ratio if replay else None,
                "ratio_lo": replay.ratio_lo if replay else None,
                "quality": replay.quality if replay else None,
                "record": str(record) if record else None,
            }
        )
    counts = {name.lower(): sum(entry["result"] == name for entry in entries) for name in ("PASS", "FAIL", "UNDECIDED")}
    line = {**counts, "signed": signed, "results": entries}
    if heads := {record.parent for _, _, record in results if record}:
        line["head"] = {str(folder): ledger.head(folder / verification.LEDGER) for folder in sorted(heads)}
    return json.dumps(line, separators=(",", ":"), allow_nan=False)


# -- checking records -------------------------------------------------------------------------------------------------


def check(path: Path, public: Path | None, head: str | None) -> int:
    """Is a record genuine, or are all of a directory? 0 if so, else 1."""
    try:
        key = signing.public_key(public) if public else None
    except signing.KeyProblem as error:
        raise UsageError(str(error)) from None
    if path.is_dir():
        return check_directory(path, key, head)
    if not path.is_file():
        raise UsageError(f"no record {path}: they are in {VERIFICATIONS}/ below a directory of submissions")
    try:
        record = verification.read(path)
        if key is not None and record.public_key != key:
            raise ValueError(f"signed by {record.public_key}, not by {public}")
    except ValueError as error:
        print(f"{inert(str(path))}: NOT genuine: {inert(str(error))}\n")
        print(json.dumps({"genuine": False, "record": str(path)}, separators=(",", ":")), flush=True)
        return 1
    who = f"the key in {public}" if public else f"{record.public_key}; name the key that you trust with --public"
    print(f"{path}: genuine, signed by {who}\n\n{report.checks_table(record.checks)}\n")
    line = {"genuine": True, "id": record.submission_id, "result": record.result, "public_key": record.public_key}
    print(json.dumps(line, separators=(",", ":")), flush=True)
    return 0


def check_directory(path: Path, key: str | None, head: str | None) -> int:
    """All records below a directory, and its ledger."""
    place = path / VERIFICATIONS / verification.LEDGER
    records, problems = verification.load_all(path)
    try:
        faults = [fault.text for fault in ledger.check(place, head)]
        loose = ledger.unlisted(place)
    except StoreError as error:
        faults, loose = [str(error)], ()
    genuine = [record for some in records.values() for record in some if key in (None, record.public_key)]
    others = sum(map(len, records.values())) - len(genuine)
    lines = [f"{problem.path}: {problem.reason}" for problem in problems if problem.code == "VERIFICATION"]
    lines += [f"{place.name}: {fault}" for fault in faults]
    lines += [f"{name}: the ledger does not tell of it: copied from elsewhere, or a line was deleted" for name in loose]
    lines += [f"{others} record(s) are signed by another key"] if others else []
    print(inert_lines([f"{len(genuine)} genuine record(s)", *lines, ""]))
    line = {"genuine": len(genuine), "problems": len(lines), "head": ledger.head(place)}
    print(json.dumps(line, separators=(",", ":")), flush=True)
    return 1 if lines else 0
