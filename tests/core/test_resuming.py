"""Training that is killed, by real processes, and goes on: the bits of a training that was never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def started(folder: Path, *kill: str, backend: str = "numba") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.core.resumable", str(folder), *kill],
        cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "TINYTORCH_BACKEND": backend},
    )  # fmt: skip


def results(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    return {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}


def assert_same(folder: Path, straight: Path) -> None:
    ours, theirs = results(folder), results(straight)
    assert ours.keys() == theirs.keys() and ours
    for name in theirs:
        np.testing.assert_equal(ours[name], theirs[name], err_msg=name)


@pytest.fixture(scope="module", params=["numpy", "numba"])
def straight(request, tmp_path_factory):
    """A backend, and what it gives where nobody disturbs it."""
    folder = tmp_path_factory.mktemp(request.param)
    with started(folder, backend=request.param) as process:
        assert process.wait() == 0
    assert len(results(folder)) == (4 if request.param == "numba" else 2)
    return request.param, folder


@pytest.mark.parametrize("straight", ["numpy"], indirect=True)
@pytest.mark.parametrize("place", ["write", "fsync", "replace", "done"])
def test_killed_while_a_checkpoint_is_written(straight, tmp_path, place):
    """At the third checkpoint of the first run: half of it, all but not in its place, or just there."""
    backend, without = straight
    with started(tmp_path, f"{place}:3", backend=backend) as process:
        assert process.wait() == -signal.SIGKILL
    left = {path.name for path in tmp_path.iterdir()}
    assert "adam-eager.checkpoint" in left and (len(left) == 1) == (place == "done")
    old = time.time() - 60
    for path in tmp_path.iterdir():
        os.utime(path, (old, old))
    with started(tmp_path, backend=backend) as process:
        assert process.wait() == 0
    assert_same(tmp_path, without)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "what was half written is removed"


@pytest.mark.slow  # some eight processes, one after another
@pytest.mark.parametrize("straight", ["numba"], indirect=True)
def test_killed_at_any_moment(straight, tmp_path):
    """Again and again, each time a little later than it takes to begin, until it comes to its end in between."""
    backend, without = straight
    rng, killed = np.random.default_rng(), 0
    for attempt in range(100):
        with started(tmp_path, backend=backend) as process:
            assert process.stdout.readline() == b"ready\n"
            try:
                # The last attempts are left alone: a slow machine does not get far in so short a time.
                process.wait(rng.uniform(0, 0.2 + 0.25 * attempt) if attempt < 6 else None)
            except subprocess.TimeoutExpired:
                process.kill()
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == 0:
            break
    assert killed, "nobody was killed, so nothing was tested"
    assert_same(tmp_path, without)
