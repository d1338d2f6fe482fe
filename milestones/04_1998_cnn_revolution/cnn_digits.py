"""1998, LeCun, Bottou, Bengio and Haffner: shared weights that slide over the image read digits better than any MLP.

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

HOW = models.TRAINING["cnn"]

MILESTONE = report.Milestone(
    name="cnn",
    title="1998: the convolutional revolution",
    claim="two convolutions and a linear layer read at least 98 % of 360 held-out digits (UCI, 8x8)",
    required=0.98,
    length=HOW.epochs,
    quick_length=10,
    folder=Path(__file__).parent,
)


def achieve(run: report.Run) -> report.Achievement:
    data = datasets.load("digits-images")
    np.random.seed(run.seed)
    model = models.cnn()

    digits = TensorDataset(data.x_train, data.y_train)
    batches = DataLoader(digits, batch_size=HOW.batch_size, shuffle=True, seed=run.seed)
    optimizer = AdamW(model.parameters(), weight_decay=HOW.weight_decay)
    schedule = CosineSchedule(HOW.max_lr, HOW.min_lr, run.length)
    trainer = Trainer(model, optimizer, CrossEntropyLoss(label_smoothing=HOW.smoothing), schedule)
    losses = run.train(trainer, batches, "cnn")

    predicted = model.predict(data.x_test).argmax(1)
    right = predicted == data.y_test

    figure, (curve, matrix, filters) = plots.panels(MILESTONE.title, 3)
    plots.loss_curve(curve, {"loss": losses}, "training loss, smoothed labels", least=plots.entropy(HOW.smoothing, 10))
    plots.confusion_matrix(matrix, data.y_test, predicted, 10, f"held-out digits: {right.sum()} of {right.size} right")
    learned = model[0].weight.data[:, 0]
    plots.tiles(filters, learned, [""] * len(learned), 4, "filters of the first layer (white: positive)")
    run.save_plot("digits", figure)
    return report.Achievement(model, data.x_test[:1], float(right.mean()))


if __name__ == "__main__":
    sys.exit(report.main(MILESTONE, achieve))
