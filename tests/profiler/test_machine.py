"""What the system tells of a machine, from made-up system files."""

from __future__ import annotations

import pytest

from profiler import machine


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Eight CPUs: four cores of two threads with L1 and L2 of their own, two of which share each L3."""
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "CPU_FOLDER", tmp_path)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    caches = (("1", "Data", "48K", "0-1"), ("1", "Instruction", "32K", "0-1"), ("2", "Unified", "2M", "0,1"),
              ("3", "Unified", "32768K", "0-2,4"))  # fmt: skip
    for i, values in enumerate(caches):
        folder = tmp_path / f"cpu0/cache/index{i}"
        folder.mkdir(parents=True)
        for name, value in zip(("level", "type", "size", "shared_cpu_list"), values):
            (folder / name).write_text(f"{value}\n")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Quick 9: extra\n\nmodel name\t: other\n")
    return tmp_path


K, M = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    "threads, expected",
    [(1, (48 * K, 2 * M, 32 * M)), (2, (96 * K, 4 * M, 64 * M)), (4, (192 * K, 8 * M, 64 * M)),
     (8, (192 * K, 8 * M, 64 * M))],
)  # fmt: skip
def test_caches_of_several_threads(system, threads, expected):
    assert machine.caches(threads) == tuple(zip(("L1", "L2", "L3"), expected))


def test_the_name_of_the_cpu(system):
    assert machine.cpu_model() == "Quick 9: extra"


def test_what_the_system_hides_is_not_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "CPU_FOLDER", tmp_path)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert (machine.cpu_info(), machine.cpu_model(), machine.caches(2)) == ({}, None, ())


def test_a_cache_without_a_size_is_left_out(system):
    (system / "cpu0/cache/index3/size").unlink()
    (system / "cpu0/cache/index2/shared_cpu_list").unlink()
    assert machine.caches(1) == (("L1", 48 * K), ("L2", 2 * M))
