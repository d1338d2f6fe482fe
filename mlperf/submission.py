"""From a task and a recipe to a sealed submission: pipeline, workers, and everything that belongs into the file.

The figures are derived and judged by `leaderboard`; what needs more than the file itself is in `pins.py`.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leaderboard import (
    Candidate,
    Generation,
    Measured,
    Quality,
    Queries,
    Raw,
    Reference,
    Seeds,
    Stage,
    Submission,
    Submitter,
    Worker,
    finalise,
    utc_now,
)
from leaderboard import Task as TaskRecord
from mlperf import environment, pipeline, tasks
from mlperf.answering import Form
from mlperf.costs import query_flops
from mlperf.harness import PRACTICE, RANKED, Effort, Side
from mlperf.metrics import Metric, sha256_of
from mlperf.pins import pin_reasons
from mlperf.process import Job, Report, measure
from mlperf.recipe import Recipe
from mlperf.tasks import Task
from profiler.cost import parameters
from tinytorch import weights
from tinytorch.core.layers import Layer, Packed
from tinytorch.datasets import SPLIT_SEED

Division = Literal["closed", "open", "practice"]
FACTORY = "mlperf.candidate:pair"
CANDIDATE = "candidate.safetensors"  # what travels with a submission that a recipe made


@dataclass(frozen=True)
class Entry:
    """What is asked for: who submits which task, made how, measured how thoroughly."""

    task: Task
    recipe: Recipe
    submitter: str
    division: Division = "closed"
    threads: int = 1
    fast: bool = False

    @property
    def effort(self) -> Effort:
        return PRACTICE if self.fast else RANKED


def seeds_of(entry: Entry) -> Seeds:
    """The recipe fixes which data calibrate; order of queries, of arms and what is audited are drawn anew each run."""
    order, schedule, audit = (secrets.randbelow(2**32) for _ in range(3))
    return Seeds(data=entry.recipe.quantize.seed, order=order, schedule=schedule, audit=audit)


def run_workers(
    entry: Entry, state: pipeline.State, seeds: Seeds, folder: Path, progress: Callable[[], object]
) -> list[Report]:
    """Measure the candidate in fresh processes. `progress()` is called as `process.measure` does."""
    candidate = folder / CANDIDATE
    weights.save(state.model, candidate)
    samples = write_samples(folder / "samples.npz", entry.task.data.x_test, entry.task.data.y_test)
    arguments = arguments_of(entry.task, candidate, state.form, state.threads, samples, entry.threads)
    return ask_workers(arguments, entry.effort, entry.threads, seeds, progress)


def write_samples(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    """Samples as workers read them."""
    np.savez(path, x=x, y=y)
    return path


def arguments_of(
    task: Task, candidate: Path, form: Form, candidate_threads: int, samples: Path, threads: int
) -> dict[str, Any]:
    """What the factory of a worker is told."""
    return {
        "task": task.name,
        "candidate": str(candidate),
        "candidate_sha256": weights.sha256(candidate),
        "form": form,
        "samples": str(samples),
        "threads": threads,
        "candidate_threads": candidate_threads,
    }


def ask_workers(
    arguments: dict[str, Any], effort: Effort, threads: int, seeds: Seeds, progress: Callable[[], object]
) -> list[Report]:
    """Reports of workers that run one after another: `seeds` orders the queries and says which arm begins."""
    coin = np.random.default_rng(seeds.schedule)
    reports = []
    for position in range(effort.workers):
        first: Side = "ref" if coin.integers(2) else "opt"
        job = Job(FACTORY, arguments, effort, threads, (seeds.order or 0) + position, first)
        reports.append(measure(job, position, progress))
    return reports


def quality_of(reports: Sequence[Report], metric: Metric, truth: np.ndarray) -> Quality:
    """Quality on the whole test set, from the worker whose candidate did worst, should they differ."""
    told = [np.asarray(report.opt_told) for report in reports]
    worst = metric.worst(told, truth)
    return metric.quality(np.asarray(reports[worst].ref_told), told[worst], truth)


def generation_of(reports: Sequence[Report], output_tokens: int | None) -> Generation | None:
    """The tokens that all workers timed, and the share of them that the cache did not change."""
    found = [report.generation for report in reports if report.generation is not None]
    if output_tokens is None or not found:
        return None
    together: dict[str, Any] = {name: [entry for one in found for entry in one[name]] for name in found[0]}
    same = together.pop("same")
    return Generation(prompts=len(same), greedy_agreement=sum(same) / (len(same) * output_tokens), **together)


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
    return sum(int(np.count_nonzero(parameter.data)) for parameter in model.parameters())


def task_record(task: Task) -> TaskRecord:
    """What has to be solved, as a submission states it."""
    return TaskRecord(
        dataset=", ".join(filter(None, [task.dataset, task.copy])),
        dataset_sha256=task.data_sha256,
        n_test=len(task.data.y_test),
        metric=task.metric.name,
        higher_is_better=task.metric.higher_is_better,
        quality_floor=task.floor,
        split_seed=SPLIT_SEED if task.dataset.startswith("digits") else None,
        output_tokens=task.answering.output_tokens,
    )


def reference_record(task: Task) -> Reference:
    """The yard-stick at hand, as a submission states it."""
    model, example = task.reference(), task.answering.queries(task.data.x_train[:1])[0]
    return Reference(
        id=f"{task.name}-numpy-eager",
        checkpoint_sha256=weights.sha256(task.checkpoint),
        code_sha256=tasks.reference_code_sha256(),
        n_params=parameters(model),
        bytes=task.checkpoint.stat().st_size,
        flops=query_flops(model, task.answering.observable(model, "eager"), example),
    )


def raw_of(reports: Sequence[Report]) -> Raw:
    """Everything the clock said, in all workers."""
    return Raw(
        workers=tuple(Worker(**report.worker) for report in reports),
        queries=Queries(
            ref_ns=tuple(ns for report in reports for ns in report.queries["ref_ns"]),
            opt_ns=tuple(ns for report in reports for ns in report.queries["opt_ns"]),
            trace_sha256=sha256_of([report.trace for report in reports]),
        ),
        calibration_kernel_ns=min(report.calibration_kernel_ns for report in reports),
    )


def submit(
    entry: Entry,
    state: pipeline.State,
    rows: Sequence[pipeline.Row],
    load_1m: float | None,
    progress: Callable[[], object],
) -> tuple[Submission, dict[str, bytes]]:
    """Measure a candidate that the pipeline made, and seal the result: with the files that travel with it.

    Nothing is written to the leaderboard.
    """
    task, reference, seeds = entry.task, entry.task.reference(), seeds_of(entry)
    with tempfile.TemporaryDirectory(prefix="mlperf-") as name:
        folder = Path(name)
        reports = run_workers(entry, state, seeds, folder, progress)
        files = {CANDIDATE: (folder / CANDIDATE).read_bytes()}
    pools, example = reports[0].pools, task.answering.queries(task.data.x_train[:1])[0]
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    measured = Measured(
        benchmark_version=task.version,
        created_utc=utc_now(),
        submitter=Submitter.named(entry.submitter),
        division=entry.division,
        thread_policy="t1" if entry.threads == 1 else "tN",
        threads=entry.threads,
        model=task.name,
        task=task_record(task),
        reference=reference_record(task),
        candidate=Candidate(
            checkpoint_sha256=hashes[CANDIDATE],
            code_sha256=environment.code_sha256(),
            nonzero_params=nonzero(state.model),
            bytes_stored=len(files[CANDIDATE]),
            flops=query_flops(state.model, task.answering.observable(state.model, state.form), example),
            weight_dtypes=dtypes_of(state.model),
            retrained=state.retrained,
            pruned=nonzero(state.model) < nonzero(reference) and entry.recipe.prune.enabled,
            form=state.form,
            threads=state.threads,
        ),
        pipeline=tuple(map(stage_of, rows)),
        harness=environment.harness(),
        seeds=seeds,
        env=environment.capture(pools, entry.threads, load_1m),
        raw=raw_of(reports),
        quality=quality_of(reports, task.metric, task.data.y_test),
        generation=generation_of(reports, task.answering.output_tokens),
        files=hashes,
    )
    return finalise(measured, list(pin_reasons(task))), files
