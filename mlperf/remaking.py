"""Making a candidate again from its recipe, to compare its weights bit for bit with those that were submitted.

Every stage is deterministic on one kind of processor, training included, by however many threads. Only `accelerate`
chooses by timing, among a few ways to execute: so all that it may choose are made, and the submitted weights must be
one of them.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from leaderboard import Submission
from leaderboard.verification import Check
from mlperf.inspection import Subject
from mlperf.pipeline import FUNCTIONS, Context, State, Watch, start, unwatched, variants
from mlperf.recipe import Recipe
from mlperf.tasks import Task
from tinytorch import weights
from tinytorch.core.layers import Layer


class Made(NamedTuple):
    """A candidate as a submission states it."""

    checkpoint_sha256: str
    form: str | None
    threads: int | None
    retrained: bool

    def __str__(self) -> str:
        trained = ", retrained" if self.retrained else ""
        return f"weights {self.checkpoint_sha256[:12]} as {self.form} with {self.threads} thread(s){trained}"


def recipe_of(submission: Submission) -> Recipe:
    """The recipe that a submission says it was made by. Raises RecipeError."""
    return Recipe().updated({stage.stage: {**stage.config, "enabled": stage.enabled} for stage in submission.pipeline})


def states(task: Task, recipe: Recipe, threads: int, watch: Watch = unwatched) -> Iterator[State]:
    """Every candidate that the recipe may end with. Nothing is measured, and no stage knows the test part."""
    context = Context.of(task, threads, watch)
    state = start(task.reference(), context)
    for name in ("quantize", "prune", "cache"):
        config = getattr(recipe, name)
        if config.enabled:
            state = FUNCTIONS[name](replace(state, calibration=None), config, context)
    if not recipe.accelerate.enabled:
        yield state
        return
    for variant in variants(state, context, recipe.accelerate.tune):
        yield variant.state(state, context)


def sha256_of(model: Layer) -> str:
    """The hash of a model's weights as a file."""
    with tempfile.TemporaryDirectory(prefix="mlperf-") as folder:
        path = Path(folder, "weights.safetensors")
        weights.save(model, path)
        return hashlib.sha256(path.read_bytes()).hexdigest()


def remade(subject: Subject, same_machine: bool, watch: Watch = unwatched) -> Check:
    """RETRAINING_MISMATCH if the recipe gives other weights than those submitted.

    Other processors round differently, so there a difference is told and not judged.
    """
    submission, candidate = subject.submission, subject.submission.candidate
    said = Made(candidate.checkpoint_sha256, candidate.form, candidate.threads, candidate.retrained)
    possible = [
        Made(sha256_of(state.model), state.form, state.threads, state.retrained)
        for state in states(subject.task, recipe_of(submission), submission.threads, watch)
    ]
    passed = True if said in possible else False if same_machine else None
    return Check(
        code="RETRAINING_MISMATCH",
        passed=passed,
        measured=str(said),
        required=f"what its recipe makes: {' or '.join(map(str, dict.fromkeys(possible)))}"[:4000],
    )
