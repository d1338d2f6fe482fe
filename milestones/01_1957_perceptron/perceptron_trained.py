"""1957, Rosenblatt's perceptron: one unit learns to tell two clouds of points apart from examples alone.

His machine had 400 photocells and motors that turned the weights; this one has two inputs, and a sigmoid so that its
mistakes have a gradient. The claim is checked on points that were never trained on.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, script
from milestones.report import Findings, Study, training_case
from milestones.run import Achievement, Milestone, Run
from milestones.sweeps import LAST, Case, Sweep
from profiler import units
from tinytorch import Linear, Sequential, Sigmoid, datasets, models
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.losses import BinaryCrossEntropyLoss
from tinytorch.core.optimizers import SGD
from tinytorch.core.training import Trainer

BATCH = 30

MILESTONE = Milestone(
    name="perceptron",
    title="1957: the perceptron",
    claim="Linear(2, 1) and a sigmoid tell two clusters apart: at least 95 % of held-out points",
    required=0.95,
    length=30,
    quick_length=5,
    folder=Path(__file__).parent,
)


def achieve(run: Run) -> Achievement:
    data = datasets.load("clusters")
    np.random.seed(run.seed)
    model = models.perceptron()

    targets = data.y_train[:, None].astype(np.float32)
    batches = DataLoader(TensorDataset(data.x_train, targets), batch_size=BATCH, shuffle=True, seed=run.seed)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.5), BinaryCrossEntropyLoss())
    losses = run.train(trainer, batches, "perceptron")

    predicted = model.predict(data.x_test)[:, 0] > 0.5
    accuracy = float((predicted == data.y_test).mean())

    figure, (surface, curve) = plots.panels(MILESTONE.title, 2, widths=[1.25, 1])
    image = plots.decision_surface(surface, model, data.x_test, data.y_test, f"held-out points: {accuracy:.1%} right")
    figure.colorbar(image, ax=surface, label="probability of class 1", fraction=0.05)
    plots.loss_curve(curve, {"loss": losses})
    run.save_plot("decision_boundary", figure)
    study = Study(trainer, data.x_train[:BATCH], targets[:BATCH], data.x_test[:1], 1957, [WIDER], questions)
    return Achievement(model, data.x_test[:1], accuracy, study=study)


def wider(inputs: int) -> Case:
    """A step of a perceptron that sees more, on points drawn at random."""
    rng = np.random.default_rng(0)
    model = Sequential(Linear(inputs, 1), Sigmoid())
    x, y = rng.standard_normal((BATCH, inputs), np.float32), rng.integers(0, 2, (BATCH, 1)).astype(np.float32)
    return training_case(Trainer(model, SGD(model.parameters(), lr=0.5), BinaryCrossEntropyLoss()), x, y)


WIDER = Sweep("inputs", f"a step of training on {BATCH} points", (16, 64, 256, 1024, 4096, 16384), wider)


def questions(found: Findings) -> list[str]:
    query, wide = found.passes["one query"], found.scaling[0]
    first, last = wide.points[0], wide.points[-1]
    every, end = wide.fitted("time"), wide.fitted("time", LAST)
    return [
        f"One query needs {query.flops} FLOPs and takes {units.duration(query.wall_ns)}: what is that time spent on, "
        f"when {found.outside:.0%} of a step pass outside ops?",
        f"From {first.size} to {last.size:,} inputs FLOPs grow {last.flops / first.flops:,.0f} times and time "
        f"{last.ns / first.ns:.3g} times, an exponent of {every.exponent:.2f} over all points and {end.exponent:.2f} "
        f"over the last {LAST}. From which size on does arithmetic set the pace?",
        f"Motors turned {found.then('parameters'):,.0f} weights of the Mark I; here {found.ours['parameters']:.0f} "
        f"are updated in {units.duration(found.main.wall_ns)}, for {BATCH} points at once. What would the machine "
        "have needed to average over a batch, and what did it save by not doing so?",
    ]


if __name__ == "__main__":
    sys.exit(script.main(MILESTONE, achieve))
