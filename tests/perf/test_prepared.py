"""Memoization and acceleration: the prepared and the captured model answer as the eager one does, for every query."""

import numpy as np
import pytest

from tinytorch import models
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Dropout, Flatten, Linear, Sequential
from tinytorch.core.spatial import BatchNorm2d, Conv2d
from tinytorch.engine.dispatch import use_backend
from tinytorch.engine.plan import PlanError
from tinytorch.perf.acceleration import accelerate
from tinytorch.perf.compression import channel_prune, magnitude_prune
from tinytorch.perf.memoization import prepare
from tinytorch.perf.quantization import quantize

INPUTS = {"perceptron": (2,), "xor": (2,), "mlp": (64,), "cnn": (1, 8, 8), "normed": (3, 6, 6)}


def normed():
    norm = BatchNorm2d(8)
    norm.running_mean, norm.running_var = (
        np.linspace(-1, 1, 8, dtype=np.float32),
        np.linspace(1, 3, 8, dtype=np.float32),
    )
    norm.gamma.data[...], norm.beta.data[...] = np.linspace(0.5, 2, 8), np.linspace(-2, 2, 8)
    return Sequential(Conv2d(3, 8, 3), norm, ReLU(), Dropout(0.5), Flatten(), Linear(128, 5))


BUILDERS = {**models.MODELS, "normed": normed}
BUILDS = {"prepare": prepare, "accelerate": accelerate}


@pytest.mark.parametrize("changed", ["as it is", "quantised", "pruned", "fewer channels"])
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("name", INPUTS)
def test_answers_are_the_eager_ones(name, build, changed):
    np.random.seed(11)
    model = BUILDERS[name]()
    x = np.random.default_rng(12).standard_normal((6, *INPUTS[name])).astype(np.float32)
    if changed == "quantised":
        model = quantize(model, x)
    elif changed == "pruned":
        model = magnitude_prune(model, 0.4)
    elif changed == "fewer channels":
        model = channel_prune(model, 0.3)
    model.eval()
    run = BUILDS[build](model, x[:1])
    with use_backend("numpy"):
        for query in (x[i : i + 1] for i in range(len(x))):
            expected = model.predict(query)
            error = np.square(run(query) - expected).sum() / max(np.square(expected).sum(), 1e-12)
            assert error < 1e-10


@pytest.mark.parametrize("build", BUILDS)
def test_an_answer_is_not_overwritten_by_the_next(build):
    np.random.seed(1)
    run = BUILDS[build](models.mlp(), np.zeros((1, 64), np.float32))
    first = run(np.ones((1, 64), np.float32))
    kept = first.copy()
    run(np.full((1, 64), 2, np.float32))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("build", BUILDS)
def test_other_shapes_are_refused(build):
    run = BUILDS[build](models.mlp(), np.zeros((1, 64), np.float32))
    with pytest.raises(PlanError, match=r"\(2, 64\).*captured for \(1, 64\)"):
        run(np.zeros((2, 64), np.float32))
