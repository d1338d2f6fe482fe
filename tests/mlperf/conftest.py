"""A task whose checkpoint is made here, so that the pipeline can be tested without the pinned ones."""

from dataclasses import replace

import numpy as np
import pytest

from mlperf import tasks
from tinytorch import weights


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
