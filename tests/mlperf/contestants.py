"""Pairs of trivial arms for the worker's tests; a worker imports this file by name."""

import os
import sys

import numpy as np

from mlperf.harness import Arm, answers
from mlperf.worker import Pair

SAMPLES = [np.full((1, 2), i, np.float32) for i in range(6)]


def first_column(arm, progress):
    return answers(arm, SAMPLES, progress)[:, 0].astype(np.int64)


def plain(offset=0):
    """The candidate adds an offset; both print where reports go."""

    def opt(x):
        return x + np.float32(offset)

    print("a line that is not a report", flush=True)
    os.write(1, b"nor this one\n")
    return Pair(Arm(np.negative), Arm(opt), SAMPLES, first_column, compiled=lambda: 3)


def compiling():
    """Something is compiled between the first and the last timed block."""
    calls = []

    def opt(x):
        calls.append(x)
        return x

    return Pair(Arm(np.negative), Arm(opt), SAMPLES, first_column, compiled=lambda: len(calls))


def surroundings(names):
    """The labels tell of the environment: whether each variable is set, as 0 or 1."""
    found = np.array([[name in os.environ] for name in names], np.float32)

    def told(arm, _):
        return arm.run(SAMPLES[0])[:, 0].astype(int)

    return Pair(Arm(lambda x: x), Arm(lambda x: found), SAMPLES[:1], told)


def failing():
    print("the last words", file=sys.stderr)
    raise RuntimeError("no candidate today")


def dying():
    os._exit(7)
