"""The loop that keeps times: the same bits as the other, and marks on Python's own clock, in order."""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter_ns

import numpy as np
import pytest

from kernels import machine, program, registry
from tests.kernels.running import normal


def two_steps() -> tuple[program.Program, list[np.ndarray]]:
    """A product and a ReLU, large enough for several threads."""
    build = program.Builder()
    x, w = build.input((512, 256)), build.input((256, 128))
    y = registry.lowering("linear")(build, x, w)
    return build.finish([registry.lowering("tanh")(build, y)]), [normal(512, 256), normal(256, 128)]


def ran(made: program.Program, inputs: list[np.ndarray], threads: int, timed: bool) -> tuple[np.ndarray, np.ndarray]:
    output, arena = np.full((512, 128), np.nan, np.float32), program.aligned(np.zeros(made.arena_bytes, np.uint8))
    rows = made.link([array.ctypes.data for array in (*inputs, output, arena)])
    marks = np.zeros(len(rows) + 1, np.int64)
    if timed:
        machine.timed_loop().execute(rows.ctypes.data, *rows.shape, threads, marks.ctypes.data)
    else:
        program.execute(rows, threads)
    return output, marks


@pytest.mark.parametrize("threads", (1, 2, 3))
def test_results_are_the_same_bits_and_marks_lie_in_order_on_pythons_clock(threads):
    made, inputs = two_steps()
    expected, _ = ran(made, inputs, 1, timed=False)
    for _ in range(3):
        before = perf_counter_ns()
        output, marks = ran(made, inputs, threads, timed=True)
        after = perf_counter_ns()
        np.testing.assert_array_equal(output.view(np.int32), expected.view(np.int32))
        marks = machine.timed_loop().in_ns(marks)
        assert len(marks) == len(made.steps) + 1 >= 3
        assert before <= marks[0] and marks[-1] <= after
        assert (np.diff(marks) > 0).all()


def test_an_empty_program_has_one_mark():
    marks = np.zeros(2, np.int64)
    machine.timed_loop().execute(0, 0, 3, 1, marks.ctypes.data)
    assert marks[0] > 0 and marks[1] == 0


def test_what_a_mark_costs_is_measured():
    timed = machine.timed_loop()
    costs = [timed.mark_ns.__wrapped__() for _ in range(9)]
    start = perf_counter_ns()
    marks = np.zeros(100_000, np.int64)
    timed.only_marks(len(marks), marks.ctypes.data)
    whole = (perf_counter_ns() - start) / len(marks)
    assert 0 < np.median(costs) < 2 * whole + 5  # interrupts, and pages touched first, are in the second alone
    assert 0.5 * whole < 2 * np.median(costs) + 5


def test_it_is_loaded_only_when_wanted_and_from_disk_in_the_next_process():
    code = (
        "import sys, numpy as np; from kernels import machine; machine.loop(); print('kernels.timed' in sys.modules)\n"
        "from time import perf_counter_ns as now; timed = machine.timed_loop(); marks = np.zeros(2, np.int64)\n"
        "before = now(); timed.only_marks(2, marks.ctypes.data)\n"
        "first, second = timed.in_ns(marks)\n"
        "print(before <= first <= second <= now(), sum(timed.execute.stats.cache_hits.values()))"
    )
    machine.timed_loop()
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "1"]
