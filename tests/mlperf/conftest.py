"""A task whose checkpoint is made here, so that the pipeline can be tested without the pinned ones."""

from dataclasses import replace

import numpy as np
import pytest

from leaderboard import load_all
from mlperf import tasks
from mlperf.__main__ import main
from tinytorch import weights


@pytest.fixture(scope="session")
def perceptron_board(tmp_path_factory):
    """A directory with one honest submission, a practice run, made once: work on copies."""
    root = tmp_path_factory.mktemp("board")
    main(["submit", "--model", "perceptron", "--fast", "--submitter", "Ada", "--leaderboard", str(root)])
    assert len(load_all(root).submissions) == 1
    return root


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """`untrained(name)` is a task with random weights; its reference answers, rarely rightly."""

    def make(name):
        monkeypatch.setattr(tasks, "REFERENCES", tmp_path)
        task = replace(tasks.TASKS[name])  # without cached data
        np.random.seed(21)
        weights.save(task.build(), task.checkpoint)
        return task

    return make
