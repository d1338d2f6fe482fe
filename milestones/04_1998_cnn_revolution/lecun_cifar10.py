"""1998, LeCun, Bottou, Bengio and Haffner: convolutions, here on photographs in colour. The course's north star.

Two convolutions with batch norm and two linear layers tell ten kinds of things apart. The settings were chosen on a
part of the training images that was held out; the test part was looked at once they stood. Accuracy is reported of the
whole test part and of its first 1,000 images, which are the published ones even where a copy of the rest was compressed
again.

With --recipe best: another net on the same framework, for as long as it takes. With --quick: two epochs on a part of
the images.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from milestones import plots, script, vision
from milestones.report import Findings, Study
from milestones.run import Achievement, Milestone, Run
from milestones.sweeps import LAST, Case, Sweep
from tinytorch import BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, datasets, models, recipes
from tinytorch.core.layers import Layer

HOW = recipes.VISION["cnn-cifar10"]
TITLE = "1998: the convolutional revolution"
QUICK_IMAGES = 10_000
FIRST = 1_000

MILESTONE = Milestone(
    name="cnn-cifar10",
    title=TITLE,
    claim="two convolutions and two linear layers recognise at least 75 % of the 10,000 test photographs (CIFAR-10)",
    required=0.75,
    length=HOW.epochs,
    quick_length=2,
    folder=Path(__file__).parent,
    needs="cifar10",
    is_resumable=False,
)

QUICK = replace(
    MILESTONE,
    name="cnn-cifar10-quick",
    claim=f"two epochs on {QUICK_IMAGES:,} photographs are enough to recognise 40 % of the test part (CIFAR-10)",
    required=0.4,
)


def achieve(run: Run, milestone: Milestone, how: recipes.Vision, build: Callable[[], Layer]) -> Achievement:
    images = datasets.cifar10()
    np.random.seed(run.seed)
    model = build()
    seen = images.validation(vision.SPLIT, vision.HELD_OUT)
    if run.quick:
        seen = seen._replace(x_train=seen.x_train[:QUICK_IMAGES], y_train=seen.y_train[:QUICK_IMAGES])
    trainer = vision.trained(run, milestone, model, seen, how)
    found = vision.answers(model, images)
    first = float(found.right[:FIRST].mean())
    print(f"  {'test part':<12} {found.accuracy:.2%} of {len(found.truth):,}, {first:.2%} of the first {FIRST:,}")

    vision.save_curves(run, milestone, trainer, how, found, "cifar10")
    figure, (matrix, filters, mistakes) = plots.panels(TITLE, 3, [1.3, 1, 1])
    said = f"test photographs: {found.right.sum():,} of {found.right.size:,} right"
    plots.confusion_matrix(matrix, found.truth, found.predicted, found.names, said)
    learned = vision.as_colours(next(layer for layer in model.modules() if isinstance(layer, Conv2d)).weight.data)
    plots.tiles(filters, learned, [""] * len(learned), 8, "filters of the first layer")
    wrong = np.flatnonzero(~found.right)[:16]
    names = [f"{found.names[found.truth[i]]}:\n{found.names[found.predicted[i]]}?" for i in wrong]
    plots.tiles(mistakes, images.x_test[wrong].transpose(0, 2, 3, 1) / 255, names, 4, "the first it misreads")
    run.save_plot("cifar10_answers", figure)

    x, y, example = vision.batch(seen, how)
    study = Study(trainer, x, y, example, 1998, [LARGER, DEEPER], questions, {"examples": len(seen.x_train)})
    extra = vision.figures(run, trainer, how, found) | {"first_1000": first}
    return Achievement(model, example, found.accuracy, extra, study)


def step_of(size: int, channels: int) -> Case:
    """A step of the same net on images drawn at random, size x size, `channels` after the first convolution."""
    rng = np.random.default_rng(0)
    model = Sequential(
        Conv2d(3, channels, 3, padding=1), BatchNorm2d(channels), ReLU(), MaxPool2d(2),
        Conv2d(channels, 2 * channels, 3, padding=1), BatchNorm2d(2 * channels), ReLU(), MaxPool2d(2),
        Flatten(), Linear(2 * channels * (size // 4) ** 2, 128), ReLU(), Linear(128, 10),
    )  # fmt: skip
    return vision.step_of(model, rng.random((STUDIED, 3, size, size), np.float32), HOW)


STUDIED = 16  # images of a step in the sweeps
STEP = f"a step on {STUDIED} photographs"
LARGER = Sweep("pixels across", f"{STEP}, 32 channels", (8, 12, 16, 24, 32, 48), lambda size: step_of(size, 32))
DEEPER = Sweep("channels", f"{STEP}, 32x32", (8, 16, 32, 64, 128), lambda channels: step_of(32, channels))


def questions(found: Findings) -> list[str]:
    larger, deeper = found.scaling
    pixels, channels = larger.fitted("FLOPs"), deeper.fitted("FLOPs", LAST)
    connections = found.ours["multiply_adds"] / found.then("multiply_adds")
    weights = found.ours["parameters"] / found.then("parameters")
    return [
        f"Convolutions have {found.share('parameters', 'Conv2d'):.0%} of the parameters and do "
        f"{found.share('flops', 'Conv2d'):.0%} of the FLOPs; linear layers have "
        f"{found.share('parameters', 'Linear'):.0%} and do {found.share('flops', 'Linear'):.0%}. Which of the two "
        "would you shrink for a small file, which for a quick answer?",
        f"FLOPs grow with the pixels across by an exponent of {pixels.exponent:.2f}, with the channels by "
        f"{channels.exponent:.2f} over the last {LAST}. Which layer keeps the second from being 2?",
        f"Batch norm, ReLU and pooling do next to no FLOPs and take {shared(found, *CHEAP):.0%} of the time of a step. "
        "What do they wait for, and which of them could be computed while the convolution still holds its results?",
        f"This net has {weights:.0f} times LeNet-5's weights and {connections:.0f} times its multiply-adds, for "
        f"photographs instead of digits. LeNet took {found.then('training_s') / 86_400:.1f} days. How long would its "
        "machine have taken for this net?",
    ]


CHEAP = ("BatchNorm2d", "ReLU", "MaxPool2d")


def shared(found: Findings, *kinds: str) -> float:
    return sum(found.share("ns", kind) for kind in kinds)


if __name__ == "__main__":
    default = partial(achieve, how=HOW, build=models.cifar_cnn)
    instead = QUICK, partial(default, milestone=QUICK)
    sys.exit(script.main(MILESTONE, partial(default, milestone=MILESTONE), instead=instead))
