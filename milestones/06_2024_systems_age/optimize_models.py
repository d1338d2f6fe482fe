"""2024, the systems age: the milestones' networks made small and quick by five stages, and what each stage was worth.

The reference is each network with its pinned weights, run op by op by NumPy; both sides use one thread and take turns.
Calibration, fine-tuning and the choice of the recipes' settings see training data alone. A stage is timed on top of
those before it: what fewer and smaller products save shows once the calls around them are gone.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import systems_report  # of this folder
from tabulate import tabulate
from tqdm import tqdm

from kernels.threads import set_num_threads
from milestones import plots, report
from milestones.options import EXIT_CODES, NO_REPORT, writable
from milestones.run import Claim, Run
from mlperf import pipeline
from mlperf.commands.terminal import compile_all
from mlperf.harness import Arm, Effort, compare, single_queries
from mlperf.metrics import Score
from mlperf.report import times, waterfall
from mlperf.tasks import TASKS, Task
from profiler.clock import stopwatch
from profiler.cost import flops
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.core.training import NonFiniteLoss

JUDGED, FASTER, SMALLER, KEPT_PERCENT = "cnn", 12, 8, 99
MILESTONE = Claim(
    "systems_age",
    "2024: the systems age",
    f"quantising, pruning, caching and accelerating make the {JUDGED} at least {FASTER}x faster and {SMALLER}x smaller "
    f"and keep {KEPT_PERCENT} % of its right answers",
)
BATCH = 64
FULL = Effort(workers=1, pairs=15, block_ns=20_000_000, queries=512)
QUICK = Effort(workers=1, pairs=5, block_ns=2_000_000, queries=128)
# Left to `python -m mlperf`: texts, and data that may have to be fetched.
TRIED = [task for task in TASKS.values() if task.source is None and task.answering.output_tokens is None]
EXAMPLES = """examples:
  python optimize_models.py                  all four networks, well measured
  python optimize_models.py --quick          the same, measured briefly
  python optimize_models.py --output /tmp/x  plots and optimised weights go elsewhere
"""


class Side(NamedTuple):
    """A network before or after: latency of one example, throughput in batches, size and right answers."""

    p50_us: float
    p90_us: float
    per_second: float
    bytes: int
    correct: int


class Result(NamedTuple):
    """What became of one network. `speedup` and `throughput` are medians over pairs of blocks timed in turns.

    `model` is the network as it was read back.
    """

    task: Task
    rows: list[pipeline.Row]
    before: Side
    after: Side
    speedup: float
    throughput: float
    model: Layer

    @property
    def smaller(self) -> float:
        return self.before.bytes / self.after.bytes

    @property
    def keeps(self) -> bool:
        """In whole numbers, as the competition counts."""
        return 100 * self.after.correct >= KEPT_PERCENT * self.before.correct

    @property
    def met(self) -> bool:
        return self.keeps and self.speedup >= FASTER and self.smaller >= SMALLER


def paired(before: Arm, after: Arm, samples: list[np.ndarray], effort: Effort) -> tuple[float, float, float]:
    """Ratio of the arms' times, and the time of one call of each in ns; medians over the pairs."""
    timed = compare(before, after, samples, effort)
    slow = np.array(timed["ref_block_ns"]) / timed["inner_ref"]
    quick = np.array(timed["opt_block_ns"]) / timed["inner_opt"]
    return float(np.median(slow / quick)), float(np.median(slow)), float(np.median(quick))


