"""What a confined worker has and sees, and what is left of it: no process, no link, nothing in the user's cache."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from kernels import cache
from leaderboard import default_directory
from mlperf.confinement import attacked, sandbox, tree
from mlperf.confinement.limits import ENTRY, Limits, folder_bytes
from mlperf.confinement.sandbox import ROOT, Sandbox, SandboxError
from mlperf.harness import Effort
from mlperf.process import Job, LimitExceeded, environment, measure, run

HERE = Path(__file__).parent
WITHOUT = sandbox.available()
locked = pytest.mark.skipif(WITHOUT is not None, reason=WITHOUT or "")
linux = pytest.mark.skipif(not tree.LISTED, reason="orphans are adopted on Linux alone")


@pytest.fixture(scope="module", autouse=True)
def confined():
    """Workers import as their parent does, so `confined.py` beside this file is made importable here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield


@pytest.fixture(params=["limits", pytest.param("sandbox", marks=locked)])
def guard(request):
    return {"limits": ENTRY, "sandbox": Sandbox([HERE]) if request.param == "sandbox" else None}


def test_a_measurement_goes_through_limits_and_sandbox(guard):
    effort = Effort(workers=1, pairs=3, block_ns=200_000, queries=20)
    found = measure(Job("contestants:plain", {"offset": 5}, effort), 1, **guard)
    assert found.opt_told == [5, 6, 7, 8, 9, 10] and found.worker["pid_order"] == 1


def test_compiled_kernels_are_there_as_a_copy(guard):
    kept = cache.directory()
    before = sorted(kept.rglob("*"))
    found = run("confined:kernels", {}, **guard)
    assert found["directory"] != str(kept) and Path(found["directory"]).name == kept.name
    assert found["files"] >= len([path for path in before if path.suffix == ".nbc"])
    assert found["written"] and sorted(kept.rglob("*")) == before
    assert not Path(found["home"]).exists()  # the private folder is gone


def test_a_worker_starts_at_home_with_few_variables(guard, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "of the parent")
    found = run("confined:surroundings", {}, folder=tmp_path, **guard)
    assert found["variables"].keys() <= {*environment(1, 0), "TMPDIR", "HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR",
                                         "PWD", "LC_CTYPE"}  # fmt: skip
    assert {found["cwd"], found["variables"]["HOME"], found["temporary"]} == {str(tmp_path)}


def test_what_is_left_in_a_folder_are_plain_files(guard, tmp_path):
    (tmp_path / "secret").write_text("of the parent")
    home = tmp_path / "home"
    home.mkdir()
    assert run("confined:links", {"secret": str(tmp_path / "secret")}, folder=home, **guard) == {}
    assert {path.name for path in home.iterdir()} - {"compiled", "shared-memory"} == {"plain", "folder"}
    assert [path.name for path in (home / "folder").iterdir()] == ["plain"]


