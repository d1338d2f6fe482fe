"""Facts of the time beside today's figures."""

from __future__ import annotations

import pytest

from milestones import eras
from milestones.eras import Fact

FACTS = (
    Fact("weights", 60_000, "", "parameters", "A 1998, table 1"),
    Fact("time to train", 216_000, "s", "training_s", "B, section 2"),
    Fact("operations", 12_000, "/s", "flops_per_s", "A 1998, table 1"),
    Fact("FLOPs", 3.8e25, "", "flops", "B, section 2"),
    Fact("bytes", 1 << 30, "bytes", "bytes", "B, section 2"),
    Fact("photocells", 400, "", "", "C"),
)
OURS = {"parameters": 6090, "training_s": 0.9, "flops_per_s": 24e6, "flops": 1e9, "bytes": 2546, "unused": 1}


def test_the_table(golden):
    golden("milestone_era", f"{eras.table(FACTS, OURS)}\n")


def test_a_figure_that_nobody_measured_is_named():
    with pytest.raises(ValueError, match="parameters was not measured; measured: training_s, flops_per_s"):
        eras.table(FACTS, {key: value for key, value in OURS.items() if key != "parameters"})


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(0, "0"), (1, "1"), (2.34, "2.3"), (0.5, "1 / 2"), (1 / 9.85, "1 / 9.8"), (80_712, "81.0 k"),
     (1 / 2.7e25, "1 / 2.7e25")],
)  # fmt: skip
def test_factors_are_read_at_a_glance(ratio, shown):
    assert eras.factor(ratio) == shown


@pytest.mark.parametrize("year", eras.ERAS)
def test_each_fact_has_a_source_with_a_year_and_a_place(year):
    for fact in eras.ERAS[year]:
        assert fact.then > 0 and fact.unit in ("", "s", "/s", "bytes")
        assert len(fact.source) > 20
    assert len({fact.what for fact in eras.ERAS[year]}) == len(eras.ERAS[year]) >= 3
