"""Augmented batches, image by image, with PyTorch's padding, slicing, flipping and arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle.against import torch
from tests.tolerance import NMSE_ELEMENTWISE, nmse
from tinytorch import ImageTransform

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("backend")]
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


@pytest.mark.parametrize("mode, theirs", [("zeros", "constant"), ("reflect", "reflect")])
def test_augmentation(mode, theirs):
    padding, side, h, w = 4, 5, 11, 10
    images = np.random.default_rng(0).integers(0, 256, (40, 3, h, w)).astype(np.uint8)
    transform = ImageTransform(MEAN, STD, padding=padding, padding_mode=mode, flip=True, cutout=side, seed=3)
    draws = transform.draw(np.arange(40), 2)
    expected = []
    for image, u in zip(images, draws, strict=True):
        down, right = (int(x * (2 * padding + 1)) for x in u[:2])
        padded = torch.nn.functional.pad(torch.tensor(image)[None].float() / 255, [padding] * 4, mode=theirs)[0]
        window = padded[:, down : down + h, right : right + w]
        window = window.flip(-1) if u[2] < 0.5 else window
        y = (window - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        top, left = int(u[3] * h) - side // 2, int(u[4] * w) - side // 2
        y[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
        expected.append(y.numpy())
    assert nmse(transform.prepare(images, np.arange(40), draws), np.stack(expected)) <= NMSE_ELEMENTWISE
