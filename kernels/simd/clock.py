"""The clock that Python's `time.perf_counter_ns` reads, for compiled code.

It is called by its name, which the linker finds anew in every process, so code that reads it can be kept on disk.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from kernels.simd.raw import I32, I64, emitted


def _posix_clock(builder: Any) -> Any:
    """clock_gettime(clock, {seconds, nanoseconds}) in nanoseconds."""
    # On macOS perf_counter is mach_absolute_time, which stands still while the machine sleeps.
    which = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)
    kind = ir.FunctionType(I32, [I32, I64.as_pointer()])
    read = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
    now = cgutils.alloca_once(builder, I64, size=2)
    builder.call(read, [I32(which), now])
    seconds, rest = builder.load(now), builder.load(builder.gep(now, [I64(1)]))
    return builder.add(builder.mul(seconds, I64(10**9)), rest)


def _windows_clock(builder: Any) -> Any:
    """QueryPerformanceCounter(&ticks)."""
    kind = ir.FunctionType(I32, [I64.as_pointer()])
    read = cgutils.get_or_insert_function(builder.module, kind, "QueryPerformanceCounter")
    now = cgutils.alloca_once(builder, I64)
    builder.call(read, [now])
    return builder.load(now)


def _ticks_per_s() -> int:
    if os.name != "nt":
        return 10**9
    frequency = ctypes.c_int64()
    ctypes.WinDLL("kernel32").QueryPerformanceFrequency(ctypes.byref(frequency))  # type: ignore[attr-defined]
    return frequency.value


TICKS_PER_S = _ticks_per_s()
# () -> the clock now, in ticks
clock = emitted(types.int64, [], _windows_clock if os.name == "nt" else _posix_clock)
