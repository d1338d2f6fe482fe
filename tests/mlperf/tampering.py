"""Submissions changed by somebody careful, so that every hash fits again, and what verifying them says."""

import hashlib
import json
import shutil

import pytest

from leaderboard import Measured, finalise, proof
from leaderboard.verdict import canonical
from mlperf.__main__ import main
from mlperf.replays import tolerances

DISTURBED = frozenset(tolerances.TIMED)  # what a busy machine may cause


@pytest.fixture(autouse=True)
def decided(monkeypatch):
    """What is measured once counts, however busy the machine: these tests are about the rest."""
    monkeypatch.setattr(tolerances, "TIMED", frozenset())


def resealed(path, change=lambda content: None, files=()):
    """A copy with `change(content)` and other travelling `files`: hash, id, verdict and figures follow. Its path."""
    submission, faults = proof.prove_file(path)
    assert not faults
    content = submission.model_dump(mode="json", include=set(Measured.model_fields))
    content["files"] |= {name: hashlib.sha256(text).hexdigest() for name, text in dict(files).items()}
    change(content)
    forged = finalise(Measured.model_validate(content))
    target = path.with_name(f"{forged.submission_id}.json")
    target.write_bytes(canonical(forged.model_dump(mode="json")) + b"\n")
    folder = target.with_suffix(".files")
    shutil.copytree(path.with_suffix(".files"), folder, dirs_exist_ok=True)
    for name, text in dict(files).items():
        (folder / name).write_bytes(text)
    return target


def verify(capsys, *arguments):
    """Exit code and last line of `verify`."""
    capsys.readouterr()
    code = main(["verify", *map(str, arguments)])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def failed(capsys, path, *arguments):
    """The codes that one file fails with."""
    code, line = verify(capsys, path, *arguments)
    (result,) = line["results"]
    assert (code == 1) == (result["result"] == "FAIL") == bool(result["failed"])
    return set(result["failed"])
