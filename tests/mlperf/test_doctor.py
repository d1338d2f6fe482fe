"""The doctor: judges what it sees by the leaderboard's rules, calls unknown what it cannot see, and never fails."""

import json
import os
import re

import pytest

from leaderboard import Blas, Env, Timer, cautions
from leaderboard.rules import code_of
from mlperf import cgroup, checkup, environment, process
from mlperf.__main__ import main
from mlperf.checkup import Check, Machine
from mlperf.commands import doctor
from mlperf.confinement import sandbox
from profiler import machine

CALM = Env(
    blas=Blas(vendor="openblas", version="0.3", threads=1), numba_threads=1, numba_threading_layer="omp", affinity_n=4,
    physical_cores=4, governor="performance", turbo=False, on_mains=True, load_1m=0.1, virtualised=False,
    timer=Timer(name="clock", resolution_ns=1, overhead_ns=40),
)  # fmt: skip


def remarks(**changes):
    return {check.name: check for check in checkup.remarks(Machine(CALM.model_copy(update=changes), 1))}


def test_a_calm_machine_has_no_remarks():
    assert {check.status for check in remarks().values()} == {"ok"}


@pytest.mark.parametrize(("changes", "name", "found", "says", "stands"), [
    ({"on_mains": False}, "mains", "on battery", "ON_BATTERY: Clocks are lowered", True),
    ({"governor": "powersave"}, "governor", "powersave", "GOVERNOR: Other governors", False),
    ({"turbo": True}, "turbo", "on", "TURBO: Turbo lasts", False),
    ({"load_1m": 3.2}, "load", "3.20, 4 CPUs", "LOAD: Whatever else runs", True),
    ({"cgroup_quota": 1.5}, "CPU quota", "1.5 CPUs", "CPU_QUOTA: A container", True),
    ({"virtualised": True}, "hardware", "virtual machine", "VIRTUALISED: Other guests", False),
])  # fmt: skip
def test_remarks_are_those_of_the_leaderboard(changes, name, found, says, stands):
    check = remarks(**changes)[name]
    assert (check.found, check.status, check.stands) == (found, "warn", stands)
    assert check.means.startswith(says) and check.remedy


def test_no_remark_on_machines_is_forgotten():
    assert {rule for _, rule, _, _ in checkup.REMARKS} == set(cautions.OF_THE_MACHINE) - {cautions.unknown_env}
    assert all(code_of(rule) for _, rule, _, _ in checkup.REMARKS)


def test_what_the_system_hides_is_unknown_and_stands_in_nobodys_way(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroup, "MINE", tmp_path / "hidden")
    monkeypatch.setattr(cgroup.sys, "platform", "linux")
    found = remarks(on_mains=None, governor=None, turbo=None, load_1m=None, virtualised=None)
    assert {check.status for check in found.values()} == {"unknown"}
    assert not any(check.stands for check in found.values())


