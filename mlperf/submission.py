"""From a contestant to a sealed submission: workers, and everything that belongs into the file.

The figures are derived and judged by `leaderboard`; what needs more than the file itself is in `pins.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from leaderboard import (
    Alone,
    Audits,
    Generation,
    Measured,
    Quality,
    Queries,
    Raw,
    Reference,
    Seeds,
    Submission,
    Submitter,
    WeightShuffle,
    Worker,
    finalise,
    utc_now,
)
from leaderboard import Task as TaskRecord
from mlperf import environment, tasks
from mlperf.audits import together
from mlperf.confinement.hearing import Refused, Report
from mlperf.confinement.sandbox import Sandbox
from mlperf.contestant import Contestant, Making
from mlperf.costs import query_flops
from mlperf.entries.source import Source
from mlperf.harness import PRACTICE, RANKED, Effort, Side
from mlperf.metrics import Metric, sha256_of
from mlperf.pins import pin_reasons
from mlperf.process import Job, measure, run
from mlperf.recipe import Recipe
from mlperf.tasks import Task
from profiler.cost import parameters
from tinytorch import weights
from tinytorch.datasets import SPLIT_SEED

Division = Literal["closed", "open", "practice"]


@dataclass(frozen=True)
class Entry:
    """What is asked for: who submits which task, made how, measured how thoroughly.

    A student's own `source` takes the place of the recipe.
    """

    task: Task
    recipe: Recipe
    submitter: str
    division: Division = "closed"
    threads: int = 1
    fast: bool = False
    source: Source | None = None

    @property
    def effort(self) -> Effort:
        return PRACTICE if self.fast else RANKED


def seeds_of(entry: Entry) -> Seeds:
    """The recipe fixes which data calibrate; order of queries, of arms and what is audited are drawn anew each run."""
    order, schedule, audit = (secrets.randbelow(2**32) for _ in range(3))
    return Seeds(data=entry.recipe.quantize.seed, order=order, schedule=schedule, audit=audit)


def write_samples(path: Path, task: Task, x: np.ndarray, y: np.ndarray) -> Path:
    """Samples as workers read them: what is right stays here, unless the metric needs it there."""
    np.savez(path, x=x, y=y if task.metric.needs_truth else np.zeros_like(y))
    return path


class Conditions(NamedTuple):
    """How a contestant is measured. Without a seed for audits there are none; `load_1m` was read before all began."""

    effort: Effort
    threads: int
    seeds: Seeds
    load_1m: float | None = None
    sandbox: Sandbox | None = None


def ask_workers(making: Making, samples: Path, how: Conditions, progress: Callable[[], object]) -> list[Report]:
    """Reports of workers that run one after another; the seeds order the queries and say which arm begins.

    `progress()` is called as `process.measure` does.
    """
    seeds = how.seeds
    coin, arguments = np.random.default_rng(seeds.schedule), {**making.arguments, "samples": str(samples)}
    reports = []
    for position in range(how.effort.workers):
        first: Side = "ref" if coin.integers(2) else "opt"
        audit = None if seeds.audit is None else seeds.audit + position
        seed, shuffle = (seeds.order or 0) + position, audit is not None and position == 0
        job = Job(making.factory, arguments, how.effort, how.threads, seed, first, audit, shuffle)
        reports.append(measure(job, position, progress, making.limits, how.sandbox))
    return reports


def quality_of(reports: Sequence[Report], metric: Metric, truth: np.ndarray) -> Quality:
    """Quality on the whole test set, from the worker whose candidate did worst, should they differ.

    Raises Refused where a worker told of fewer samples, or more.
    """
    for report in reports:
        for told in (report.ref_told, report.opt_told, *([report.shuffled["told"]] if report.shuffled else [])):
            if len(told) != len(truth):
                raise Refused(
                    "TEST_SET_INCOMPLETE", f"a worker told of {len(told)} samples, the test set has {len(truth)}"
                )
    answered = [np.asarray(report.opt_told) for report in reports]
    worst = metric.worst(answered, truth)
    return metric.quality(np.asarray(reports[worst].ref_told), answered[worst], truth)


def generation_of(reports: Sequence[Report], output_tokens: int | None) -> Generation | None:
    """The tokens that all workers timed, and the share of them that the cache did not change."""
    found = [report.generation for report in reports if report.generation is not None]
    if output_tokens is None or not found:
        return None
    together: dict[str, Any] = {name: [entry for one in found for entry in one[name]] for name in found[0]}
    same = together.pop("same")
    return Generation(prompts=len(same), greedy_agreement=sum(same) / (len(same) * output_tokens), **together)


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


def reference_alone(task: Task, samples: Path, effort: Effort, threads: int) -> Alone:
    """The reference timed by itself in a fresh process."""
    job = {"task": task.name, "samples": str(samples), "effort": asdict(effort)}
    return Alone(**run("mlperf.worker:alone", job, lambda _: None, threads, name="the reference alone"))


def quicker(a: Alone, b: Alone) -> Alone:
    """Of two timings the one with the least time per query, which was disturbed less."""
    return min(a, b, key=lambda alone: min(alone.block_ns) / alone.inner)


def audits_of(reports: Sequence[Report], task: Task, read: Sequence[str] | None) -> Audits | None:
    """What the audits of all workers found; `read` are the files of test data that making the candidate opened."""
    ratios = [report.audits for report in reports if report.audits is not None]
    if not ratios:
        return None
    found = reports[0].shuffled
    shuffle = None if found is None else WeightShuffle(
        quality=task.metric.score(np.asarray(found["told"]), task.data.y_test).value,
        ratio=found["ratio"],
        chance=task.metric.chance(task.data.y_test),
    )  # fmt: skip
    seen = {"weight_shuffle": shuffle, "test_files_read": None if read is None else tuple(read)}
    return Audits.model_validate({**together(ratios), **seen})


def raw_of(reports: Sequence[Report], alone: Alone | None = None) -> Raw:
    """Everything the clock said, in all workers and where the reference ran alone."""
    return Raw(
        workers=tuple(Worker(**report.worker) for report in reports),
        queries=Queries(
            ref_ns=tuple(ns for report in reports for ns in report.queries["ref_ns"]),
            opt_ns=tuple(ns for report in reports for ns in report.queries["opt_ns"]),
            trace_sha256=sha256_of([report.trace for report in reports]),
        ),
        calibration_kernel_ns=min(report.calibration_kernel_ns for report in reports),
        reference_alone=alone,
    )


def observe(
    making: Making,
    task: Task,
    folder: Path,
    how: Conditions,
    read: Sequence[str] | None,
    progress: Callable[[], object],
) -> dict[str, Any]:
    """All that is seen while a contestant is measured, by the names of the fields of `Measured`. Writes into `folder`.

    `read` are the files of test data that making it opened.
    """
    effort, threads = how.effort, how.threads
    samples = write_samples(folder / "samples.npz", task, task.data.x_test, task.data.y_test)
    before = reference_alone(task, samples, effort, threads)
    reports = ask_workers(making, samples, how, progress)
    alone = quicker(before, reference_alone(task, samples, effort, threads))
    return {
        "created_utc": utc_now(),
        "harness": environment.harness(),
        "seeds": how.seeds,
        "env": environment.capture(reports[0].pools, threads, how.load_1m),
        "raw": raw_of(reports, alone),
        "quality": quality_of(reports, task.metric, task.data.y_test),
        "generation": generation_of(reports, task.answering.output_tokens),
        "audits": audits_of(reports, task, read),
    }


def submit(
    entry: Entry, contestant: Contestant, folder: Path, load_1m: float | None, progress: Callable[[], object]
) -> Submission:
    """Measure a contestant and seal the result. Its files and the samples lie in `folder`; nothing else is written."""
    task, threads, read = entry.task, entry.threads, contestant.test_files_read
    how = Conditions(entry.effort, threads, seeds_of(entry), load_1m)
    observed = observe(contestant.making, task, folder, how, read, progress)
    measured = Measured(
        benchmark_version=task.version,
        submitter=Submitter.named(entry.submitter),
        division=entry.division,
        thread_policy="t1" if threads == 1 else "tN",
        threads=threads,
        model=task.name,
        task=task_record(task),
        reference=reference_record(task),
        candidate=contestant.candidate,
        pipeline=contestant.stages,
        entry=contestant.entry,
        files=contestant.hashes,
        **observed,
    )
    return finalise(measured, list(pin_reasons(task)))
