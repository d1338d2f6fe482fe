"""`python -m mlperf tune`: choose settings of pruning by validation, without the test part."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from mlperf import report, tuning
from mlperf.commands.terminal import UsageError, add_command, compile_all, part, phase
from mlperf.metrics import Score
from mlperf.tasks import find
from tinytorch.recipes import VISION

if TYPE_CHECKING:
    from mlperf.commands.terminal import Commands

EXAMPLES = """\
  python -m mlperf tune --model cnn --division open       choose settings by validation, without the test part
"""


def add_parser(commands: Commands) -> None:
    """Add `tune` to the command line."""
    what = "choose pruning by validation splits of the training part"
    tuner = add_command(commands, "tune", what, EXAMPLES, tuning.__doc__)
    tuner.add_argument("--model", required=True, metavar="MODEL", help=f"one of {', '.join(tuning.tunable())}")
    tuner.add_argument("--division", choices=tuple(tuning.TRIED), default="closed", help="default: closed")
    tuner.add_argument(
        "--fast", action="store_true", help="two splits at most, twins hardly trained: a try of the command"
    )


def run(options: argparse.Namespace) -> int:
    """Try the settings on validation splits and show which is chosen. Returns the exit code."""
    task = find(options.model)
    if task.name not in tuning.tunable():
        raise UsageError(f"--model {task.name} has nothing to choose here; known: {', '.join(tuning.tunable())}")
    if options.division == "open" and task.answering.output_tokens is not None:
        raise UsageError(f"--division open removes channels, which --model {task.name} cannot lose; leave it out")
    tried, splits, epochs = tuning.settings_of(task, options.division), tuning.splits_of(task), None
    if options.fast:
        splits, epochs = min(splits, 2), 1 if task.name in VISION else 5
    _ = task.data  # known to be here before anything is compiled
    compile_all()

    from kernels.threads import config, set_num_threads

    set_num_threads(config.NUMBA_NUM_THREADS if task.name in VISION else 1)  # small nets are trained on one
    with phase("validate", splits * len(tried), "setting") as bar:
        trials = tuning.trials(task, tried, splits, epochs, bar.update, part)
    best = tuning.chosen(trials)
    twins = ", ".join(str(Score(q.ref_value, q.n, q.ref_correct)) for q in trials[0].quality)
    print(f"\n{report.trials_table(trials, best)}\n{task.metric.name} of the twins: {twins}\n")
    line = {
        "model": task.name, "division": options.division, "fast": options.fast, "splits": splits,
        "chosen": best and best.settings, "bytes": best and round(best.mean_bytes),
        "quality": best and [q.value for q in best.quality], "twin": [q.ref_value for q in trials[0].quality],
    }  # fmt: skip
    print(json.dumps(line, separators=(",", ":")), flush=True)
    return 0 if best else 1
