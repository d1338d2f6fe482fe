"""What the reports of `lecun_cifar10.py` make larger, and what they ask: of its own net, and of the best one."""

from __future__ import annotations

import numpy as np

from milestones import vision
from milestones.report import Findings
from milestones.sweeps import LAST, Case, Sweep
from profiler import units
from tinytorch import BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, recipes
from tinytorch.core.layers import Scale
from tinytorch.models import cifar_best, halving

STUDIED = 16  # images of a step
STEP = f"a step on {STUDIED} photographs"
CHEAP = ("BatchNorm2d", "ReLU", "MaxPool2d")
HOW, BEST = recipes.VISION["cnn-cifar10"], recipes.VISION["cifar10-best"]


def images(count: int, size: int) -> np.ndarray:
    """Drawn at random: what is measured does not depend on their values."""
    return np.random.default_rng(0).random((count, 3, size, size), np.float32)


def two_convolutions(size: int, channels: int) -> Case:
    """A step of the same net on images size x size, `channels` after the first convolution."""
    model = Sequential(
        Conv2d(3, channels, 3, padding=1), BatchNorm2d(channels), ReLU(), MaxPool2d(2),
        Conv2d(channels, 2 * channels, 3, padding=1), BatchNorm2d(2 * channels), ReLU(), MaxPool2d(2),
        Flatten(), Linear(2 * channels * (size // 4) ** 2, 128), ReLU(), Linear(128, 10),
    )  # fmt: skip
    return vision.step_of(model, images(STUDIED, size), HOW)


def seven_convolutions(channels: int) -> Case:
    """A step of the best net with other widths, `channels` in the first pair and four times as many in the others."""
    wide = 4 * channels
    model = Sequential(
        Conv2d(3, 24, 2), ReLU(), *halving(24, channels), *halving(channels, wide), *halving(wide, wide),
        MaxPool2d(3), Flatten(), Linear(wide, 10, bias=False), Scale(1 / 9),
    )  # fmt: skip
    return vision.step_of(model, images(STUDIED, 32), BEST)


LARGER = Sweep("pixels across", f"{STEP}, 32 channels", (8, 12, 16, 24, 32, 48), lambda n: two_convolutions(n, 32))
DEEPER = Sweep("channels", f"{STEP}, 32x32", (8, 16, 32, 64, 128), lambda n: two_convolutions(32, n))
WIDER = Sweep("channels of the first pair", STEP, (24, 32, 40, 48, 64), seven_convolutions)
MORE = Sweep("photographs", "a step of the best net", (2, 4, 8, 16, 32),
             lambda n: vision.step_of(cifar_best(), images(n, 32), BEST))  # fmt: skip


def share(found: Findings, *kinds: str) -> float:
    """The part of the time that layers of these kinds have together."""
    return sum(found.share("ns", kind) for kind in kinds)


def questions(found: Findings) -> list[str]:
    larger, deeper = found.scaling
    pixels, channels = larger.fitted("FLOPs"), deeper.fitted("FLOPs", LAST)
    connections, weights = (found.ours[of] / found.then(of) for of in ("multiply_adds", "parameters"))
    return [
        f"Convolutions have {found.share('parameters', 'Conv2d'):.0%} of the parameters and do "
        f"{found.share('flops', 'Conv2d'):.0%} of the FLOPs, linear layers have "
        f"{found.share('parameters', 'Linear'):.0%} and do {found.share('flops', 'Linear'):.0%}. Which would you "
        "shrink for a small file, which for a quick answer?",
        f"FLOPs grow with the pixels across by an exponent of {pixels.exponent:.2f}, with the channels by "
        f"{channels.exponent:.2f} over the last {LAST}. Which layers keep the second from being 2?",
        f"Batch norm, ReLU and pooling do hardly any FLOPs and take {share(found, *CHEAP):.1%} of a step that goes op "
        "by op. What do they wait for, and what could be done while a convolution still holds its results?",
        f"This net has {units.figures(weights)} times LeNet-5's weights and {units.figures(connections)} times its "
        f"multiply-adds. LeNet-5 took {found.then('training_s') / 86_400:.1f} days; how long would that machine have "
        "taken here?",
    ]


def best_questions(found: Findings) -> list[str]:
    wider, more = found.scaling
    channels, photographs, most = wider.fitted("FLOPs"), more.fitted("time"), found.largest("flops")
    return [
        f"The net has {units.count(found.ours['parameters'])} parameters, of which linear layers have "
        f"{found.share('parameters', 'Linear'):.1%}. Where went the million weights that the two-convolution net has "
        "there, and what does a net lose that looks at one maximum of each channel?",
        f"{most} does {found.part('flops', most):.0%} of the FLOPs. Why is it not one of the last layers, which have "
        "most channels?",
        f"FLOPs grow with the channels by {channels.exponent:.2f}, time with the photographs of a step by "
        f"{photographs.exponent:.2f}. With which of the two does accuracy grow, and with which only the noise of a "
        "step falls?",
        f"A step holds {units.memory(found.held('activation'))} of activations, "
        f"{found.held('activation') / found.held('parameter'):.0f} times its parameters. Which of them could be "
        "computed once more instead of being kept?",
    ]