def optimise(task: Task, effort: Effort, folder: Path, bar: tqdm) -> Result:
    """Run the pipeline, write the optimised weights, read them back, and measure what was read."""

    def done(stage: str) -> None:
        bar.set_postfix_str(stage, refresh=False)
        bar.update()

    state, rows = pipeline.run(task, task.open_recipe, progress=done)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task.name}.safetensors"
    size = weights.save(state.model, path)
    model, reference = task.build(), task.answering.reference(task.reference())
    weights.load(model, path, resize=True)
    singles, meter = task.answering.queries(task.data.x_test), pipeline.Meter(task, reference, effort)
    batches = [np.ascontiguousarray(task.data.x_test[i : i + BATCH]) for i in range(0, len(singles) - BATCH + 1, BATCH)]
    single, batched = (task.answering.candidate(model, state.form, x[0], threads=1) for x in (singles, batches))

    speedup, *_ = paired(reference, single, singles, effort)
    throughput, *batch_ns = paired(reference, batched, batches, effort)
    latencies = single_queries(reference, single, singles, effort.queries)
    sides = []
    for arm, side, ns, on_disk in (
        (reference, "ref", batch_ns[0], task.checkpoint.stat().st_size),
        (single, "opt", batch_ns[1], size),
    ):
        p50, p90 = np.percentile(latencies[f"{side}_ns"], [50, 90]) / 1000
        sides.append(Side(float(p50), float(p90), BATCH / ns * 1e9, on_disk, meter.score(arm).correct or 0))
    done("measured")
    return Result(task, rows, sides[0], sides[1], speedup, throughput, model)


def table(results: list[Result]) -> str:
    """Before and after, two lines a network; the factors in a third."""
    lines: list[tuple[str, ...]] = []
    for result in results:
        tests = len(result.task.data.y_test)
        for name, side in ((result.task.name, result.before), ("", result.after)):
            lines.append((
                name, "before" if name else "after", f"{side.p50_us:.2f}", f"{side.p90_us:.2f}",
                f"{side.per_second:,.0f}", f"{side.bytes:,}", f"{side.correct}/{tests}", "" if name else remark(result),
            ))  # fmt: skip
        lines.append(("", "better", times(result.speedup), "", times(result.throughput), times(result.smaller), "", ""))
    headers = ("model", "", "p50 us", "p90 us", f"per s, batch {BATCH}", "bytes", "correct", "remark")
    align = ("left", "left", *["right"] * 5, "left")
    return tabulate(lines, headers, colalign=align, disable_numparse=True)


def remark(result: Result) -> str:
    """What a reader should know about a network's figures."""
    if not result.task.open_recipe.prune.enabled:
        parameters = sum(p.size for p in result.task.build().parameters())
        return f"{parameters} parameters: the file is mostly names, so nothing to shrink"
    return "retrained" if any(row.retrained for row in result.rows) else ""


def shares(result: Result) -> str:
    """Each stage's share in the whole speed-up, on a logarithmic scale, where shares of factors add up."""
    steps = list(log_steps(result))
    total = sum(step for _, step in steps)
    return ", ".join(f"{name} {step / total:.0%}" for name, step in steps)


def log_steps(result: Result) -> Iterator[tuple[str, float]]:
    """The logarithm of what each stage that ran multiplied the speed by."""
    before = 0.0
    for row in result.rows:
        if row.outcome is not None:
            yield row.stage, row.outcome.log_ratio - before
            before = row.outcome.log_ratio


def stage_points(result: Result) -> list[tuple[str, float, int]]:
    """(stage, latency in us, bytes) of the reference and after every stage; latencies as if measured with `before`."""
    points = [("reference", result.before.p50_us, result.before.bytes)]
    for row in result.rows:
        if row.outcome is not None:
            points.append((row.stage, result.before.p50_us / np.exp(row.outcome.log_ratio), row.outcome.bytes))
    return points


def draw(run: Run, results: list[Result]) -> None:
    figure, (axes,) = plots.panels(f"{MILESTONE.title}: smaller and faster, stage by stage", 1, [1.8])
    plots.pareto(axes, {result.task.name: stage_points(result) for result in results}, "latency of one example, bytes")
    run.save_plot("pareto", figure)
    figure, panels = plots.panels(f"{MILESTONE.title}: what each stage multiplied the speed by", len(results))
    for axes, result in zip(panels, results):
        plots.factor_waterfall(axes, dict(log_steps(result)), f"{result.task.name}: {times(result.speedup)} measured")
    run.save_plot("waterfall", figure)


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"{MILESTONE.title}. {MILESTONE.claim[0].upper()}{MILESTONE.claim[1:]}.",
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="measure briefly; the same claim decides the exit code")
    parser.add_argument(
        "--output", type=writable, metavar="DIR", default=Path(__file__).parent / "output",
        help="where plots and optimised weights are written (default: output, beside this script)",
    )  # fmt: skip
    parser.add_argument("--no-report", dest="report", action="store_false", help=NO_REPORT)
    return parser.parse_args(argv)


