"""Layers with blocks of zeros: what is drawn, that all contestants agree on it, and where the break-even lies."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import sparse
from benchmarks.contest import difference
from benchmarks.libraries import ours, with_numpy
from benchmarks.work import Affine, Blocked, Conv
from tests.benchmarks.results import blocked


@pytest.mark.parametrize("layer", [Affine(64, 70, 3), Conv(8, 40, 5, 2)])
@pytest.mark.parametrize("kept", [100, 25])
def test_contestants_compute_the_same(layer, kept):
    work = Blocked(layer, kept)
    w = work.arrays()[1]
    assert 0.8 * kept < 100 * np.count_nonzero(w) / w.size < 1.2 * kept + 0.1
    right = with_numpy.blocked(work, 1).answer()
    for pair in sparse.PAIRS:
        for each in pair:
            answer = ours.IMPLEMENTATIONS[Blocked, each.variant](work, 1).answer()
            assert difference(answer, right, each.check) == "", each


def test_skipping_and_computing_all_are_different_kernels():
    work = Blocked(Affine(64, 64, 8), 100)
    for name, kernel in (("dense", "product"), ("blocks", "product_blocks"),
                         ("int8 dense", "product_int8"), ("int8 blocks", "product_blocks_int8")):  # fmt: skip
        run = ours.IMPLEMENTATIONS[Blocked, name](work, 1).run
        linked = run.__defaults__[0][0]
        assert [step.kernel.name for step in linked.kept[0].steps] == [kernel]


@pytest.mark.parametrize("ratios, zeros", [
    ({100: 1.25, 75: 1.0, 50: 0.75}, 25),
    ({100: 1.5, 50: 0.5}, 25),
    ({100: 0.9, 50: 0.5}, 0),
    ({100: 1.2, 10: 1.01}, None),
    ({100: 0.9, 75: 1.1, 50: 0.9}, 37.5),  # only from here on for certain
])  # fmt: skip
def test_break_even(ratios, zeros):
    assert sparse.break_even(ratios) == (zeros if zeros is None else pytest.approx(zeros))


def test_the_summary_says_what_was_measured_and_what_failed(golden):
    results = blocked({100: (1.0, 1.1), 50: (0.5, 0.9)}) + blocked({100: (1.2, 1.3), 50: (1.1, 0.7)}, Conv(1, 2, 3, 4))
    results[-1].failed["numpy eager"] = "no reason"
    golden("benchmark_blocks", sparse.summary(results) + "\n")


def test_one_thread_tells():
    assert sparse.cases(2, quick=False) == []
    assert {case.work.layer for case in sparse.cases(1, quick=False)} == set(sparse.LAYERS)
    assert {case.work.kept for case in sparse.cases(1, quick=True)} == {100, 25}
