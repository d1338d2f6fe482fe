"""Freed memory is kept where that can be asked for, and the user's own choice stands."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from kernels import memory

FAULTS = """
import resource, numpy as np
from kernels import machine
{load}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.empty(48 << 20, np.uint8)[:] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
glibc = pytest.mark.skipif(
    os.name != "posix" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc"
)


def page_faults(load: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(load=load)], env={**os.environ, **environment}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


@glibc
def test_large_arrays_come_back_without_page_faults():
    assert page_faults("machine.loop()") < 1000
    assert page_faults("") >= 100, "otherwise this test sees nothing"


@glibc
def test_the_users_choice_stands(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    assert memory.keep_freed_memory() is False
