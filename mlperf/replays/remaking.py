"""Making a candidate again from what it was made by, to compare it bit for bit with what was submitted.

Every stage of a recipe is deterministic on one kind of processor, training included, by however many threads. Only
`accelerate` chooses by timing, among a few ways to execute: so all that it may choose are made, and what was submitted
must be one of them. An entry is built again, in a process that has the training part alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from leaderboard import Candidate, Submission
from leaderboard.verification import Check
from mlperf.confinement.hearing import Refused
from mlperf.contestant import of_recipe
from mlperf.entries.building import of_entry
from mlperf.entries.source import Source
from mlperf.pipeline import FUNCTIONS, Context, State, Watch, start, unwatched, variants
from mlperf.recipe import Recipe
from mlperf.replays.inspection import SOURCE, Subject, outcome
from mlperf.tasks import Task

CODE = "RETRAINING_MISMATCH"
MADE_AGAIN = "bit for bit what comes of making it again"


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


def remade(subject: Subject, same_machine: bool, sandboxed: bool = False, watch: Watch = unwatched) -> Iterator[Check]:
    """RETRAINING_MISMATCH if another candidate comes out than the one submitted: other weights, form, or figures.

    Other processors round differently, so there a difference is told and not judged. Building an entry again may break
    a rule, whose code is then that of the check.
    """
    if subject.submission.entry is None:
        check = by_recipe(subject, watch)
    else:
        try:
            check, read = by_entry(subject, sandboxed)
        except Refused as refused:
            code = CODE if refused.code == "ENTRY" else refused.code  # it was made once, so why not again?
            yield outcome(code, [str(refused).splitlines()[-1][:500]], MADE_AGAIN)
            return
        yield outcome("CALIBRATION_LEAK", read, "no file of the test data opened while it is built")
    yield check if check.passed or same_machine else check.model_copy(update={"passed": None})


def by_entry(subject: Subject, sandboxed: bool) -> tuple[Check, Sequence[str]]:
    """An entry built again from its source, and which files of the test data it opened then. Raises Refused."""
    submission, files = subject.submission, subject.submission.files or {}
    assert submission.entry is not None
    own = {path.removeprefix(SOURCE): (subject.folder / path).read_bytes() for path in files if path.startswith(SOURCE)}
    with tempfile.TemporaryDirectory(prefix="mlperf-") as folder:
        source = Source(own, submission.entry.main.removeprefix(SOURCE))
        made = of_entry(subject.task, source, Path(folder), submission.threads, sandboxed)
    wrong = list(differing(submission.candidate, made.candidate))
    wrong += [f"{path} is another file" for path in files if made.hashes.get(path) != files[path]]
    wrong += [f"{path} was not submitted" for path in made.hashes.keys() - files.keys()]
    return outcome(CODE, wrong, MADE_AGAIN), made.test_files_read or ()


def by_recipe(subject: Subject, watch: Watch) -> Check:
    """The nearest of what the recipe may make."""
    submission, task = subject.submission, subject.task
    recipe, threads = recipe_of(submission), submission.threads
    differences: list[list[str]] = []
    for state in states(task, recipe, threads, watch):
        with tempfile.TemporaryDirectory(prefix="mlperf-") as folder:
            made = of_recipe(task, recipe, state, (), Path(folder), threads).candidate
        differences.append(list(differing(submission.candidate, made)))
    nearest = min(differences, key=len)
    return outcome(CODE, nearest, MADE_AGAIN)


def differing(said: Candidate, made: Candidate) -> Iterator[str]:
    """Every field in which two candidates differ, in words."""
    for name in Candidate.model_fields:
        one, other = (getattr(candidate, name) for candidate in (said, made))
        if one != other:
            yield f"{name} {shortened(one)} instead of {shortened(other)}"


def shortened(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)