def verdict(judged: Result) -> str:
    """What was reached of the claim, and what it requires."""
    kept = judged.after.correct / judged.before.correct
    reached = f"{times(judged.speedup)} faster ({FASTER}x required), {times(judged.smaller)} smaller ({SMALLER}x)"
    return f"{JUDGED} {reached}, {kept:.2%} of the right answers ({KEPT_PERCENT} %)"


def line(run: Run, results: list[Result], judged: Result, found: dict[str, Any]) -> dict[str, Any]:
    """What a program wants to know."""
    models = {
        result.task.name: {
            "speedup": round(result.speedup, 3),
            "throughput": round(result.throughput, 3),
            "smaller": round(result.smaller, 3),
            "tests": len(result.task.data.y_test),
            "before": {key: round(value, 3) for key, value in result.before._asdict().items()},
            "after": {key: round(value, 3) for key, value in result.after._asdict().items()},
            "retrained": any(row.retrained for row in result.rows),
            "log_steps": {name: round(step, 4) for name, step in log_steps(result)},
        }
        for result in results
    }
    return {
        "milestone": MILESTONE.name, "claim": MILESTONE.claim, "verdict": verdict(judged), "met": judged.met,
        "quick": run.quick, "seconds": round(run.seconds, 3), "models": models, "plots": run.plots, **found,
    }  # fmt: skip


def explained(judged: Result, run: Run) -> dict[str, Any]:
    """Print the report of the judged network, before and after; returns its figures."""
    task = judged.task
    found = systems_report.findings(task.reference(), judged.model, task.data.x_test, judged.after.bytes, run)
    return report.shown(found, systems_report.questions(found), run)


def main(argv: list[str] | None = None) -> int:
    """Optimise, measure, show; returns the exit code."""
    options = parsed(argv)
    run, results = Run(0, 0, options.output, options.quick), []
    try:
        print(f"{MILESTONE.title}\n{MILESTONE.claim}", flush=True)
        compile_all()
        set_num_threads(1, blas=1)
        took = stopwatch()
        for task in TRIED:
            with took, tqdm(total=len(pipeline.STAGES) + 1, desc=task.name, unit="stage", dynamic_ncols=True) as bar:
                result = optimise(task, QUICK if options.quick else FULL, options.output, bar)
            results.append(result)
            tests, right = len(task.data.y_test), result.before.correct
            work = flops(task.reference(), task.data.x_train[:1])
            yardstick = Score(right / tests, tests, right), result.before.bytes, work
            print(f"\n{task.name}\n{waterfall(result.rows, yardstick)}")
            print(f"shares of the speed-up: {shares(result)}\n\n{table([result])}", flush=True)
        run.seconds = took.seconds
        draw(run, results)
        judged = next(result for result in results if result.task.name == JUDGED)
        print(f"\nbefore and after\n{table(results)}", flush=True)
        found = explained(judged, run) if options.report else {}
    except KeyboardInterrupt:
        print("\nsystems_age: interrupted, nothing half written", file=sys.stderr)
        return 130
    except (NonFiniteLoss, OSError, ValueError) as error:
        print(f"\nsystems_age: {error}", file=sys.stderr)
        return 1
    for plot in run.plots:
        print(f"  {'plot':<12} {plot}")
    print(f"claim {'met' if judged.met else 'NOT met'}: {verdict(judged)}")
    print(json.dumps(line(run, results, judged, found), separators=(",", ":")), flush=True)
    return 0 if judged.met else 1


if __name__ == "__main__":
    sys.exit(main())
