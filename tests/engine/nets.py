"""Small networks that several tests of the engine capture."""

import numpy as np

from tinytorch import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU, Sequential

RNG = np.random.default_rng(0)


def small_cnn() -> Sequential:
    model = Sequential(
        Conv2d(2, 4, 3, padding=1), BatchNorm2d(4), ReLU(), Flatten(), Dropout(0.5), Linear(64, 3), ReLU()
    )
    norm = model.layers[1]
    norm.running_mean[:] = RNG.standard_normal(4)
    norm.running_var[:] = RNG.uniform(0.5, 2, 4)
    norm.gamma.data[:] = RNG.standard_normal(4)
    norm.beta.data[:] = RNG.standard_normal(4)
    return model.eval()
