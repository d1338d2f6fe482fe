"""1957, Rosenblatt's perceptron: one unit learns to tell two clouds of points apart from examples alone.

His machine had 400 photocells and motors that turned the weights; this one has two inputs, and a sigmoid so that its
mistakes have a gradient. The claim is checked on points that were never trained on.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, report
from tinytorch import datasets, models
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.losses import BinaryCrossEntropyLoss
from tinytorch.core.optimizers import SGD
from tinytorch.core.training import Trainer

MILESTONE = report.Milestone(
    name="perceptron",
    title="1957: the perceptron",
    claim="Linear(2, 1) and a sigmoid tell two clusters apart: at least 95 % of held-out points",
    required=0.95,
    length=30,
    quick_length=5,
    folder=Path(__file__).parent,
)


def achieve(run: report.Run) -> report.Achievement:
    data = datasets.load("clusters")
    np.random.seed(run.seed)
    model = models.perceptron()

    targets = data.y_train[:, None].astype(np.float32)
    batches = DataLoader(TensorDataset(data.x_train, targets), batch_size=30, shuffle=True, seed=run.seed)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.5), BinaryCrossEntropyLoss())
    losses = run.train(trainer, batches, "perceptron")

    predicted = model.predict(data.x_test)[:, 0] > 0.5
    accuracy = float((predicted == data.y_test).mean())

    figure, (surface, curve) = plots.panels(MILESTONE.title, 2, widths=[1.25, 1])
    image = plots.decision_surface(surface, model, data.x_test, data.y_test, f"held-out points: {accuracy:.1%} right")
    figure.colorbar(image, ax=surface, label="probability of class 1", fraction=0.05)
    plots.loss_curve(curve, {"loss": losses})
    run.save_plot("decision_boundary", figure)
    return report.Achievement(model, data.x_test[:1], accuracy)


if __name__ == "__main__":
    sys.exit(report.main(MILESTONE, achieve))
