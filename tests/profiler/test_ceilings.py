"""Ceilings of this machine: measured in sane relations, kept on disk, measured again where they are not to be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernels import cpu
from profiler import ceilings as measuring
from profiler.ceilings import ceilings
from profiler.roofline import levels
from tests.profiler.test_roofline import MACHINE
from tinytorch.engine import dispatch, ops

ROOT = Path(__file__).parents[2]
K, M = 1 << 10, 1 << 20
DIFFER = ("rates hardly reached again: 1 of 2, least of all 'b': a quarter of the rounds came to 75% of its best; "
          "measure again when no other programs run")  # fmt: skip


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """An empty cache folder, and a list of the thread counts that were measured; what is measured is made up."""
    counts: list[int] = []

    def measure(threads):
        counts.append(threads)
        return MACHINE.model_copy(update={"threads": threads, "call_ns": 100.0 + len(counts)})

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(measuring, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(measuring, "_unkept", {})
    return counts


# -- kept on disk ------------------------------------------------------------------------------------------------------


def test_measured_once_for_each_number_of_threads(measured):
    first = ceilings(1)
    assert ceilings(1) == first and ceilings(2).threads == 2
    assert measured == [1, 2]


def test_again(measured):
    first = ceilings(1)
    second = ceilings(1, again=True)
    assert measured == [1, 1] and second != first
    assert ceilings(1) == second


@pytest.mark.parametrize("content", [b"", b'{"cpu": "Quick', b"{}", b"\xff\xfe", b"[1]"])
def test_a_damaged_file_is_measured_anew(measured, content):
    ceilings(1)
    measuring.place(1).write_bytes(content)
    assert ceilings(1).call_ns == 102 and ceilings(1).call_ns == 102
    assert measured == [1, 1]


@pytest.mark.parametrize("what", ["cpu_model", "caches", "cores", "source_key", "this file"])
def test_another_machine_or_other_code_is_measured_anew(measured, monkeypatch, tmp_path, what):
    ceilings(1)
    if what == "this file":
        (tmp_path / "other.py").write_text("another way to measure")
        monkeypatch.setattr(measuring, "__file__", str(tmp_path / "other.py"))
    else:
        owner = {"cores": measuring.ahead, "source_key": measuring.cache}.get(what, measuring)
        monkeypatch.setattr(owner, what, lambda *_: "another")
    ceilings(1)
    assert measured == [1, 1]


def test_where_nothing_can_be_kept_it_is_measured_and_said(measured, tmp_path, capsys):
    (tmp_path / "cache").write_text("a file in the way")
    first = ceilings(1)
    assert first.call_ns == 101 and ceilings(1) == first and measured == [1]
    said = capsys.readouterr().err
    assert said.startswith("ceilings: measured, but not kept for the next time: ") and said.count("\n") == 1
    assert ceilings(1, again=True).call_ns == 102


def test_a_full_disk_loses_nothing_that_was_measured(measured, monkeypatch, capsys):
    def full(*_):
        raise OSError("cannot write: no space left; free some space")

    monkeypatch.setattr(measuring, "write_atomically", full)
    assert ceilings(1) == ceilings(1) and measured == [1]
    assert "not kept for the next time: cannot write: no space left" in capsys.readouterr().err


TOGETHER = """
import sys, time
from pathlib import Path
from profiler import ceilings
from tests.profiler.test_roofline import MACHINE

def measure(threads):
    with open(sys.argv[1] + "/log", "a") as log:
        log.write("measured\\n")
    time.sleep(0.5)
    return MACHINE

