"""Choosing by time: turns are fair, ties go to the simpler."""

import time

import pytest

from tinytorch.perf import tuning
from tinytorch.perf.tuning import fastest, timings


def test_the_quicker_is_found():
    times = timings({"slow": lambda: time.sleep(0.002), "quick": lambda: None}, rounds=3)
    assert times["slow"] > 1e6 > times["quick"]
    assert fastest(times) == "quick"


def test_candidates_take_turns_and_the_direction_changes(monkeypatch):
    monkeypatch.setattr(tuning, "calls_per_round", lambda run: 1)
    asked = []
    timings({name: lambda name=name: asked.append(name) for name in "ab"}, rounds=4)
    assert "".join(asked) == "baabbaab"


def test_ties_go_to_the_simpler_one():
    assert fastest({"simple": 104.0, "clever": 100.0}) == "simple"
    assert fastest({"simple": 106.0, "clever": 100.0}) == "clever"
    assert fastest({"a": 120.0, "b": 103.0, "c": 100.0}) == "b"
    with pytest.raises(ValueError, match="no candidates; name at least one"):
        fastest({})
