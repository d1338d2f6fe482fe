"""1986, Rumelhart, Hinton and Williams: backpropagation trains hidden layers. An MLP reads real handwritten digits.

The settings were chosen by five validation splits of the training part; the test part was looked at once they stood.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, report
from tinytorch import datasets, models
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.optimizers import AdamW
from tinytorch.core.training import CosineSchedule, CrossEntropyLoss, Trainer

HOW = models.TRAINING["mlp"]

MILESTONE = report.Milestone(
    name="mlp",
    title="1986: the revival of the multi-layer perceptron",
    claim="64-64-32-10 reads at least 97 % of 360 held-out digits (UCI, 8x8)",
    required=0.97,
    length=HOW.epochs,
    quick_length=15,
    folder=Path(__file__).parent,
)


def achieve(run: report.Run) -> report.Achievement:
    data = datasets.load("digits")
    np.random.seed(run.seed)
    model = models.mlp()

    digits = TensorDataset(data.x_train, data.y_train)
    batches = DataLoader(digits, batch_size=HOW.batch_size, shuffle=True, seed=run.seed)
    optimizer = AdamW(model.parameters(), weight_decay=HOW.weight_decay)
    schedule = CosineSchedule(HOW.max_lr, HOW.min_lr, run.length)
    trainer = Trainer(model, optimizer, CrossEntropyLoss(label_smoothing=HOW.smoothing), schedule)
    losses = run.train(trainer, batches, "mlp")

    predicted = model.predict(data.x_test).argmax(1)
    right = predicted == data.y_test

    figure, (curve, matrix, mistakes) = plots.panels(MILESTONE.title, 3)
    plots.loss_curve(curve, {"loss": losses}, "training loss, smoothed labels", least=plots.entropy(HOW.smoothing, 10))
    plots.confusion_matrix(matrix, data.y_test, predicted, 10, f"held-out digits: {right.sum()} of {right.size} right")
    wrong = np.flatnonzero(~right)[:9]
    names = [f"{data.y_test[i]} read as {predicted[i]}" for i in wrong]
    plots.tiles(mistakes, data.x_test[wrong].reshape(-1, 8, 8), names, 2 if len(wrong) < 5 else 3, "what it misreads")
    run.save_plot("digits", figure)
    return report.Achievement(model, data.x_test[:1], float(right.mean()))


if __name__ == "__main__":
    sys.exit(report.main(MILESTONE, achieve))