@locked
def test_the_sandbox_shows_the_system_and_little_else(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train", "test"):
        (tmp_path / "data" / name).write_text(name)
    masked = Sandbox([HERE, tmp_path / "data"], masked=[tmp_path / "data" / "test"])
    found = run("confined:sights", {"data": str(tmp_path / "data")}, limits=ENTRY, sandbox=masked)
    assert found["train"] == "train" and not found["test"]
    assert set(found["packages"]) == {*sandbox.OURS, HERE.relative_to(ROOT).parts[0]}  # no `.git`, no leaderboard
    assert found["processes"] <= 2 + sandbox.PROCESSES
    assert found["interfaces"] == ["lo"] and found["host"] == "sandbox"
    assert int(found["capabilities"], 16) == 0
    masked = Sandbox([HERE, tmp_path / "data"], masked=[tmp_path / "data"])
    found = run("confined:sights", {"data": str(tmp_path / "data")}, limits=ENTRY, sandbox=masked)
    assert found["train"] is None and found["data"] == []


@locked
def test_a_mask_holds_by_whichever_name_a_file_is_called(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test").write_text("test")
    (tmp_path / "alias").symlink_to("data")
    (tmp_path / "data" / "train").symlink_to("test")
    alias = tmp_path / "alias"
    for masked in ([], [alias / "test"], [alias / "train"], [alias]):
        for readable in ([alias], [alias, tmp_path / "data"]):
            found = run(
                "confined:sights", {"data": str(alias)}, limits=ENTRY, sandbox=Sandbox([HERE, *readable], masked)
            )  # fmt: skip
            assert (found["train"], found["test"]) == (("test", "test") if not masked else (None, None))


@locked
def test_the_leaderboard_of_a_checkout_is_hidden(monkeypatch):
    """It lies within a package that workers import; here something that is surely there takes its place."""
    assert sandbox.HIDDEN == (ROOT / "leaderboard" / "submissions",)
    assert not (ROOT / "pyproject.toml").exists() or default_directory() in sandbox.HIDDEN
    references = ROOT / "mlperf" / "references"
    monkeypatch.setattr(sandbox, "HIDDEN", (references,))
    found = run("confined:sights", {"data": str(references)}, limits=ENTRY, sandbox=Sandbox([HERE]))
    assert list(references.iterdir()) and found["data"] == []
    handed = next(references.iterdir())  # what a job is handed it sees, wherever that lies
    found = run("confined:sights", {"data": str(references)}, limits=ENTRY, sandbox=Sandbox([HERE, handed]))
    assert found["data"] == [handed.name]


@linux
def test_a_process_that_dies_takes_all_of_its_workers_along(tmp_path):
    """Killed itself, the parent can end nothing any more: the keeper does."""
    start = f"from pathlib import Path; from mlperf.process import run; from mlperf.confinement.limits import ENTRY; \
run(\
'confined:family', {{}}, lambda event: print(event, flush=True), limits=ENTRY, folder=Path({str(tmp_path)!r}))"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])}
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, env=variables)
    try:
        assert b"born" in parent.stdout.readline()
        assert attacked.survivors(tmp_path) >= 3
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    for _ in range(100):
        if not attacked.survivors(tmp_path):
            break
        time.sleep(0.05)
    assert attacked.survivors(tmp_path) == 0


def test_one_s_own_workers_have_a_time_limit_and_are_not_looked_at(monkeypatch):
    monkeypatch.setattr("mlperf.process.OURS", Limits(seconds=1))
    before = threading.active_count()
    with pytest.raises(LimitExceeded, match=r"stopped at the limit seconds: 1\.\d s used, 1\.0 s allowed"):
        run("confined:sleep", {})
    assert threading.active_count() == before


def test_a_tree_is_all_below_and_is_ended():
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\
; print(flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        parent.stdout.readline()
        below = tree.descendants(os.getpid())
        assert parent.pid in below and len(tree.descendants(parent.pid)) == 1
        used = tree.resident_bytes([parent.pid])
        assert used == pytest.approx(psutil.Process(parent.pid).memory_info().rss, rel=0.05)
        assert 0 < tree.proportional_bytes([parent.pid]) <= used
        tree.end_below(parent.pid)
        assert not [pid for pid in tree.descendants(parent.pid) if tree.born(pid)]
        assert tree.born(parent.pid) is not None
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert tree.born(parent.pid) is None and tree.descendants(parent.pid) == []


def test_a_folder_is_weighed_without_following_links(tmp_path):
    (tmp_path / "within").mkdir()
    (tmp_path / "within" / "file").write_bytes(bytes(100_000))
    (tmp_path / "link").symlink_to("/usr")
    assert 100_000 <= folder_bytes(tmp_path) < 200_000
    assert folder_bytes(tmp_path / "missing") == 0


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (
            "echo 'bwrap: No permissions to create new namespace' >&2; exit 1",
            r"may not lock anything up here \(bwrap: No",
        ),
        ("exit 3", r"may not lock anything up here \(exit code 3\)"),
    ],
)
def test_a_bubblewrap_that_does_not_work_is_no_sandbox(tmp_path, monkeypatch, program, text):
    (tmp_path / "bwrap").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sandbox.bubblewrap.cache_clear()
    try:
        with pytest.raises(SandboxError, match=text):
            Sandbox().command(["true"], tmp_path)
        assert "--no-sandbox" in str(sandbox.available())
    finally:
        sandbox.bubblewrap.cache_clear()
