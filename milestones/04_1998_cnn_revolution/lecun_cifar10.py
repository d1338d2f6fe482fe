"""1998, LeCun, Bottou, Bengio and Haffner: convolutions, here on photographs in colour. The course's north star.

Two convolutions with batch norm and two linear layers tell ten kinds of things apart. The settings were chosen on a
part of the training images that was held out; the test part was looked at once they stood. Accuracy is reported of the
whole test part and of its first 1,000 images, which are the published ones even in a copy whose others were compressed
again.

With --recipe best: seven convolutions on the same framework, for as long as it takes. With --quick: two epochs on a
part of the photographs. A run that was stopped is continued by the same command.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import studies  # of this folder

from milestones import plots, script, vision
from milestones.report import Findings, Study
from milestones.run import Achievement, Milestone, Part, Run, Version
from milestones.sweeps import Sweep
from tinytorch import Conv2d, datasets, models
from tinytorch.core.layers import Layer
from tinytorch.datasets import Images
from tinytorch.recipes import VISION, Vision

HOW, BEST_HOW = VISION["cnn-cifar10"], VISION["cifar10-best"]
FIRST = 1_000  # of the test part
QUICK_IMAGES = 10_000  # of the training part, as they are; in so few steps a small rate gets farther

MILESTONE = Milestone(
    name="cnn-cifar10",
    title="1998: the convolutional revolution",
    claim="two convolutions and two linear layers recognise at least 75 % of the 10,000 test photographs (CIFAR-10)",
    required=0.75,
    length=HOW.epochs,
    quick_length=2,
    folder=Path(__file__).parent,
    needs="cifar10",
    is_resumable=True,
)
QUICK = replace(
    MILESTONE,
    name="cnn-cifar10-quick",
    claim=f"two epochs on {QUICK_IMAGES:,} photographs are enough to recognise 50 % of the test part (CIFAR-10)",
    required=0.5,
)
BEST = replace(
    MILESTONE,
    name="cifar10-best",
    claim="seven convolutions recognise at least 87 % of the 10,000 test photographs, and 90 % of the first 1,000",
    required=0.87,
    length=BEST_HOW.epochs,
)
BEST_QUICK = replace(QUICK, name="cifar10-best-quick")


@dataclass(frozen=True)
class Training:
    """How a claim is reached: a net trained by a recipe. `first` is what the first test images require beside it."""

    milestone: Milestone
    build: Callable[[], Layer]
    how: Vision
    sweeps: Sequence[Sweep]
    questions: Callable[[Findings], list[str]]
    first: float | None = None

    def __call__(self, run: Run) -> Achievement:
        images = datasets.cifar10()
        np.random.seed(run.seed)
        model = self.build()
        seen = images.validation(vision.SPLIT, vision.HELD_OUT)
        if run.quick:
            seen = seen._replace(x_train=seen.x_train[:QUICK_IMAGES], y_train=seen.y_train[:QUICK_IMAGES])
        trainer = vision.trained(run, self.milestone, model, seen, self.how)
        found = vision.answers(model, images)
        first = float(found.right[:FIRST].mean())
        print(f"  {'test part':<12} {found.accuracy:.2%} of {len(found.truth):,}, {first:.2%} of the first {FIRST:,}")
        vision.save_curves(run, self.milestone, trainer, self.how, found, "cifar10")
        self.draw_answers(run, model, images, found)

        x, y, example = vision.batch(seen, self.how)
        study = Study(trainer, x, y, example, 1998, self.sweeps, self.questions, {"examples": len(seen.x_train)})
        extra = vision.figures(run, trainer, self.how, found) | {"first_1000": round(first, 6)}
        parts = () if self.first is None else (Part(f"the first {FIRST:,}", first, self.first),)
        return Achievement(model, example, found.accuracy, extra, study, parts)

    def draw_answers(self, run: Run, model: Layer, images: Images, found: vision.Answers) -> None:
        """What is taken for what, what the first layer looks for, and mistakes."""
        figure, (matrix, filters, mistakes) = plots.panels(self.milestone.title, 3, [1.3, 1, 1])
        said = f"test photographs: {found.right.sum():,} of {found.right.size:,} right"
        plots.confusion_matrix(matrix, found.truth, found.predicted, found.names, said)
        first = next(layer for layer in model.modules() if isinstance(layer, Conv2d))
        learned = vision.as_colours(first.weight.data)
        plots.tiles(filters, learned, [""] * len(learned), 8, "filters of the first layer")
        wrong = np.flatnonzero(~found.right)[:16]
        names = [f"{found.names[found.truth[i]]}:\n{found.names[found.predicted[i]]}?" for i in wrong]
        plots.tiles(mistakes, images.x_test[wrong].transpose(0, 2, 3, 1) / 255, names, 4, "the first it misreads")
        run.save_plot("cifar10_answers", figure)


DEFAULT = Training(MILESTONE, models.cifar_cnn, HOW, [studies.LARGER, studies.DEEPER], studies.questions)
BEYOND = Training(BEST, models.cifar_best, BEST_HOW, [studies.WIDER, studies.MORE], studies.best_questions, first=0.9)


def brief(training: Training, milestone: Milestone, max_lr: float) -> tuple[Milestone, Training]:
    """The same net for --quick."""
    how = training.how._replace(max_lr=max_lr, batch_size=128, padding=0, copies=False)
    return milestone, replace(training, milestone=milestone, how=how, first=None)


if __name__ == "__main__":
    best = Version(BEST, BEYOND, brief(BEYOND, BEST_QUICK, 0.2))
    sys.exit(script.main(MILESTONE, DEFAULT, instead=brief(DEFAULT, QUICK, 0.02), recipes={"best": best}))
