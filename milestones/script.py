"""How a milestone script runs: claim, training, figures, report, verdict, a line of JSON, an exit code.

A script says what it claims (`Milestone`) and how it gets there (a function from `Run` to `Achievement`); `main` does
the rest. Left out: the options (`options.py`), training (`run.py`), and what the report says (`report.py`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import profiler
from milestones import report
from milestones.options import parsed
from milestones.run import Achieve, Achievement, Milestone, Run, Version
from tinytorch import weights
from tinytorch.core.layers import Layer
from tinytorch.core.training import NonFiniteLoss
from tinytorch.datasets import DataError
from tinytorch.weights import WeightsError

NO_DATA, INTERRUPTED = 2, 130  # exit codes


def main(
    milestone: Milestone,
    achieve: Achieve,
    argv: Sequence[str] | None = None,
    instead: tuple[Milestone, Achieve] | None = None,
    recipes: Mapping[str, Version] | None = None,
) -> int:
    """Run a milestone as its script would; return the exit code.

    With --quick, `instead` is run, if it is given. With `recipes` there is an option to choose one of them instead.
    """
    versions = {"default": Version(milestone, achieve, instead), **(recipes or {})}
    options = parsed(versions, argv)
    milestone, achieve = versions[options.recipe].chosen(options.quick)
    length = options.length or (milestone.quick_length if options.quick else milestone.length)
    run = Run(options.seed, length, options.output, options.quick, options.anew)
    try:
        print(f"{milestone.title}\n{milestone.claim}", flush=True)
        achieved = achieve(run)
        met = milestone.met(achieved)
        saved = saved_weights(achieved.model, options.save) if options.save and met else {}
        if options.save and not met:
            print(f"  {'weights':<12} not written, since the claim is not met")
        costs = told(milestone, run, achieved)
        found = report.printed(achieved.study, run) if options.report and achieved.study else {}
        finish(milestone, run, achieved, met, {**costs, **saved, **found})
    except KeyboardInterrupt:
        kept = run.checkpoint is not None and run.checkpoint.exists()
        more = "; the same command continues after the last whole epoch" if kept else ""
        print(f"\n{milestone.name}: interrupted, nothing half written{more}", file=sys.stderr)
        return INTERRUPTED
    except DataError as error:
        print(f"\n{milestone.name}: {error}", file=sys.stderr)
        print(last_line({"milestone": milestone.name, "met": False, "needs": milestone.needs, "why": str(error)}))
        return NO_DATA
    except (NonFiniteLoss, OSError, WeightsError) as error:
        print(f"\n{milestone.name}: {error}", file=sys.stderr)
        return 1
    return 0 if met else 1


def saved_weights(model: Layer, path: Path) -> dict[str, str]:
    """Write the weights; where they are and their digest, for the JSON."""
    weights.save(model, path)
    saved = {"weights": str(path), "weights_sha256": weights.sha256(path)}
    for key, value in saved.items():
        print(f"  {key.replace('_', ' '):<12} {value}")
    return saved


def told(milestone: Milestone, run: Run, achieved: Achievement) -> dict[str, int]:
    """Print the figures of the training, and return what is counted."""
    parameters, flops = profiler.parameters(achieved.model), profiler.flops(achieved.model, achieved.example)
    print(f"  {'parameters':<12} {parameters:,}")
    print(f"  {'FLOPs':<12} {flops:,} for one forward pass of one example")
    print(f"  {'peak memory':<12} {run.peak_memory_bytes / 1024:,.0f} KiB while training")
    print(f"  {'training':<12} {run.seconds:.2f} s, {run.length} {milestone.unit}, seed {run.seed}", flush=True)
    return {"parameters": parameters, "flops": flops}


def finish(milestone: Milestone, run: Run, achieved: Achievement, met: bool, more: dict[str, Any]) -> None:
    """Print where the plots are, the verdict, and the JSON line."""
    for plot in run.plots:
        print(f"  {'plot':<12} {plot}")
    after = f" after {run.length} {milestone.unit} (--quick)" if run.quick else ""
    verdict = milestone.verdict(achieved)
    print(f"claim {'met' if met else 'NOT met'}{after}: {verdict}")
    line = {
        "milestone": milestone.name,
        "claim": milestone.claim,
        "required": milestone.required,
        "reached": round(achieved.reached, 6),
        "verdict": verdict,
        "met": met,
        "seed": run.seed,
        milestone.unit: run.length,
        "quick": run.quick,
        "seconds": round(run.seconds, 3),
        "peak_memory_bytes": run.peak_memory_bytes,
        "plots": run.plots,
        **achieved.extra,
        **more,
    }
    print(last_line(line), flush=True)
    if run.checkpoint is not None:
        run.checkpoint.unlink(missing_ok=True)  # all that came of it is told and written


def last_line(line: dict[str, Any]) -> str:
    """For programs: one compact JSON document."""
    return json.dumps(line, separators=(",", ":"))
