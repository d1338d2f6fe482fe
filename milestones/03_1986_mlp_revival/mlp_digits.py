"""1986, Rumelhart, Hinton and Williams: backpropagation trains hidden layers. An MLP reads real handwritten digits.

The settings were chosen by five validation splits of the training part; the test part was looked at once they stood.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, script
from milestones.report import Findings, Study, training_case
from milestones.run import Achievement, Milestone, Run
from milestones.sweeps import LAST, Case, Sweep
from profiler import units
from tinytorch import Linear, ReLU, Sequential, datasets, models, recipes
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.optimizers import AdamW
from tinytorch.core.training import CosineSchedule, CrossEntropyLoss, Trainer

HOW = recipes.DIGITS["mlp"]

MILESTONE = Milestone(
    name="mlp",
    title="1986: the revival of the multi-layer perceptron",
    claim="64-64-32-10 reads at least 97 % of 360 held-out digits (UCI, 8x8)",
    required=0.97,
    length=HOW.epochs,
    quick_length=15,
    folder=Path(__file__).parent,
)


def achieve(run: Run) -> Achievement:
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
    said = f"held-out digits: {right.sum()} of {right.size} right"
    plots.confusion_matrix(matrix, data.y_test, predicted, "0123456789", said)
    wrong = np.flatnonzero(~right)[:9]
    names = [f"{data.y_test[i]} read as {predicted[i]}" for i in wrong]
    plots.tiles(mistakes, data.x_test[wrong].reshape(-1, 8, 8), names, 2 if len(wrong) < 5 else 3, "what it misreads")
    run.save_plot("digits", figure)
    study = Study(trainer, data.x_train[: HOW.batch_size], data.y_train[: HOW.batch_size], data.x_test[:1], 1986,
                  [WIDER], questions, {"shown": run.length * len(data.x_train)})  # fmt: skip
    return Achievement(model, data.x_test[:1], float(right.mean()), study=study)


def wider(hidden: int) -> Case:
    """A step of 64-hidden-hidden/2-10, on digits drawn at random."""
    rng = np.random.default_rng(0)
    half = hidden // 2
    model = Sequential(Linear(64, hidden), ReLU(), Linear(hidden, half), ReLU(), Linear(half, 10))
    x, y = rng.random((HOW.batch_size, 64), np.float32), rng.integers(0, 10, HOW.batch_size)
    return training_case(Trainer(model, AdamW(model.parameters()), CrossEntropyLoss()), x, y)


WIDER = Sweep("hidden units", f"a step of training on {HOW.batch_size} digits", (32, 64, 128, 256, 512, 1024), wider)


def questions(found: Findings) -> list[str]:
    wide, most, step = found.scaling[0], found.largest("flops"), found.main
    time, flops = wide.fitted("time", LAST), wide.fitted("FLOPs", LAST)
    return [
        f"Of the FLOPs {most.flops / step.flops:.0%} are in {most}, of the time {most.ns / step.wall_ns:.0%}; "
        f"{found.outside:.0%} of a step pass outside ops. Which of the two would you make quicker first?",
        f"The last {LAST} widths give FLOPs an exponent of {flops}, time one of {time}. Which layer draws the first "
        "towards 2, and what would have to grow for both to be equal?",
        f"Optimizer state takes {units.memory(found.held('optimizer'))}, parameters "
        f"{units.memory(found.held('parameter'))}. How many numbers does AdamW keep for a weight, and how many does "
        "plain gradient descent?",
        f"The net of 1986 learned {found.then('parameters'):.0f} weights in {found.then('passes'):,.0f} passes, this "
        f"one {found.ours['parameters']:,.0f} in {found.ours['passes']:.0f}. What, besides speed, made the difference?",
    ]


if __name__ == "__main__":
    sys.exit(script.main(MILESTONE, achieve))
