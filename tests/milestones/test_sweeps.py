"""How costs grow: the fit against data made by hand, the counting of a case, the table and what programs get."""

from __future__ import annotations

import numpy as np
import pytest

from milestones import plots
from milestones.report import training_case
from milestones.sweeps import Case, Point, Sweep, Swept, fit, swept
from tinytorch import SGD, Linear, MSELoss, Sequential, Trainer, use_backend

SIZES = (4, 16, 64, 256, 1024)


def case(width):
    model = Sequential(Linear(width, 1))
    trainer = Trainer(model, SGD(model.parameters(), lr=0.1), MSELoss())
    return training_case(trainer, np.ones((8, width), np.float32), np.ones((8, 1), np.float32))


def made(apart=""):
    """Points whose costs are powers of their sizes: FLOPs 2, time 1 but for the first two, memory 0.5."""
    points = [Point(n, n + 1, 3 * n**2, 100.0 * max(n, 64), round(1000 * n**0.5), n) for n in SIZES]
    return Swept(Sweep("width", "a step", SIZES, case, apart=apart), tuple(points), ("width 4: it spread",))


def test_a_power_is_found_exactly():
    for exponent in (-0.5, 0.0, 1.0, 1.7, 3.0):
        found = fit(SIZES, [5.0 * size**exponent for size in SIZES])
        assert found.exponent == pytest.approx(exponent, abs=1e-12) and found.spread < 1e-12 and found.points == 5


def test_the_spread_is_the_standard_error_of_the_slope():
    # Logarithms 0, 1, 2 and 0, 1.3, 2: slope 1, residuals -0.1, 0.2, -0.1, so sqrt(0.06 / 1 / 2).
    found = fit(np.exp([0, 1, 2]), np.exp([0, 1.3, 2]))
    assert found.exponent == pytest.approx(1) and found.spread == pytest.approx(np.sqrt(0.03))
    assert str(found) == "1.00 ± 0.17"


@pytest.mark.parametrize(("sizes", "costs"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, 3], [1, 0, 2])])
def test_what_has_no_power_is_refused(sizes, costs):
    with pytest.raises(ValueError, match=f"{len(sizes)} sizes and {len(costs)} costs; give as many of each"):
        fit(sizes, costs)


def test_the_last_points_have_an_exponent_of_their_own():
    found = made()
    assert found.fitted("FLOPs").exponent == pytest.approx(2)
    assert found.fitted("time", 3).exponent == pytest.approx(1)
    assert 0.3 < found.fitted("time").exponent < 0.7 and found.fitted("time").spread > 0.05


def test_the_table(golden):
    golden("milestone_sweep", f"{made(apart='attention')}\n")


def test_programs_get_points_and_exponents():
    found = made().figures()
    assert found["points"][0] == {
        "size": 4, "parameters": 5, "flops": 48, "ns": 6400.0, "memory_bytes": 2000, "apart": 4,
    }  # fmt: skip
    assert found["exponents"]["FLOPs"] == {
        "all": {"exponent": 2.0, "spread": 0.0, "points": 5}, "last_3": {"exponent": 2.0, "spread": 0.0, "points": 3},
    }  # fmt: skip
    assert set(found["exponents"]) == {"FLOPs", "time", "memory"} and found["doubts"] == ["width 4: it spread"]


def test_a_sweep_counts_and_times_every_size():
    sweep = Sweep("width", "a step", (*SIZES, 4096), case, quick=5, apart="mat")
    with use_backend("numpy"):
        found = swept(sweep, quick=True)
    assert [point.size for point in found.points] == list(SIZES) and found.brief
    assert found.title == "width: a step, measured briefly"
    for point in found.points:
        assert point.parameters == point.size + 1 and point.ns > 1000
        # forward and the weight's gradient, 2 * 8 * width each, without a gradient of the input
        assert 32 * point.size < point.flops < 50 * point.size + 200
        assert point.memory_bytes > 4 * point.size, "the gradient is made anew"
    assert found.fitted("FLOPs", 3).exponent == pytest.approx(1, abs=0.05)


def test_what_holds_its_own_memory_says_so():
    calls = []
    build = lambda size: Case(lambda: calls.append(size), lambda: None, 1, 10 * size)  # noqa: E731
    found = swept(Sweep("batch", "a query", SIZES, build), quick=True)
    assert [point.memory_bytes for point in found.points] == [10 * size for size in SIZES]
    assert set(calls) == set(SIZES) and set(found.costs()) == {"time", "memory"}, "nothing is computed by ops"


def test_the_plot_shows_points_and_both_lines():
    figure = plots.scaling([made(), made(apart="attention")])
    assert len(figure.axes) == 8
    flops = figure.axes[0]
    points, every, last = flops.lines
    np.testing.assert_array_equal(points.get_xydata(), [(n, 3 * n**2) for n in SIZES])
    np.testing.assert_allclose(every.get_xydata(), points.get_xydata())
    np.testing.assert_allclose(last.get_xydata(), points.get_xydata()[-3:])
    assert [text.get_text() for text in flops.get_legend().get_texts()] == ["all: 2.00 ± 0.00", "last 3: 2.00 ± 0.00"]
    assert flops.get_xscale() == flops.get_yscale() == "log" and not figure.axes[3].axison
