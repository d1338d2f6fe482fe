"""What is measured and entered: how workers make it, what travels with the submission, and what the file says of it.

A recipe and an entry each end here (`of_recipe`, `building.of_entry`); from here on they are treated alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from leaderboard import Candidate, EntrySource, Stage
from mlperf import environment, pipeline
from mlperf.answering import Form
from mlperf.confinement.limits import Limits
from mlperf.costs import query_flops
from mlperf.recipe import Recipe
from mlperf.tasks import Task
from tinytorch import weights
from tinytorch.core.layers import Layer, Packed

FACTORY = "mlperf.candidate:pair"
CANDIDATE = "candidate.safetensors"  # the weights, where the file alone makes the candidate


class Making(NamedTuple):
    """How a worker makes a contestant: a factory, "module:function", and all its arguments but the samples.

    Foreign code has `limits`.
    """

    factory: str
    arguments: Mapping[str, Any]
    limits: Limits | None = None


@dataclass(frozen=True)
class Contestant:
    """What is measured and entered."""

    making: Making
    candidate: Candidate
    stages: tuple[Stage, ...]
    files: Mapping[str, bytes]
    entry: EntrySource | None = None
    test_files_read: tuple[str, ...] | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """Digest of each file that travels."""
        return {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}


def from_file(task: Task, candidate: Path, form: Form, candidate_threads: int, threads: int) -> Making:
    """A candidate made of its weights and a word alone, see `candidate.pair`."""
    arguments = {
        "task": task.name,
        "candidate": str(candidate),
        "candidate_sha256": weights.sha256(candidate),
        "form": form,
        "threads": threads,
        "candidate_threads": candidate_threads,
    }
    return Making(FACTORY, arguments)


def of_recipe(
    task: Task, recipe: Recipe, state: pipeline.State, rows: Sequence[pipeline.Row], folder: Path, threads: int
) -> Contestant:
    """What the pipeline ended with; its weights are written into the folder."""
    path = folder / CANDIDATE
    weights.save(state.model, path)
    content, example = path.read_bytes(), task.answering.queries(task.data.x_train[:1])[0]
    candidate = Candidate(
        checkpoint_sha256=weights.sha256(path),
        code_sha256=environment.code_sha256(),
        nonzero_params=nonzero(state.model),
        bytes_stored=len(content),
        flops=query_flops(state.model, task.answering.observable(state.model, state.form), example),
        weight_dtypes=dtypes_of(state.model),
        retrained=state.retrained,
        pruned=nonzero(state.model) < nonzero(task.reference()) and recipe.prune.enabled,
        form=state.form,
        threads=state.threads,
    )
    making = from_file(task, path, state.form, state.threads, threads)
    return Contestant(making, candidate, tuple(map(stage_of, rows)), {CANDIDATE: content})


def stage_of(row: pipeline.Row) -> Stage:
    """A line of the waterfall as the file keeps it."""
    outcome, calibration = row.outcome, row.calibration
    score = outcome.score if outcome else None
    return Stage(
        stage=row.stage,
        enabled=outcome is not None,
        emulated=row.emulated,
        config=row.settings,
        calibration_ids_sha256=calibration.ids_sha256 if calibration else None,
        calibration_n=len(calibration.ids) if calibration else None,
        seed=row.settings.get("seed"),
        blocks=outcome.blocks if outcome else None,
        correct=score.correct if score else None,
        value=score.value if score and score.correct is None else None,
        bytes=outcome.bytes if outcome else None,
        flops=outcome.flops if outcome else None,
    )


def dtypes_of(model: Layer) -> tuple[str, ...]:
    """The dtypes in which a model's parameters are stored."""
    found = set()
    for parameter in model.parameters():
        arrays = parameter.format.arrays().values() if isinstance(parameter, Packed) else [parameter.data]
        found |= {array.dtype.name for array in arrays}
    return tuple(sorted(found))


def nonzero(model: Layer) -> int:
    """How many weights are not zero."""
    return sum(int(np.count_nonzero(parameter.data)) for parameter in model.parameters())
