"""1969, Minsky and Papert: no single layer computes exclusive or. A hidden layer of four units does.

First the perceptron is trained on XOR and fails, since no line leaves two opposite corners on one side. Then 2-4-1 is
trained from ten different starts and has to classify every noisy test point each time. Of the rates 0.03, 0.1 and 0.3
only 0.1 was always right on five validation splits of the training part, with weight decay or without.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, report
from tinytorch import Sequential, datasets, models
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.losses import BinaryCrossEntropyLoss
from tinytorch.core.optimizers import AdamW
from tinytorch.core.training import Trainer

STARTS = 10

MILESTONE = report.Milestone(
    name="xor",
    title="1969: the XOR crisis, and the way out",
    claim=f"2-4-1 classifies 100 % of noisy XOR test points from each of {STARTS} seeds, where a single layer fails",
    required=1.0,
    length=60,
    quick_length=30,
    folder=Path(__file__).parent,
)


def trained(run: report.Run, model: Sequential, data: datasets.Split, seed: int, label: str) -> list[float]:
    """Train the model on XOR; return the losses."""
    targets = data.y_train[:, None].astype(np.float32)
    batches = DataLoader(TensorDataset(data.x_train, targets), batch_size=50, shuffle=True, seed=seed)
    optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    return run.train(Trainer(model, optimizer, BinaryCrossEntropyLoss()), batches, label)


def accuracy(model: Sequential, data: datasets.Split) -> float:
    predicted = model.predict(data.x_test)[:, 0] > 0.5
    return float((predicted == data.y_test).mean())


def achieve(run: report.Run) -> report.Achievement:
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
    return report.Achievement(nets[0], data.x_test[:1], worst, {"single_layer": single, "accuracies": accuracies})


if __name__ == "__main__":
    sys.exit(report.main(MILESTONE, achieve))
