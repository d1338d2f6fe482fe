"""The same seed gives the same weights, bit for bit: for one thread and for two, eager and captured, run after run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # three processes, each of which captures eight steps
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs():
    """What three processes give, one with one thread and two with two, by net and optimizer, then by way."""
    found = []
    for threads in (1, 2, 2):
        done = subprocess.run(
            [sys.executable, "-m", "tests.core.repeatable"], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_NUM_THREADS": str(threads), "TINYTORCH_BACKEND": "numba"},
        )  # fmt: skip
        found.append(json.loads(done.stdout))
    return found


def test_run_after_run_and_for_one_thread_or_two(runs):
    one, two, again = runs
    assert two == again, "two runs with two threads"
    assert one == two, "one thread and two"


def test_eager_and_captured(runs):
    for net, ways in runs[1].items():
        assert len(set(ways.values())) == 1, (net, ways)


def test_nets_are_not_confused(runs):
    """The tests above could not fail if nothing were trained."""
    digests = [ways["eager"] for ways in runs[0].values()]
    assert len(set(digests)) == len(digests) == 4
