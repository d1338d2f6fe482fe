"""1986, Rumelhart, Hinton and Williams: hidden layers that learn. An MLP reads 10,000 handwritten digits of MNIST.

The settings were chosen on a part of the training images that was held out; the test part was looked at once they
stood.
"""

import sys
from pathlib import Path

import numpy as np

from milestones import plots, script, vision
from milestones.report import Findings, Study
from milestones.run import Achievement, Milestone, Run
from milestones.sweeps import LAST, Case, Sweep
from profiler import units
from tinytorch import Flatten, Linear, ReLU, Sequential, datasets, models, recipes

HOW = recipes.VISION["mlp-mnist"]

MILESTONE = Milestone(
    name="mlp-mnist",
    title="1986: the revival of the multi-layer perceptron",
    claim="784-128-64-10 reads at least 98 % of the 10,000 test digits (MNIST, 28x28)",
    required=0.98,
    length=HOW.epochs,
    quick_length=8,
    folder=Path(__file__).parent,
    needs="mnist",
)


def achieve(run: Run) -> Achievement:
    images = datasets.mnist()
    np.random.seed(run.seed)
    model = models.mnist_mlp()
    net = Sequential(Flatten(), *model)  # the same weights, for images as they lie in the data set
    held_out = images.validation(vision.SPLIT, vision.HELD_OUT)
    trainer = vision.trained(run, MILESTONE, net, held_out, HOW)
    found = vision.answers(net, images)

    vision.save_curves(run, MILESTONE, trainer, HOW, found, "mnist")
    figure, (matrix, mistakes, features) = plots.panels(MILESTONE.title, 3)
    said = f"test digits: {found.right.sum():,} of {found.right.size:,} right"
    plots.confusion_matrix(matrix, found.truth, found.predicted, found.names, said)
    wrong = np.flatnonzero(~found.right)[:16]
    names = [f"{found.truth[i]} read as {found.predicted[i]}" for i in wrong]
    plots.tiles(mistakes, images.x_test[wrong, 0], names, 4, "the first it misreads")
    learned = model[0].weight.data.T.reshape(-1, 28, 28)[:36]
    plots.tiles(features, learned, [""] * len(learned), 6, "what hidden units look for (white: positive)")
    run.save_plot("mnist_answers", figure)

    x, y, example = vision.batch(held_out, HOW)
    study = Study(trainer, x, y, example, 1986, [WIDER], questions, {"shown": trainer.step * HOW.batch_size})
    extra = vision.figures(run, trainer, HOW, found)
    return Achievement(model, example.reshape(1, -1), found.accuracy, extra, study)


def wider(hidden: int) -> Case:
    """A step of 784-hidden-hidden/2-10, on images drawn at random."""
    half, rng = hidden // 2, np.random.default_rng(0)
    model = Sequential(Linear(784, hidden), ReLU(), Linear(hidden, half), ReLU(), Linear(half, 10))
    return vision.step_of(model, rng.random((HOW.batch_size, 784), np.float32), HOW)


WIDER = Sweep("hidden units", f"a step of training on {HOW.batch_size} digits", (32, 64, 128, 256, 512, 1024), wider)


def questions(found: Findings) -> list[str]:
    wide, most, step = found.scaling[0], found.largest("flops"), found.main
    time, flops = wide.fitted("time", LAST), wide.fitted("FLOPs", LAST)
    return [
        f"{found.part('parameters', most):.0%} of the parameters and {most.flops / step.flops:.0%} of the FLOPs are in "
        f"{most}, since an image has {found.ours['inputs']:.0f} pixels. Which pixels of a digit could be left out, and "
        "what would become of both?",
        f"The last {LAST} widths give FLOPs an exponent of {flops}, time one of {time}. The inputs do not grow: from "
        "which width on would you expect 2?",
        f"Op by op a step takes {units.duration(step.wall_ns)}, {found.outside:.0%} of it outside ops; as it was "
        f"trained, captured and with its images read meanwhile, {units.duration(found.as_trained_ns or 0)}. What does "
        "a captured step leave out, and why does a large net gain less from that?",
        f"The net of 1986 saw {found.then('shown'):,.0f} examples, this one {found.ours['shown']:,.0f}, each moved a "
        "little. If a digit is moved by two pixels, which weights of the first layer see the same picture again?",
    ]


if __name__ == "__main__":
    sys.exit(script.main(MILESTONE, achieve))
