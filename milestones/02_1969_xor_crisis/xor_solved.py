"""1969, Minsky and Papert: no single layer computes exclusive or. A hidden layer of four units does.

First the perceptron is trained on XOR and fails, since no line leaves two opposite corners on one side. Then 2-4-1 is
trained from ten different starts and has to classify every noisy test point each time. Of the rates 0.03, 0.1 and 0.3
only 0.1 was always right on five validation splits of the training part, with weight decay or without.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, script
from milestones.report import Findings, Study, training_case
from milestones.run import Achievement, Milestone, Run
from milestones.sweeps import Case, Sweep
from profiler import units
from tinytorch import Linear, Sequential, Sigmoid, Tanh, datasets, models
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.losses import BinaryCrossEntropyLoss
from tinytorch.core.optimizers import AdamW
from tinytorch.core.training import Trainer

STARTS = 10
BATCH = 50

MILESTONE = Milestone(
    name="xor",
    title="1969: the XOR crisis, and the way out",
    claim=f"2-4-1 classifies 100 % of noisy XOR test points from each of {STARTS} seeds, where a single layer fails",
    required=1.0,
    length=60,
    quick_length=30,
    folder=Path(__file__).parent,
)


def trained(run: Run, model: Sequential, data: datasets.Split, seed: int, label: str) -> list[float]:
    """Train the model on XOR; return the losses."""
    targets = data.y_train[:, None].astype(np.float32)
    batches = DataLoader(TensorDataset(data.x_train, targets), batch_size=BATCH, shuffle=True, seed=seed)
    return run.train(trainer_of(model), batches, label)


def trainer_of(model: Sequential) -> Trainer:
    return Trainer(model, AdamW(model.parameters(), lr=0.1, weight_decay=0.1), BinaryCrossEntropyLoss())


def accuracy(model: Sequential, data: datasets.Split) -> float:
    predicted = model.predict(data.x_test)[:, 0] > 0.5
    return float((predicted == data.y_test).mean())


def achieve(run: Run) -> Achievement:
    data = datasets.load("xor")
    np.random.seed(run.seed)
    line = models.perceptron()
    line_losses = trained(run, line, data, run.seed, "single layer")

    nets, losses = [], []
    for seed in range(run.seed, run.seed + STARTS):
        np.random.seed(seed)
        net = models.xor()
        # The four hidden lines start through the middle of the data; one that starts beside them may stay there.
        net[0].bias.data[:] = -data.x_train.mean(0) @ net[0].weight.data
        losses.append(trained(run, net, data, seed, f"2-4-1, seed {seed}"))
        nets.append(net)
    accuracies = [accuracy(net, data) for net in nets]
    single, worst = accuracy(line, data), min(accuracies)
    print(f"  {'single layer':<12} {single:.1%} of test points: a line has at most three corners right")
    print(f"  {'2-4-1':<12} " + " ".join(f"{a:.1%}" for a in accuracies))

    figure, (before, after, curve) = plots.panels(MILESTONE.title, 3)
    plots.decision_surface(before, line, data.x_test, data.y_test, f"single layer: {single:.1%} right")
    plots.decision_surface(
        after, nets[0], data.x_test, data.y_test, f"2-4-1, seed {run.seed}: {accuracies[0]:.1%} right"
    )
    plots.loss_curve(curve, {"2-4-1, mean of the seeds": np.mean(losses, axis=0), "single layer": line_losses})
    run.save_plot("xor", figure)
    x, y = data.x_train[:BATCH], data.y_train[:BATCH, None].astype(np.float32)
    study = Study(trainer_of(nets[0]), x, y, data.x_test[:1], 1969, [WIDER], questions,
                  {"shown": run.length * len(data.x_train)})  # fmt: skip
    extra = {"single_layer": single, "accuracies": accuracies}
    return Achievement(nets[0], data.x_test[:1], worst, extra, study)


def wider(hidden: int) -> Case:
    """A step of 2-hidden-1, on points drawn at random."""
    rng = np.random.default_rng(0)
    model = Sequential(Linear(2, hidden), Tanh(), Linear(hidden, 1), Sigmoid())
    x = rng.standard_normal((BATCH, 2), np.float32)
    return training_case(trainer_of(model), x, (x[:, :1] * x[:, 1:] < 0).astype(np.float32))


WIDER = Sweep("hidden units", f"a step of training on {BATCH} points", (4, 16, 64, 256, 1024, 4096), wider)


def questions(found: Findings) -> list[str]:
    wide, query = found.scaling[0], found.passes["one query"]
    first, last = wide.points[0], wide.points[-1]
    weights, shown = found.ours["parameters"], found.ours["shown"]
    return [
        f"A single layer needs 3 weights, this net {weights:.0f} and {query.flops} FLOPs: of the lines that it draws, "
        "which would you take away first, and what is then the most that can be right?",
        f"Activations held for backward take {units.memory(found.held('activation'))}, parameters "
        f"{units.memory(found.held('parameter'))}. Why does the perceptron's own rule need none of the former?",
        f"{first.size} hidden units take {units.duration(first.ns)} a step, {last.size:,} take "
        f"{units.duration(last.ns)}: {last.ns / first.ns:.3g} times as long for {last.flops / first.flops:,.0f} times "
        "the FLOPs. How wide could the net have been at hardly any cost?",
        f"{shown:,.0f} noisy examples were shown to each net, {found.then('shown'):,.0f} corners to that of 1986. "
        "Which of the two would a net that only remembers its examples pass?",
    ]


if __name__ == "__main__":
    sys.exit(script.main(MILESTONE, achieve))