ceilings.measure = measure
ceilings.user_cache = lambda: Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(ceilings.ceilings(2) == MACHINE)
"""


def test_of_processes_at_once_one_measures_and_the_others_wait_for_it(tmp_path):
    pytest.importorskip("fcntl")
    command, pipe = [sys.executable, "-c", TOGETHER, str(tmp_path)], subprocess.PIPE
    crowd = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    try:
        for each in crowd:
            assert each.stdout.readline() == "ready\n"
        for each in crowd:
            each.stdin.write("go\n")
            each.stdin.flush()
        assert [each.communicate(timeout=60)[0] for each in crowd] == ["True\n"] * 3
    finally:
        for each in crowd:
            each.kill()
            each.wait()
    assert (tmp_path / "log").read_text() == "measured\n"
    assert sorted(path.suffix for path in (tmp_path / "ceilings").iterdir()) == [".json"]


# -- measuring ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """This machine, in a hurry: as few rounds as a relation of several times needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "ROUNDS", 3)
        patch.setattr(measuring, "SAMPLE_NS", 200_000)
        return measuring.measure(1)


def test_relations_that_hold_on_every_machine(real):
    """Left wide: others may use this machine meanwhile, for whole samples."""
    assert (real.threads, real.simd) == (1, cpu.PATH)
    assert real.bandwidth[0][1] > real.bandwidth[-1][1]
    assert real.call_ns > 5 * real.step_ns
    assert [level.name for level in levels(real)][-1] == "main memory"
    if cpu.VNNI:
        assert real.int8_ops_per_s > real.float32_flops_per_s


def test_working_sets_reach_from_the_first_cache_beyond_the_last(real):
    sizes = [size for size, _ in real.bandwidth]
    assert sizes[0] == measuring.SMALLEST_BYTES and all(b == 2 * a for a, b in zip(sizes, sizes[1:]))  # noqa: RUF007


def free(monkeypatch, nbytes):
    monkeypatch.setattr(measuring.psutil, "virtual_memory", lambda: type("Memory", (), {"available": nbytes}))


@pytest.mark.parametrize(
    "known, available, largest",
    [
        ((), 64 << 30, 256 * M),
        ((("L1", 32 * K), ("L3", 96 * M)), 64 << 30, 512 * M),  # four times the last cache, up to a power of two
        ((("L3", 96 * M),), 400 * M, 64 * M),  # at most a quarter of what is free
        ((), 1000, 16 * K),
    ],
)
def test_the_largest_working_set(monkeypatch, known, available, largest):
    free(monkeypatch, available)
    assert measuring.working_sets(known)[-1] == largest


def test_whoever_watches_meanwhile_sees_nothing_of_it():
    one = np.ones(1, np.float32)
    seen: list[dispatch.Event] = []
    with dispatch.watch(seen.append):
        with measuring.unwatched():
            ops.add(one, one)
        assert not seen
        ops.add(one, one)
    assert len(seen) == 1 and not dispatch.watchers


def test_more_threads_than_there_are():
    with pytest.raises(ValueError, match=r"threads: 10000 asked for, and this process may have 1 to \d+"):
        measuring.measure(10_000)


def test_doubts():
    quiet, busy = [10.0] * 7 + [9.0], [10.0, 7.5, *[7.0] * 6]
    assert measuring.doubts({"a": quiet}, M, (("L1", 32 * K),)) == ()
    assert measuring.doubts({"a": quiet, "b": [10.0, 7.6, 7.5, *[7.0] * 5]}, M, ()) == (DIFFER,)
    assert len(measuring.doubts({"a": busy, "b": busy}, 64 * M, (("L3", 32 * M),))) == 2
    assert measuring.doubts({}, 64 * M, (("L3", 32 * M),)) == (
        "main memory: the largest working set was 64.0 MiB, since too little memory is free, and L3 holds 32.0 MiB: "
        "its rate may be partly that cache's",
    )


def test_a_call_lasts_as_long_as_a_sample_however_long_a_round_is():
    made: list[int] = []

    def make(rounds):
        made.append(rounds)
        return lambda: sum(range(1000 * rounds))

    probe = measuring.lasting(make, 7)
    assert probe.work == 7 * made[-1] and made[0] == 1 and made[-1] > 1
