"""Shuffled weights: the same values, as large a file, as many zeros skipped, and nothing known any more."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlperf import tasks
from mlperf.shuffling import disturb, shuffle_file
from tinytorch import Tensor


def quality(task, model):
    outputs = model(Tensor(task.data.x_test)).data
    return task.metric.score(task.metric.labels(outputs), task.data.y_test).value


def test_a_file_keeps_all_but_the_order_of_its_values(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((8, 4)).astype(np.float32),
        "codes": rng.integers(-9, 9, (3, 5)).astype(np.int8),
        "s.bits": np.arange(6, dtype=np.uint8),
        "one": np.float32([3]),
    }
    save_file(arrays, tmp_path / "a.safetensors", {"made": "here"})
    for seed, name in ((1, "b"), (1, "c"), (2, "d")):
        shuffle_file(tmp_path / "a.safetensors", tmp_path / f"{name}.safetensors", seed)
    shuffled = load_file(tmp_path / "b.safetensors")
    for name, array in arrays.items():
        assert (shuffled[name].shape, shuffled[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(np.sort(shuffled[name], axis=None), np.sort(array, axis=None))
    assert not np.array_equal(shuffled["w"], arrays["w"])
    np.testing.assert_array_equal(shuffled["s.bits"], arrays["s.bits"])  # where a sparse weight's values belong
    assert (tmp_path / "b.safetensors").stat().st_size == (tmp_path / "a.safetensors").stat().st_size
    b, c, d = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "bcd")
    assert b == c and b != d


@pytest.mark.parametrize("name", ["perceptron", "xor", "mlp", "cnn"])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_a_disturbed_network_knows_next_to_nothing(name, seed):
    task = tasks.find(name)
    model = task.reference()
    knows = quality(task, model)
    disturb(model, seed)
    chance = task.metric.chance(task.data.y_test)
    assert quality(task, model) <= chance + 0.25 * (knows - chance)
