"""Learning-rate schedules: where they start, peak and end, and what they refuse. PyTorch's are in tests/oracle."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch import CosineSchedule, OneCycleSchedule


def test_cosine_schedule():
    schedule = CosineSchedule(max_lr=1.0, min_lr=0.2, total_epochs=10)
    assert [schedule.get_lr(e) for e in (0, 5, 10, 99)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    with pytest.raises(ValueError, match="total_epochs is 0, it must be at least 1"):
        CosineSchedule(total_epochs=0)


def test_cosine_schedule_after_a_warm_up():
    schedule = CosineSchedule(max_lr=1.0, min_lr=0.2, total_epochs=14, warmup=4)
    assert [schedule.get_lr(e) for e in (0, 1, 3, 4, 9, 14, 99)] == pytest.approx([0.25, 0.5, 1, 1, 0.6, 0.2, 0.2])
    for warmup in (-1, 14):
        with pytest.raises(
            ValueError, match=rf"warmup is {warmup}, it must be from 0 to 13: an epoch at least is left"
        ):
            CosineSchedule(total_epochs=14, warmup=warmup)


@pytest.mark.parametrize("anneal, halfway_up, halfway_down", [("linear", 0.55, 0.505), ("cos", 0.55, 0.505)])
def test_one_cycle(anneal, halfway_up, halfway_down):
    """21 steps, of which 0 to 8 rise, so that 4 and 14 are the middles of the legs, where both kinds agree."""
    schedule = OneCycleSchedule(1.0, 21, pct_start=9 / 21, anneal=anneal, div_factor=10, final_div_factor=10)
    at = [schedule.get_lr(step) for step in (0, 4, 8, 14, 20, 21, 99)]
    assert at == pytest.approx([0.1, halfway_up, 1.0, halfway_down, 0.01, 0.01, 0.01])
    quarter = schedule.get_lr(2)
    assert quarter == pytest.approx(0.325 if anneal == "linear" else 0.1 + 0.9 * (1 - np.cos(np.pi / 4)) / 2)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_rises_once_and_falls_once(steps, share, anneal):
    """Also where a leg has no step at all, or its peak lies exactly on the first one."""
    schedule = OneCycleSchedule(0.1, steps, share, anneal)
    rates = np.array([schedule.get_lr(step) for step in range(steps + 3)])
    assert (rates > 0).all() and rates.max() <= 0.1 + 1e-12
    turns = np.diff(np.sign(np.diff(rates)[np.diff(rates) != 0]))
    assert np.count_nonzero(turns) <= 1 and (turns <= 0).all()


@pytest.mark.parametrize("wrong, says", [
    ({"total_steps": 0}, "OneCycleSchedule: total_steps is 0, it must be at least 1"),
    ({"pct_start": 1.5}, "pct_start is 1.5, a share of all steps: choose it from 0 to 1"),
    ({"anneal": "cosine"}, "anneal is 'cosine'; choose one of cos, linear"),
    ({"div_factor": 0}, "div_factor 0 and final_div_factor 10000.0 must be positive"),
])  # fmt: skip
def test_one_cycle_refuses(wrong, says):
    with pytest.raises(ValueError, match=says):
        OneCycleSchedule(**{"max_lr": 0.1, "total_steps": 10, **wrong})
