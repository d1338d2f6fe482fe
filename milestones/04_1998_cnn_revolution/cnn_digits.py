"""1998, LeCun, Bottou, Bengio and Haffner: shared weights that slide over the image read digits better than any MLP.

The settings were chosen by five validation splits of the training part; the test part was looked at once they stood.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, script
from milestones.report import Findings, Study, training_case
from milestones.run import Achievement, Milestone, Run
from milestones.sweeps import LAST, Case, Sweep
from tinytorch import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, datasets, models, recipes
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.optimizers import AdamW
from tinytorch.core.training import CosineSchedule, CrossEntropyLoss, Trainer

HOW = recipes.DIGITS["cnn"]

MILESTONE = Milestone(
    name="cnn",
    title="1998: the convolutional revolution",
    claim="two convolutions and a linear layer read at least 98 % of 360 held-out digits (UCI, 8x8)",
    required=0.98,
    length=HOW.epochs,
    quick_length=10,
    folder=Path(__file__).parent,
)


def achieve(run: Run) -> Achievement:
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
    said = f"held-out digits: {right.sum()} of {right.size} right"
    plots.confusion_matrix(matrix, data.y_test, predicted, "0123456789", said)
    learned = model[0].weight.data[:, 0]
    plots.tiles(filters, learned, [""] * len(learned), 4, "filters of the first layer (white: positive)")
    run.save_plot("digits", figure)
    study = Study(trainer, data.x_train[: HOW.batch_size], data.y_train[: HOW.batch_size], data.x_test[:1], 1998,
                  [LARGER, DEEPER], questions, {"examples": len(data.x_train)})  # fmt: skip
    return Achievement(model, data.x_test[:1], float(right.mean()), study=study)


def step_of(size: int, channels: int) -> Case:
    """A step of the same two convolutions on images drawn at random, size x size, `channels` after the first."""
    rng = np.random.default_rng(0)
    model = Sequential(
        Conv2d(1, channels, 3, padding=1), ReLU(), MaxPool2d(2),
        Conv2d(channels, 2 * channels, 3, padding=1), ReLU(), MaxPool2d(2),
        Flatten(), Linear(2 * channels * (size // 4) ** 2, 10),
    )  # fmt: skip
    x, y = rng.random((HOW.batch_size, 1, size, size), np.float32), rng.integers(0, 10, HOW.batch_size)
    return training_case(Trainer(model, AdamW(model.parameters()), CrossEntropyLoss()), x, y)


STEP = f"a step of training on {HOW.batch_size} digits"
LARGER = Sweep("pixels across", f"{STEP}, 16 channels", (8, 12, 16, 24, 32, 48), lambda size: step_of(size, 16))
DEEPER = Sweep("channels", f"{STEP}, 8x8", (8, 16, 32, 64, 128), lambda channels: step_of(8, channels))


def questions(found: Findings) -> list[str]:
    larger, deeper = found.scaling
    pixels, channels = larger.fitted("FLOPs"), deeper.fitted("FLOPs", LAST)
    weights = found.then("parameters") / found.ours["parameters"]
    connections = found.then("multiply_adds") / found.ours["multiply_adds"]
    return [
        f"Convolutions have {found.share('parameters', 'Conv2d'):.0%} of the parameters and do "
        f"{found.share('flops', 'Conv2d'):.1%} of the FLOPs. What does sharing weights save, and what does it not?",
        f"FLOPs grow with the pixels across by an exponent of {pixels.exponent:.2f}, with the channels by "
        f"{channels.exponent:.2f} over the last {LAST}. Where does each come from, and which of the two does the "
        "number of weights follow?",
        f"Time follows the channels by {deeper.fitted('time', LAST)}. What does a kernel use better the more there "
        "are?",
        f"LeNet-5 has {weights:.1f} times our weights and {connections:.1f} times our multiply-adds a digit. Why are "
        "the two factors not alike?",
    ]


if __name__ == "__main__":
    sys.exit(script.main(MILESTONE, achieve))