def test_without_a_single_system_file_nothing_fails(monkeypatch, tmp_path):
    """As on another system: no /proc, no /sys, no load, no git, no process to ask."""
    for module, name in ((machine, "CPU_INFO"), (machine, "CPU_FOLDER"), (cgroup, "MOUNTED"), (cgroup, "MINE")):
        monkeypatch.setattr(module, name, tmp_path / "hidden")
    for name in ("sched_getaffinity", "getloadavg"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(environment.psutil, "sensors_battery", lambda: (_ for _ in ()).throw(OSError("no such sensor")))
    monkeypatch.setattr(environment, "git", lambda *arguments: None)
    monkeypatch.setattr(process, "run", lambda *_: (_ for _ in ()).throw(process.WorkerError("cannot start")))
    found = {check.name: check.status for check in checkup.look(1)}
    assert len(found) == doctor.CHECKS
    unknown = {name for name, status in found.items() if status == "unknown"}
    assert unknown >= {"mains", "governor", "turbo", "load", "hardware", "thread pools", "harness"}


def without(**changes):
    return Machine(CALM.model_copy(update=changes), 1)


@pytest.mark.parametrize(("check", "status", "found", "stands"), [
    (lambda: checkup.memory(2**29), "warn", "0.5 GiB free", True),
    (lambda: checkup.memory(2**33), "ok", "8.0 GiB free", False),
    (lambda: checkup.disk(2**80), "warn", r"GiB free for .*kernels", True),
    (lambda: checkup.affinity(Machine(CALM, 5)), "warn", r"4 of \d+ \(4 cores\)", True),
    (lambda: checkup.thread_pools(Machine(CALM, 1)), "ok", "openblas 0.3: 1, Numba omp: 1", False),
    (lambda: checkup.thread_pools(Machine(CALM, 2)), "warn", "openblas 0.3: 1, Numba omp: 1", True),
    (lambda: checkup.thread_pools(without(blas=Blas())), "unknown", "BLAS unknown", False),
    (lambda: checkup.timer(Machine(CALM, 1)), "ok", "clock: steps 1 ns, a reading 40 ns", False),
    (lambda: checkup.timer(without(timer=Timer(name="c", resolution_ns=1e6, overhead_ns=1))), "warn", r"1e\+06", False),
    (lambda: checkup.timer(without(timer=Timer())), "unknown", "unknown", False),
])  # fmt: skip
def test_what_each_check_says(check, status, found, stands):
    seen = check()
    assert (seen.status, seen.stands) == (status, stands) and re.search(found, seen.found)
    assert seen.status == "ok" or seen.means


def test_bubblewrap_matters_to_verify_alone(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.bubblewrap.cache_clear()
    check = checkup.bubblewrap()
    assert (check.status, check.stands) == ("warn", False)
    assert check.means == "verify refuses to replay others' entries: bubblewrap (bwrap) is not installed"
    assert "install Debian's package `bubblewrap`" in check.remedy
    sandbox.bubblewrap.cache_clear()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_key_that_others_can_read_is_told(tmp_path):
    path = tmp_path / "verify.pem"
    assert checkup.key(path) == Check("key", "none", "ok")
    path.write_text("secret")
    path.chmod(0o600)
    assert checkup.key(path).status == "ok"
    path.chmod(0o640)
    check = checkup.key(path)
    assert check.status == "warn" and f"chmod 600 {path}" in check.remedy


def test_a_changed_harness_stands_against_a_ranked_run(monkeypatch):
    for dirty, status in ((True, "warn"), (False, "ok"), (None, "unknown")):
        found = environment.harness().model_copy(update={"dirty": dirty})
        monkeypatch.setattr(environment, "harness", lambda found=found: found)
        assert (checkup.harness().status, checkup.harness().stands) == (status, dirty is True)
        monkeypatch.undo()


@pytest.mark.parametrize("against", [True, False])
def test_the_command(capsys, monkeypatch, against):
    shown = [Check("timer", "fine", "ok"), Check("mains", "unknown", "unknown", "the system does not tell"),
             Check("load", "3.2", "warn", "LOAD: busy", "wait", stands=against)]  # fmt: skip
    monkeypatch.setattr(checkup, "look", lambda threads: iter(shown))
    assert main(["doctor"]) == int(against)
    out = capsys.readouterr().out
    last = json.loads(out.splitlines()[-1])
    assert last == {
        "fit": not against, "against": ["load"] if against else [],
        "checks": {"timer": "ok", "mains": "unknown", "load": "warn"},
    }  # fmt: skip
    assert re.search(r"^load +warn +3.2 +LOAD: busy$", out, re.MULTILINE) and "-> wait" in out
    assert ("Against a ranked run: load." if against else "Nothing stands against a ranked run.") in out
    assert "(1 ok, 1 warnings, 1 unknown)" in out


def test_this_machine_is_judged(capsys):
    assert main(["doctor"]) in (0, 1)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(last["checks"]) == doctor.CHECKS
    assert last["checks"]["thread pools"] != "unknown"


def test_no_threads_are_no_run(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--threads", "0"])
    assert ended.value.code == 2 and "--threads is 0; a run has at least 1" in capsys.readouterr().err
