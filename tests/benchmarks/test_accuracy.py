"""The race to an accuracy: when the goal counts as reached, what is told of it, and a small race on made-up images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from io import StringIO

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from benchmarks import accuracy, plots, table
from benchmarks.accuracy import CAPTURED, GROUP, TORCH_EAGER, Race, case, time_to_goal
from benchmarks.accuracy_work import Lap, Training
from benchmarks.contest import FULL, Case, Contest, Spread, difference
from benchmarks.libraries import TORCH, accuracy_ours
from benchmarks.targets import evaluate
from tests.benchmarks.results import latency
from tests.benchmarks.test_contest import INSTALLED
from tinytorch.datasets import cifar

S = 1e9
OURS, TORCHS = str(CAPTURED), str(TORCH_EAGER)
NET = "cnn-cifar10"


def race(ours, theirs, ours_s=(20, 20, 20), theirs_s=(40, 44, 42), goal=0.75, failed=None):
    """A race of as many epochs as accuracies are given, with 1 s of waiting, 3 s of tests and 2 s (0.5 s) of start."""
    work = Training(NET, epochs=3, goal=goal)
    made = Race(Case(GROUP, work, (CAPTURED, TORCH_EAGER), TORCH_EAGER), 2, failed=failed or {})
    for name, accuracies, seconds, start_s in ((OURS, ours, ours_s, 2), (TORCHS, theirs, theirs_s, 0.5)):
        if accuracies:
            made.times_ns[name] = [second * S for second in seconds]
            made.laps[name] = [Lap(a, int(3 * S), int((i + 1) * S), int(start_s * S)) for i, a in enumerate(accuracies)]
    return made


# -- when the goal is reached ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracies", "reached"),
    [
        ((0.5, 0.74999, 0.78), (3, 60 * S)),
        ((0.5, 0.75, 0.78), (2, 40 * S)),  # the goal itself is enough
        ((0.8, 0.6, 0.78), (1, 20 * S)),  # the first time counts, whatever comes after
        ((0.75, 0.75, 0.75), (1, 20 * S)),
        ((0.5, 0.6, 0.74999), None),
    ],
)
def test_the_first_epoch_at_the_goal_counts(accuracies, reached):
    assert race(accuracies, (0.1, 0.1, 0.1)).reached(OURS) == reached


def test_without_a_goal_nothing_is_reached():
    assert race((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), goal=None).reached(OURS) is None


def test_who_did_not_take_part_reached_nothing():
    assert race((0.8, 0.8, 0.8), ()).reached(TORCHS) is None


def test_the_ratio_is_that_of_training_and_its_range_ends_at_that_with_the_start():
    made = time_to_goal(race((0.6, 0.76, 0.78), (0.6, 0.7, 0.75)))
    with_start = (126 + 0.5) / (40 + 2)
    assert made == Spread(126 / 40, with_start, 126 / 40)


@pytest.mark.parametrize("accuracies", [((0.6, 0.7, 0.76), (0.6, 0.7, 0.74)), ((0.6, 0.7, 0.74), (0.6, 0.7, 0.76))])
def test_there_is_no_ratio_where_one_never_reaches_it(accuracies):
    assert time_to_goal(race(*accuracies)) is None
    assert time_to_goal(latency()) is None


# -- what is told ------------------------------------------------------------------------------------------------------

WON = race((0.6, 0.76, 0.78), (0.6, 0.7, 0.75))
LOST = race((0.6, 0.7, 0.7499), (0.6, 0.7, 0.76), theirs_s=(29, 29, 31))


def test_targets_are_the_time_to_the_goal_and_that_of_an_epoch():
    epoch, goal = evaluate([WON])
    assert epoch.name == "cnn-cifar10, an epoch: torch eager / ours" and epoch.measured == Spread(2.1, 2.0, 2.2)
    assert goal.name == "cnn-cifar10 to 75%: torch eager / ours" and goal.measured.median == 3.15
    assert (epoch.required, goal.required, epoch.reached, goal.reached) == (1.5, 1.5, True, True)
    epoch, goal = evaluate([LOST])
    assert (epoch.measured.median, epoch.reached) == (1.45, False)
    assert goal.measured is None and not goal.reached


def test_a_race_without_a_goal_is_judged_by_its_epochs():
    assert [target.name for target in evaluate([race((0.1,) * 3, (0.1,) * 3, goal=None)])] == [
        "cnn-cifar10, an epoch: torch eager / ours"
    ]


def test_a_contestant_that_failed_is_missed_and_told():
    made = race((), (), failed={OURS: "wrong: it differs by 2.0e-02 of the largest value"})
    assert [(target.measured, target.reached) for target in evaluate([made])] == [(None, False)] * 2
    told = table.accuracy_table([made])
    assert f"{made.case}, tinytorch captured: wrong: it differs by 2.0e-02" in told


def test_the_table(golden):
    without = race((0.1, 0.2, 0.3), (0.1, 0.2, 0.25), goal=None)
    golden("benchmark_race", "\n\n".join(table.accuracy_table([made]) for made in (WON, LOST, without)) + "\n")


def test_the_document_keeps_every_epoch():
    (made,) = json.loads(json.dumps(table.document([WON], evaluate([WON]), {})))["results"]
    assert made["times_ns"][TORCHS] == [40 * S, 44 * S, 42 * S]
    assert [lap["accuracy"] for lap in made["laps"][OURS]] == [0.6, 0.76, 0.78]
    (other,) = table.document([latency()], [], {})["results"]
    assert "laps" not in other


def test_the_plot_shows_both_curves_and_where_they_cross(tmp_path):
    assert "benchmarks_accuracy.png" in [path.name for path in plots.draw([WON], evaluate([WON]), tmp_path)]
    axes = plots.accuracy_figure([WON, LOST]).axes
    ours, theirs = (line for line in axes[0].lines if len(line.get_xdata()) == 3)
    assert list(ours.get_xdata()) == [20, 40, 60] and list(ours.get_ydata()) == [0.6, 0.76, 0.78]
    assert list(theirs.get_xdata()) == [40, 84, 126]
    assert [text.get_text() for text in axes[0].texts] == [" 40.0 s, epoch 2", " 126 s, epoch 3"]
    assert [text.get_text() for text in axes[1].texts] == [" 89.0 s, epoch 3"]  # ours never reaches it


def test_there_is_no_plot_where_nobody_raced():
    assert plots.accuracy_figure([]) is None
    assert plots.accuracy_figure([race((), ())]) is None


# -- a small race ------------------------------------------------------------------------------------------------------


@given(images=st.integers(128, 60_000), turns=st.integers(1, 40))
def test_the_turns_of_an_epoch_are_all_its_steps(images, turns):
    work = Training(NET, 1, images=images, turns=turns)
    parts = work.parts()
    assert sum(parts) == work.steps and len(parts) == turns
    assert max(parts) - min(parts) <= 1


def test_quick_is_a_short_race_without_a_goal(monkeypatch):
    monkeypatch.setenv("TINYTORCH_DATA", "somewhere")
    full, quick = (case(quick).work for quick in (False, True))
    assert (full.images, full.tested, full.goal) == (50_000, 10_000, 0.75)
    assert full.epochs == full.recipe.epochs
    assert (quick.epochs, quick.images, quick.goal) == (2, 5_000, None)
    assert full.folder == quick.folder == "somewhere"
    monkeypatch.setenv("TINYTORCH_DATA", "")
    assert case(True).work.folder is None


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A race of two epochs of a few steps, on files like CIFAR-10's that hold the same 500 images over and over."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        root = tmp_path_factory.mktemp("data")
        rng = np.random.default_rng(0)
        records = rng.integers(0, 256, (500, cifar.RECORD), np.uint8)
        records[:, 0] %= 10
        content = np.tile(records, (cifar.RECORDS // len(records), 1)).tobytes()
        (root / cifar.FOLDER).mkdir()
        for name in (*cifar.TRAIN, cifar.TEST):
            (root / cifar.FOLDER / name).write_bytes(content)
        yield Training(NET, epochs=2, images=400, tested=300, turns=2, folder=str(root))


def test_everybody_is_given_the_same_batches(small):
    one, other = (list(replace(small).batches()) for _ in range(2))
    assert len(one) == small.steps > 1
    for a, b in zip(one, other, strict=True):
        assert a[0].data.tobytes() == b[0].data.tobytes() and a[1].data.tobytes() == b[1].data.tobytes()
        assert a[0].shape == (128, 3, 32, 32)
    assert sum(len(y) for _, y in small.tests()) == small.tested


def test_a_run_ends_with_its_last_turn_and_tells_what_it_did(small):
    made = accuracy_ours.captured(small, 1)
    for _ in range(small.epochs * small.turns):
        with made.around():
            made.run(None)
    lap = made.tell()
    assert 0 <= lap.accuracy <= 1 and lap.accuracy * small.tested == pytest.approx(round(lap.accuracy * small.tested))
    assert min(lap.tested_ns, lap.waited_ns, lap.start_ns) > 0
    with pytest.raises(StopIteration), made.around():
        made.run(None)


@pytest.mark.oracle
@pytest.mark.slow  # imports PyTorch, captures, and learns two epochs twice
def test_pytorch_learns_the_same(small):
    """Losses of both epochs: where roundings of a step grow, they stay small for so few."""
    pytest.importorskip("torch")
    from benchmarks.libraries import accuracy_torch, with_torch

    ours, theirs = accuracy_ours.Captured(small), accuracy_torch.Eager(small, with_torch.formats(4)[1])
    loader = small.batches()
    for _ in range(small.epochs):
        for x, y in loader:
            assert ours.learn(x.data, y.data) == pytest.approx(theirs.learn(x.data, y.data), rel=1e-3)
    images = next(small.tests())[0]
    assert (ours.read(images) == theirs.read(images)).mean() > 0.98


@pytest.mark.oracle
@pytest.mark.slow  # captures four steps
def test_another_recipe_is_noticed(small, monkeypatch):
    """The first losses are compared, so a contestant that trains otherwise is not let in."""
    pytest.importorskip("torch")
    from benchmarks.libraries import accuracy_torch

    monkeypatch.setattr(accuracy_torch, "CHOICE_S", 0.05)
    right = accuracy_torch.eager(small, 1).answer()
    assert difference(accuracy_ours.captured(small, 1).answer(), right, "f32") == ""
    other = small.recipe._replace(momentum=0.8)
    monkeypatch.setitem(accuracy.VISION, NET, other)
    assert difference(accuracy_ours.captured(small, 1).answer(), right, "f32").startswith("wrong")
    monkeypatch.setitem(accuracy.VISION, NET, other._replace(whitened=True))
    with pytest.raises(accuracy_torch.Unavailable, match="the recipe of cnn-cifar10 whitens"):
        accuracy_torch.eager(small, 1)


@pytest.mark.slow  # two processes that import and capture, and ten seconds in which PyTorch chooses its memory format
def test_a_race(small):
    if TORCH not in INSTALLED:
        pytest.skip("PyTorch is not installed")
    shown = StringIO()
    with tqdm(total=4, file=shown, mininterval=0, ncols=200) as bar, Contest(accuracy.LIBRARIES, 1, FULL) as contest:
        made = accuracy.run(contest, Case(GROUP, small, (CAPTURED, TORCH_EAGER), TORCH_EAGER), bar)
    assert made.failed == {}
    assert {name: len(times) for name, times in made.times_ns.items()} == {OURS: 2, TORCHS: 2}
    assert {name: len(laps) for name, laps in made.laps.items()} == {OURS: 2, TORCHS: 2}
    assert len(made.others_cores) == 2
    assert "4/4" in shown.getvalue() and "epochs 2, tinytorch captured " in shown.getvalue()
    for name, laps in made.laps.items():
        assert 0 < laps[0].waited_ns < laps[1].waited_ns < sum(made.times_ns[name])
    assert made.ratio(TORCHS, OURS).least > 0


@pytest.mark.slow  # starts two processes that import much, and waits until they compute
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals to a group of processes are Unix")
def test_ctrl_c_ends_everybody_in_few_words(small):
    """As a terminal does it: the signal comes to the command and to all it started."""
    if TORCH not in INSTALLED:
        pytest.skip("PyTorch is not installed")
    command = [sys.executable, "-m", "benchmarks", "accuracy", "--quick", "--threads", "1"]
    environment = {**os.environ, "TINYTORCH_DATA": str(small.folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )  # fmt: skip
    said = b""
    while b"compressed copies: 100%" not in said and (some := os.read(running.stderr.fileno(), 4096)):
        said += some
    started = psutil.Process(running.pid).children(recursive=True)
    os.killpg(running.pid, signal.SIGINT)
    out, rest = running.communicate(timeout=60)
    assert running.returncode == 130, said + rest
    assert out == b"" and rest.endswith(b"benchmarks: stopped\n") and b"Traceback" not in rest
    assert len(started) >= 2
    assert not psutil.wait_procs(started, timeout=10)[1]
